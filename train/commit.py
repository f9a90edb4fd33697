"""The code of a run: its git commit, and a hash of what was changed since."""

import hashlib
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 256 * 2**20
"""How much of untracked files is read; of what lies beyond only names and sizes count."""


def git(*arguments: str, root: Path = ROOT) -> str:
    """Return what ``git`` prints in a repository, by default this code's, or "unknown" where there is none."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - git from the path, as the Makefile uses it
            cwd=root,
            capture_output=True,
            text=True,
            errors="surrogateescape",  # a diff holds whatever the files hold
            check=False,
        )
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def commit(root: Path = ROOT) -> dict[str, object]:
    """Return the commit, and whether the tree was dirty, untracked files included.

    In an image, they are those that it was built from.
    """
    if built_from := os.environ.get("IMAGE_COMMIT"):
        return {"git_commit": built_from.removesuffix("-dirty"), "git_dirty": built_from.endswith("-dirty")}
    return {
        "git_commit": git("rev-parse", "HEAD", root=root),
        "git_dirty": git("status", "--porcelain", root=root) != "",
    }


def code(root: Path = ROOT) -> dict[str, object]:
    """Return `commit`, and the SHA-256 of the diff and of untracked files, those that git ignores left out."""
    changes = hashlib.sha256()
    # The full index line holds the hash of a binary file, whose diff says nothing else.
    diff = git("diff", "HEAD", "--no-ext-diff", "--no-color", "--full-index", root=root)
    changes.update(diff.encode(errors="surrogateescape"))
    left = MOST_BYTES
    for name in sorted(git("ls-files", "--others", "--exclude-standard", "-z", root=root).split("\0")):
        path = root / name
        size = path.lstat().st_size if path.is_symlink() or path.is_file() else 0
        changes.update(f"\0{name}\0{size}\0".encode(errors="surrogateescape"))
        if path.is_symlink():
            changes.update(str(path.readlink()).encode(errors="surrogateescape"))
        elif path.is_file() and size <= left:
            with path.open("rb") as file:
                changes.update(hashlib.file_digest(file, "sha256").digest())
            left -= size
    return {**commit(root), "git_diff_sha256": changes.hexdigest()}
