"""Scripts of CI and installation, with programs in place of GitHub's and Docker's that say what the test wants."""

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
    assert unpinned.stderr.count("has no digest") == 6
    pinned = run([script], programs, tmp_path)
    assert pinned.returncode == 0, pinned.stderr
    assert f"POSTGRES_IMAGE is now postgres:17-bookworm@{DIGEST}" in pinned.stdout
    assert run([script, "--check"], programs, tmp_path).returncode == 0
    assert run([script], programs, tmp_path).stdout == ""  # nothing is new
    assert "COMPOSE_PROFILES=cpu\n" in (tmp_path / ".env").read_text()


@pytest.mark.parametrize(("open_ones", "created"), [(0, True), (1, False)])
def test_new_digests_become_one_pull_request(repository: Path, programs: Path, open_ones: int, created: bool) -> None:
    """Whether pull requests of the same branch were merged or closed before does not count."""
    (repository / "docker").mkdir()
    put(repository / "docker", "pin.sh", "echo digests >docker/.env; echo POSTGRES_IMAGE is now new")
    git(repository, "add", "docker")
    git(repository, "commit", "-q", "-m", "Third")
    (repository / "docker" / ".env").write_text("before")
    git(repository, "add", "docker")
    put(
        programs, "gh", f'echo "$@" >>asked; case "$*" in "pr list "*"--state open "*) echo {open_ones};; esac'
    )  # fmt: skip
    done = run([str(ROOT / ".github/renew-pins.sh")], programs, repository)
    assert done.returncode == 0, done.stderr
    asked = (repository / "asked").read_text()
    assert ("pr create --base main --head renew-image-pins --fill" in asked) == created
    assert "POSTGRES_IMAGE is now new" in git(repository, "log", "-1", "--format=%B", "origin/renew-image-pins")


def test_no_pull_request_where_nothing_is_new(repository: Path, programs: Path) -> None:
    (repository / "docker").mkdir()
    put(repository / "docker", "pin.sh", "true")
    put(programs, "gh", "exit 1")
    assert run([str(ROOT / ".github/renew-pins.sh")], programs, repository).returncode == 0
    assert git(repository, "branch", "--list", "renew-image-pins") == ""


def test_nothing_is_installed_into_the_environment_of_another_checkout(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "other").mkdir()
    shutil.copy(ROOT / "requirements/install.sh", tmp_path / "requirements")
    (tmp_path / ".venv").symlink_to("other")
    done = run([str(tmp_path / "requirements/install.sh"), "up"], programs, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: .venv is a link to other; expected a folder of this checkout")
    assert list((tmp_path / "other").iterdir()) == []


def stand_ins(programs: Path, tmp_path: Path, images: str) -> "subprocess.CompletedProcess[str]":
    """Run stand-ins.sh with an engine that notes what it is asked and has those ``images``."""
    put(
        programs,
        "docker",
        f'echo "$@" >>{tmp_path}/asked; case "$1 $2" in "image inspect") [ "$3" = "{images}" ];; esac',
    )
    put(programs, "debootstrap", f'echo "debootstrap $3" >>{tmp_path}/asked; mkdir -p "$4/etc/ssl/certs"')
    put(programs, "python3", "exit 1")  # pip, of which no wheels are known
    command = ["sh", "-c", 'echo "$BASE_IMAGE $POSTGRES_IMAGE $PROMETHEUS_IMAGE $BUILD_OPTIONS"; exit 3']
    return run([str(ROOT / "tests/images/stand-ins.sh"), *command], programs, tmp_path)


@pytest.mark.parametrize("images", ["", "moderation-stand-in-base"])
def test_stand_ins_are_made_for_a_command(tmp_path: Path, programs: Path, images: str) -> None:
    done = stand_ins(programs, tmp_path, images)
    assert done.returncode == 3, done.stderr
    named = "moderation-stand-in-base moderation-stand-in-postgres moderation-stand-in-prometheus"
    assert done.stdout == f"{named} --network host\n"
    asked = (tmp_path / "asked").read_text()
    assert ("debootstrap bookworm" in asked) == (images == "")
    for name in ("postgres", "prometheus"):
        given = "--build-arg BASE_IMAGE=moderation-stand-in-base"
        assert f"build --network host {given} --tag moderation-stand-in-{name} {name}\n" in asked
