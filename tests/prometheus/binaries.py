"""Prometheus and promtool: from PATH, else unpacked from Debian's package, which needs no root.

Where neither is to be had the tests that need them are skipped with the reason; in CI (tests/skips.py) they fail.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

UNPACKED = Path(tempfile.gettempdir()) / f"moderation-prometheus-{os.getuid()}"


def binary(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``."""
    if found := shutil.which(name):
        return found
    unpacked = UNPACKED / "usr" / "bin" / name
    if not unpacked.exists():
        _unpack()
    if unpacked.exists():
        return str(unpacked)
    pytest.skip(f"no {name} on PATH and no Debian package to be had: install Prometheus (apt-get install prometheus)")


def _unpack() -> None:
    if not shutil.which("apt-get"):
        return
    with tempfile.TemporaryDirectory() as folder:  # moved into place whole: tests run side by side
        subprocess.run(
            ["apt-get", "download", "-q", "prometheus"], check=False, cwd=folder, capture_output=True, timeout=120
        )
        for package in Path(folder).glob("prometheus_*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, "root"], cwd=folder, check=True, timeout=60)
            try:
                shutil.move(Path(folder) / "root", UNPACKED)
            except (OSError, shutil.Error):  # another test was first
                return
