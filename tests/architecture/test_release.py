"""The scripts before a release, with programs in place of GitHub's and Docker's that say what the test wants."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def run(command: list[str], programs: Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=30, check=False)


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone whose main has one commit, and a branch with one more."""
    for words in (["init", "-q", "-b", "main", "origin"], ["clone", "-q", "origin", "clone"]):
        if words[0] == "clone":
            git(tmp_path / "origin", "commit", "-q", "--allow-empty", "-m", "First")
        git(tmp_path, *words)
    git(tmp_path / "clone", "switch", "-q", "-c", "other")
    git(tmp_path / "clone", "commit", "-q", "--allow-empty", "-m", "Second")
    return tmp_path / "clone"


@pytest.mark.parametrize(
    ("commit", "test", "said"),
    [
        ("main", "success", ""),
        ("main", "failure", "error: test on main: failure; expected success"),
        ("main", "not run", "error: test on main: not run; expected success"),
        ("other", "success", "error: other is not on main: tag a commit that was merged"),
    ],
)
def test_a_tag_must_be_on_a_green_main(repository: Path, programs: Path, commit: str, test: str, said: str) -> None:
    put(programs, "gh", f'case "$2" in *check_name=test*) echo "{test}";; *) echo success;; esac')
    done = run([str(ROOT / ".github/require-green.sh"), "owner/name", commit], programs, repository)
    assert done.stderr.strip() == said
    assert done.returncode == bool(said)


def test_images_of_others_are_pinned_and_a_release_asks_for_it(tmp_path: Path, programs: Path) -> None:
    for name in ("pin.sh", ".env"):
        shutil.copy(ROOT / "docker" / name, tmp_path)
    lines = (tmp_path / ".env").read_text().splitlines()
    (tmp_path / ".env").write_text("".join(f"{line.partition('@')[0]}\n" for line in lines))
    put(programs, "docker", f'[ "$1 $2 $3" = "buildx imagetools inspect" ] && echo {DIGEST}')
    script = str(tmp_path / "pin.sh")
    unpinned = run([script, "--check"], programs, tmp_path)
    assert unpinned.returncode == 1
    assert unpinned.stderr.count("has no digest") == 5
    pinned = run([script], programs, tmp_path)
    assert pinned.returncode == 0, pinned.stderr
    assert f"POSTGRES_IMAGE is now postgres:17-bookworm@{DIGEST}" in pinned.stdout
    assert run([script, "--check"], programs, tmp_path).returncode == 0
    assert run([script], programs, tmp_path).stdout == ""  # nothing is new
    assert "COMPOSE_PROFILES=cpu\n" in (tmp_path / ".env").read_text()
