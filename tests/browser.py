"""A Chromium for the browser tests: one that is on the machine, else one that Playwright installs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH_ARGS = (
    "--no-sandbox",  # as root, and in most containers, Chromium does not start with its sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome", "/usr/bin/chromium")
_INSTALL_LIMIT_S = 600


def chromium() -> str:
    """Return the path of a Chromium; installs one when there is none, and fails in one line when that fails."""
    found = next(filter(None, map(shutil.which, _NAMES)), None) or _installed_by_playwright()
    if found is None:
        _install()
        found = _installed_by_playwright()
    if found is None:
        pytest.fail("no Chromium: `playwright install chromium` left none; install Debian's chromium", pytrace=False)
    return found


def _installed_by_playwright() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def _install() -> None:
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S)
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = "" if done.returncode == 0 else next((line for line in said if "rror" in line), said[-1])
    except subprocess.TimeoutExpired:
        reason = f"not done after {_INSTALL_LIMIT_S} s"
    if reason:
        pytest.fail(
            f"no Chromium on this machine, and `playwright install chromium` failed ({reason}); "
            "install Debian's chromium: apt-get install chromium",
            pytrace=False,
        )
