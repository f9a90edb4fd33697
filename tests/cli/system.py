"""`moderation up` as a process of its own, on free ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

START_LIMIT_S = 120
STOP_LIMIT_S = 30
PORT_VARIABLES = ("MODERATION_API_PORT", "MODERATION_UI_PORT", "MODERATION_MONITOR_PORT")


class System:
    """The running system; ``output`` is what was printed so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, state_dir: Path, api_url: str) -> None:
        self.process = process
        self.state_dir = state_dir
        self.api_url = api_url
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_until_up(self) -> None:
        wait_for(lambda: "Try it:" in self.output or self.process.poll() is not None, START_LIMIT_S)
        assert self.process.poll() is None, self.output

    def stop(self, with_signal: signal.Signals) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(STOP_LIMIT_S)

    def pid_of(self, name: str) -> int:
        """Return the process of ``api``, ``moderator`` or ``monitor``."""
        marker = {"api": "cli\0serve", "moderator": "apps/moderator", "monitor": "apps/monitor"}[name]
        (pid,) = [pid for pid in self.pids() if marker in _proc(pid, "cmdline")]
        return pid

    def pids(self) -> list[int]:
        """Return every process that was started for this state folder."""
        return pids_with(f"MODERATION_STATE_DIR={self.state_dir}\0")


@contextmanager
def started(environment: Mapping[str, str], root: Path) -> Iterator[System]:
    """Start the system; kill whatever is left of it at the end."""
    state_dir = Path(environment["MODERATION_STATE_DIR"])
    ports = dict(zip(PORT_VARIABLES, map(str, free_ports(3)), strict=True))
    log = state_dir / f"up-{ports['MODERATION_API_PORT']}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "up"],
            cwd=root,
            env={**environment, **ports},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    system = System(process, log, state_dir, f"http://127.0.0.1:{ports['MODERATION_API_PORT']}")
    try:
        yield system
    finally:
        for pid in system.pids():
            os.kill(pid, signal.SIGKILL)
        process.wait()


def pids_with(marker: str) -> list[int]:
    """Return the processes whose environment holds ``marker``, zombies left out."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if marker in _proc(int(entry.name), "environ")]


def wait_for(condition: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _proc(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except OSError:  # it has just ended
        return ""
