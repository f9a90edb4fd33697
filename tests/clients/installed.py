"""The clients, installed once per list of versions into the user's cache, away from the project's own environment."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

FOLDER = Path(__file__).parent
_LISTS = ("requirements.txt", "sources.txt", "package.json", "package-lock.json")
_WITHIN_S = 600


def installed() -> Path:
    """Return the folder that holds ``venv`` and ``node_modules``; a registry that cannot be reached is an error."""
    digest = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in _LISTS)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moderation-test-clients"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{digest}-{sys.version_info.major}.{sys.version_info.minor}"
    with FileLock(f"{folder}.lock", timeout=2 * _WITHIN_S):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder)
            (folder / "done").touch()
    return folder


def _install(folder: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    venv = folder / "venv"
    _run([*uv, "venv", "--quiet", "--python", sys.executable, str(venv)])
    install = [*uv, "pip", "install", "--quiet", "--python", str(venv)]
    _run([*install, "--requirement", str(FOLDER / "requirements.txt")])
    _run([*install, "--no-deps", "--requirement", str(FOLDER / "sources.txt")])
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FOLDER / name, folder)
    # Scripts of packages are not run: none of these needs one.
    _run([str(venv / "bin" / "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, venv / "bin")


def _run(command: list[str], cwd: Path = FOLDER, path: Path | None = None) -> None:
    # The certificates that this machine trusts, such as those of a company's proxy, for both.
    options = f"{os.environ.get('NODE_OPTIONS', '')} --use-system-ca".strip()
    variables = os.environ | {"UV_SYSTEM_CERTS": "1", "NODE_OPTIONS": options}
    if path is not None:
        variables["PATH"] = f"{path}{os.pathsep}{variables['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, check=False, text=True, timeout=_WITHIN_S
    )
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}"
