"""The API server as a process of its own: ``python -m serve``."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from moderation.settings import PREFIX
from tests.serve.server import POLICY, wait_until

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def environment(state_dir: Path, **variables: str) -> dict[str, str]:
    """Return an environment with these settings and none of this process's own."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    own = {"STATE_DIR": str(state_dir), "POLICY_PATH": str(POLICY), "API_PORT": str(free_port()), **variables}
    return inherited | {f"{PREFIX}{name}": value for name, value in own.items()}


def start(variables: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "serve"],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(
    variables: dict[str, str], errors: Path, command: Sequence[str] = ("serve",)
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Yield the URL and the process once it is ready; its stderr is appended to ``errors``.

    ``command`` is the module to run and its arguments.
    """
    url = f"http://127.0.0.1:{variables['MODERATION_API_PORT']}"
    with errors.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=variables, stdout=stderr, stderr=stderr
        )
        try:
            with httpx.Client(base_url=url, trust_env=False) as http:
                wait_until(lambda: process.poll() is not None or is_ready(http), timeout_s=60)
            assert process.poll() is None, errors.read_text()
            yield url, process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


def is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/ready").status_code == 200
    except httpx.TransportError:
        return False
