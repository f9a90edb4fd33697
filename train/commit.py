"""The git commit that this code was taken from."""

import subprocess
from pathlib import Path


def git(*arguments: str) -> str:
    """Return what ``git`` prints in this code's repository, or "unknown" where there is none."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - git from the path, as the Makefile uses it
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            errors="surrogateescape",  # a diff holds whatever the files hold
            check=False,
        )
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
