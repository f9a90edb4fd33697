import os
import subprocess
from pathlib import Path

import pytest

from train import commit
from train.commit import code


def git(root: Path, *arguments: str) -> None:
    named = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(root), *named, *arguments], check=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one commit and an ignored file."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "train.py").write_text("epochs = 3\n")
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)))
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def digest(root: Path) -> object:
    return code(root)["git_diff_sha256"]


def test_a_clean_tree_is_its_commit(root: Path) -> None:
    found = code(root)
    assert (len(str(found["git_commit"])), found["git_dirty"]) == (40, False)


def test_in_an_image_it_is_what_the_image_was_built_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for built_from, dirty in (("a" * 40, False), (f"{'a' * 40}-dirty", True)):
        monkeypatch.setenv("IMAGE_COMMIT", built_from)
        assert commit.commit(tmp_path) == {"git_commit": "a" * 40, "git_dirty": dirty}


def test_every_change_has_its_hash(root: Path) -> None:
    found = [digest(root)]
    for path, content in (
        ("train.py", b"epochs = 4\n"),
        ("weights.bin", bytes(256)),
        ("weights.bin", bytes(255) + b"1"),
        ("new.py", b"one"),
        ("new.py", b"two"),
        ("other.py", b"two"),
    ):
        (root / path).write_bytes(content)
        assert code(root)["git_dirty"] is True
        found.append(digest(root))
    (root / "new.py").rename(root / "renamed.py")
    found.append(digest(root))
    (root / "link").symlink_to("train.py")
    found.append(digest(root))
    (root / "link").unlink()
    (root / "link").symlink_to("renamed.py")
    found.append(digest(root))
    assert len(set(found)) == len(found)
    assert digest(root) == found[-1]


def test_what_git_ignores_changes_nothing(root: Path) -> None:
    before = code(root)
    (root / "run.log").write_text("anything")
    assert code(root) == before


def test_beyond_the_bound_sizes_count_and_nothing_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "MOST_BYTES", 10)
    (root / "a.txt").write_text("short")
    (root / "b.bin").write_bytes(bytes(100))
    before = digest(root)
    (root / "b.bin").write_bytes(b"1" * 100)
    assert digest(root) == before
    (root / "b.bin").write_bytes(bytes(101))
    assert digest(root) != before


def test_where_there_is_no_repository_it_is_unknown(tmp_path: Path) -> None:
    assert "GIT_DIR" not in os.environ
    assert code(tmp_path)["git_commit"] == "unknown"
