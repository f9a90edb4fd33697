"""Programs of Debian packages: from PATH, else unpacked from the package, which needs no root and starts nothing.

Where neither is to be had the tests that need them are skipped with the reason; in CI (tests/skips.py) they fail.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def binary(name: str, package: str) -> str:
    """Return the path of a program of a package."""
    if found := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin"):
        return found
    folder = Path(tempfile.gettempdir()) / f"moderation-{package}-{os.getuid()}"
    unpacked = [folder / "usr" / place / name for place in ("bin", "sbin")]
    if not folder.exists():
        _unpack(package, folder)
    for path in unpacked:
        if path.exists():
            return str(path)
    pytest.skip(f"no {name} on PATH and no Debian package to be had (apt-get install {package})")


def _unpack(package: str, folder: Path) -> None:
    if not shutil.which("apt-get"):
        return
    with tempfile.TemporaryDirectory() as staging:  # moved into place whole: tests run side by side
        subprocess.run(
            ["apt-get", "download", "-q", package], check=False, cwd=staging, capture_output=True, timeout=120
        )
        for found in Path(staging).glob(f"{package}_*.deb"):
            subprocess.run(["dpkg-deb", "-x", found, "root"], cwd=staging, check=True, timeout=60)
            try:
                shutil.move(Path(staging) / "root", folder)
            except (OSError, shutil.Error):  # another test was first
                return
