"""Real processes for a test: the API, the moderator app and the monitor app on free ports.

Each runs in a process group of its own that is gone when the test is over, however it ends; on Linux also
when the tests themselves are killed.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from moderation.db.database import connect, migrate
from moderation.registry.local import LocalRegistry
from moderation.registry.starter import seed
from moderation.settings import PREFIX

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 240.0
STOPPED_WITHIN_S = 30.0
LAST_CHARACTERS = 2_000
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class System:
    """Where the three processes answer."""

    api_url: str
    moderator_url: str
    monitor_url: str
    state_dir: Path


@contextmanager
def running_system(state_dir: Path, bundle: Path) -> Iterator[System]:
    """Yield the whole system, migrated, with ``bundle`` as production, once all three answer."""
    set_up(state_dir, bundle)
    with (
        running_api(state_dir) as api_url,
        running_app("moderator", state_dir, api_url) as moderator_url,
        running_app("monitor", state_dir) as monitor_url,
    ):
        yield System(api_url, moderator_url, monitor_url, state_dir)


def set_up(state_dir: Path, bundle: Path) -> None:
    """Make a migrated database and a registry with ``bundle`` as production."""
    engine = connect(f"sqlite:///{state_dir / 'moderation.db'}")
    migrate(engine)
    engine.dispose()
    seed(LocalRegistry(state_dir / "registry"), "production", bundle)


@contextmanager
def running_api(state_dir: Path, port: int | None = None) -> Iterator[str]:
    """Yield the URL of an API over what ``state_dir`` holds."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {"MODERATION_STATE_DIR": str(state_dir), "MODERATION_API_PORT": str(port)}
    with running([sys.executable, "-m", "cli", "serve"], variables, state_dir / "api.log", f"{url}/ready"):
        yield url


@contextmanager
def running_app(
    name: str,
    state_dir: Path,
    api_url: str | None = None,
    database_url: str | None = None,
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Yield the URL of an app that reads the database in ``state_dir`` or at ``database_url``, or asks an API.

    ``settings`` are further variables of its environment.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    start = ["apps.monitor"] if name == "monitor" else ["streamlit", "run", f"apps/{name}/app.py"]
    argv = [
        *(sys.executable, "-m", *start, "--server.port", str(port)),
        *("--server.headless", "true", "--server.address", "127.0.0.1", "--server.fileWatcherType", "none"),
    ]
    variables = {"MODERATION_STATE_DIR": str(state_dir), "PYTHONPATH": str(ROOT), **(settings or {})}
    given = {"MODERATION_API_URL": api_url, "MODERATION_DATABASE_URL": database_url}
    variables |= {name: value for name, value in given.items() if value is not None}
    with running(argv, variables, state_dir / f"{name}.log", f"{url}/_stcore/health"):
        yield url


@contextmanager
def running(argv: Sequence[str], variables: Mapping[str, str], log: Path, health_url: str) -> Iterator[None]:
    """Run ``argv`` from the repository root until the block ends; enter it when ``health_url`` answers."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=environment | dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - it makes one system call and takes no lock
        )
    try:
        _wait_until_healthy(process, health_url, log)
        yield
    finally:
        _stop(process)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if client.get(url).is_success:
                    return
            # Waits for the process's end, which would make further asking useless.
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                break
    ended = f"ended with {process.returncode}" if process.returncode is not None else "did not answer in time"
    said = log.read_text(errors="replace")[-LAST_CHARACTERS:]
    raise AssertionError(f"{' '.join(map(str, process.args))} {ended}; it said:\n{said}")  # type: ignore[union-attr]


def _die_with_parent() -> None:
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOPPED_WITHIN_S)
    # The group outlives its leader while a child is left.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
