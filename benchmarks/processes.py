"""Servers to measure, each a process of its own on a free port of loopback, its output in a file."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import psutil

from moderation.bundle import read_bundle, write_manifest
from moderation.db.database import connect, migrate
from moderation.errors import ModerationError
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from moderation.settings import PREFIX

ROOT = Path(__file__).resolve().parents[1]
START_S = 180.0
STOP_S = 30.0


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    def pause(self) -> None:
        """Stop the process and its children where they are, so that none of them costs a cycle."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def usage(self) -> dict[str, float]:
        """Return resident memory (MiB), open files and threads of the server's main process."""
        process = psutil.Process(self.process.pid)
        with process.oneshot():
            return {
                "rss_mib": process.memory_info().rss / 2**20,
                "files": float(process.num_fds()),
                "threads": float(process.num_threads()),
            }


class StartError(Exception):
    """A server did not come up; the message ends with its last words."""


@contextmanager
def started(
    command: Sequence[str | Path], port: int, ready: str, log: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    """Run ``command`` until the block ends; the path ``ready`` answers 200 once it can be asked.

    Raises:
        StartError: it ended, or did not answer in time.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=dict(environment),
            stdout=output,
            stderr=output,
            start_new_session=True,  # a group of its own: pause and stop reach the children
        )
    server = Server(port, process, log)
    try:
        _wait_until_ready(server, ready)
        yield server
    finally:
        _stop(server)


@contextmanager
def api(bundle: Path, folder: Path, port: int | None = None, **settings: object) -> Iterator[Server]:
    """Run our API with ``bundle`` as production, its state in ``folder``; ``settings`` are its variables' names."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    variables = {"STATE_DIR": folder, "API_PORT": port, **{name.upper(): value for name, value in settings.items()}}
    registry = LocalRegistry(folder / "registry")
    registry.point("production", registry.publish(bundle), Move("benchmark", "set up"))
    engine = connect(str(variables.get("DATABASE_URL", f"sqlite:///{folder.resolve() / 'moderation.db'}")))
    migrate(engine)
    engine.dispose()
    environment = inherited() | {f"{PREFIX}{name}": str(value) for name, value in variables.items()}
    command = [sys.executable, "-m", "cli", "serve"]
    with started(command, port, "/ready", folder / "api.log", environment) as server:
        yield server


def second_version(bundle: Path, folder: Path) -> Path:
    """Write a copy of ``bundle`` that differs by its name alone, and so has another version; return ``folder``."""
    shutil.copytree(bundle, folder)
    manifest = read_bundle(bundle).manifest
    write_manifest(folder, manifest.model_copy(update={"name": f"{manifest.name}-second"}))
    return folder


def inherited() -> dict[str, str]:
    """Return this process's environment without our own settings."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}


def exit_on_sigterm() -> None:
    """Make SIGTERM end this process as Ctrl-C does, so that the servers it started are ended too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def exit_with(main: Callable[[], int]) -> NoReturn:
    """End the process with the status of ``main``; a server that does not come up or wrong input is one line."""
    exit_on_sigterm()
    try:
        sys.exit(main())
    except (StartError, ModerationError, ValueError) as error:
        sys.exit(f"error: {error}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def get(port: int, path: str, timeout_s: float = 10.0) -> tuple[int, bytes]:
    """Return status and body of a GET."""
    return _ask(port, "GET", path, None, timeout_s)


def post(port: int, path: str, payload: object, timeout_s: float = 60.0) -> tuple[int, bytes]:
    """Return status and body of a POST of JSON."""
    return _ask(port, "POST", path, json.dumps(payload).encode(), timeout_s)


def _ask(port: int, method: str, path: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _wait_until_ready(server: Server, ready: str) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and server.process.poll() is None:
        try:
            if get(server.port, ready)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    last = server.log.read_text(errors="replace").strip().splitlines()[-3:]
    raise StartError(f"{Path(server.process.args[0]).name} did not come up: {' | '.join(last)}")  # type: ignore[index]


def _stop(server: Server) -> None:
    if server.process.poll() is None:
        server.resume()
        server.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)  # children that outlived it
    server.process.wait()
