"""Runs several processes as one: all are stopped when one ends, on Ctrl-C and on SIGTERM.

honcho starts them, each in a process group of its own, and stops them by SIGTERM. Added here: logs in
files, SIGKILL after a time of each one's own, or for all at a second Ctrl-C, and (on Linux) that none
outlives a runner that was itself killed. Knows nothing of what the processes do, and does not follow one
that leaves its group.
"""

import collections
import ctypes
import functools
import logging.handlers
import multiprocessing
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from honcho.manager import KILL_WAIT, Manager
from honcho.printer import Message
from honcho.process import Popen, Process

LOG_BYTES = 10_000_000
LAST_LINES = 20
_PR_SET_PDEATHSIG = 1
_NOTEWORTHY = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")


@dataclass(frozen=True)
class Command:
    """One process to run."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    stop_s: float = KILL_WAIT
    """How long it may take to end after SIGTERM, before it is killed."""


class Runner(Manager):
    """Runs commands until one ends or a signal comes; `run` returns the exit code."""

    def __init__(self, commands: Sequence[Command], log_dir: Path, on_started: Callable[["Runner"], None]) -> None:
        """Take the commands; ``on_started`` is called in a thread once all have been started."""
        self.logs = Logs(log_dir, [command.name for command in commands])
        super().__init__(printer=self.logs)
        self.first_ended: str | None = None
        self._process_ctor = _Leashed
        self._on_started = on_started
        self._stop_s = {command.name: command.stop_s for command in commands}
        self._terminated_at: float | None = None
        for command in commands:
            self.add_process(command.name, f"exec {shlex.join(command.argv)}", env=dict(command.environment))

    def run(self) -> int:
        """Block until all have ended; return 130 after Ctrl-C, 143 after SIGTERM, else 1."""
        try:
            self.loop()
        finally:
            if self._all_started():
                super().kill()
            for watcher in multiprocessing.active_children():  # else waited for at exit, forever
                watcher.kill()
        return self.returncode if self.returncode in (130, 143) else 1

    def terminate(self) -> None:
        """Stop all; what is still there after its time is killed."""
        if not self._all_started():  # honcho knows no process ids yet and would fail
            _later(0.1, self.terminate)
        elif not self._terminating:
            ended = [name for name, state in self._processes.items() if "returncode" in state]
            self.first_ended = ended[0] if ended else None
            self._terminated_at = time.monotonic()
            super().terminate()
            for stop_s in self._stop_s.values():
                _later(stop_s, self.kill)
            left = [stop_s for name, stop_s in self._stop_s.items() if name not in ended]
            if (longest := max(left, default=0)) > KILL_WAIT:
                print(f"Finishing, up to {longest:.0f} s; Ctrl-C again stops at once.", flush=True)

    def kill(self) -> None:
        """Kill what has had its time; honcho asks for it five seconds after the first has ended."""
        waited_s = time.monotonic() - self._terminated_at if self._terminated_at is not None else 0.0
        for name, state in self._processes.items():
            if "returncode" not in state and waited_s >= self._stop_s[name]:
                self._procmgr.kill(state["pid"])

    def _start(self) -> None:
        stop = signal.getsignal(signal.SIGINT)  # honcho's

        def interrupt(number: int, frame: FrameType | None) -> None:
            if self._terminating:
                super(Runner, self).kill()
            elif callable(stop):
                stop(number, frame)

        signal.signal(signal.SIGINT, interrupt)
        super()._start()
        # Only now: forking a process that has threads can deadlock the child.
        threading.Thread(target=self._on_started, args=(self,), daemon=True).start()


class Logs:
    """Writes each process's output to a file of its own; warnings and errors to stderr as well."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        """Write to ``directory``; the logs of earlier runs are kept up to a size."""
        directory.mkdir(parents=True, exist_ok=True)
        self.width = 0  # honcho sets it
        self.paths = {name: directory / f"{name}.log" for name in names}
        self.last_lines: dict[str, collections.deque[str]] = {
            name: collections.deque(maxlen=LAST_LINES) for name in names
        }
        self._files = {
            name: logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
            for name, path in self.paths.items()
        }

    def write(self, message: Message) -> None:
        """Take one line from honcho; those it says itself are left out."""
        if message.name not in self._files:
            return
        line = message.data.decode("utf-8", "replace").rstrip()
        self.last_lines[message.name].append(line)
        self._files[message.name].emit(logging.makeLogRecord({"msg": line}))
        if _NOTEWORTHY.search(line):
            print(f"{message.name} | {line}", file=sys.stderr, flush=True)


class _Leashed(Process):
    """honcho's watcher of one process, and that process, each killed when its parent dies."""

    def run(self, *arguments: object) -> None:
        _die_with_parent()
        self._child_ctor = functools.partial(Popen, preexec_fn=_die_with_parent)
        super().run(*arguments)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _later(seconds: float, action: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
