"""Questions to W&B, answered by a process of its own with a deadline; nothing here imports the SDK.

Calls of the SDK can hang without limit (a stalled download, a server that dies during `finish`), and a process that
gave up on one may never exit. So `moderation.wandb_client` answers one JSON request per line as a child, is killed
when it is late, and ends when its parent does. ``WANDB_*`` variables keep the SDK's meaning; no message repeats a key.
"""

import contextlib
import json
import netrc
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any

from moderation.errors import (
    BundleError,
    ConfigurationError,
    ModerationError,
    NotFoundError,
    RegistryError,
    UnavailableError,
)
from moderation.settings import secret_from_file

Answer = Any
_KEY = "WANDB_API_KEY"
KINDS: tuple[type[ModerationError], ...] = (
    BundleError,
    ConfigurationError,
    NotFoundError,
    RegistryError,
    UnavailableError,
)
MODEL, REPORT, MOVE = "model", "gate-report", "alias-move"
"""Types of artifacts, and the job type of the run that records a move."""
STEP = "train/global_step"
"""Under which the Trainer's callback logs how many steps were taken."""


class WandbProcess:
    """The SDK behind a deadline; started at the first question, and again after every failure."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()  # held by a question until it is answered
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._errors: IO[bytes] | None = None

    def ask(self, command: str, deadline_s: float, **arguments: object) -> Answer:
        """Return what `COMMANDS[command]` answers.

        Raises:
            UnavailableError: no answer in ``deadline_s`` seconds, W&B cannot be reached, or this was closed.
            ConfigurationError: ``WANDB_BASE_URL`` is not set.
            NotFoundError, RegistryError, BundleError: as W&B says.
        """
        with self._lock:
            try:
                answer = json.loads(self._exchange({"command": command, **arguments}, deadline_s))
            except BaseException:
                self._stop()
                raise
            if "error" in answer:
                if answer["error"] == UnavailableError.code:
                    self._stop()  # one that saw a timeout is not to be trusted with the next question
                kind = next(kind for kind in KINDS if kind.code == answer["error"])
                raise kind(answer["message"])
            return answer["answer"]

    def close(self) -> None:
        """End the process, if there is one, also in the midst of a question; a later one starts another."""
        self._closed = True
        if (process := self._process) is not None:
            _kill(process)  # before the lock, which the question gives back only then
        with self._lock:
            self._stop()
            self._closed = False

    def _exchange(self, request: dict[str, object], deadline_s: float) -> bytes:
        deadline = time.monotonic() + deadline_s
        process = self._process or self._start()
        if self._closed:  # looked at after the start: `close` either sees the process or is seen here
            raise UnavailableError("the connection to W&B is closed")
        assert process.stdin is not None  # noqa: S101 - a pipe, as is stdout
        assert process.stdout is not None  # noqa: S101
        line, answers = b"", select.poll()  # `select.select` refuses descriptors from 1024 on: many sockets are open
        answers.register(process.stdout, select.POLLIN)
        with contextlib.suppress(BrokenPipeError):  # it has ended: said below
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        while not line.endswith(b"\n"):
            if not answers.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise UnavailableError(f"W&B did not answer `{request['command']}` within {deadline_s:g} s")
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise UnavailableError(f"the W&B process ended: {self._last_error()}")
            line += chunk
        return line

    def _start(self) -> "subprocess.Popen[bytes]":
        if not os.environ.get("WANDB_BASE_URL"):
            raise ConfigurationError("WANDB_BASE_URL is not set; for W&B's cloud it is https://api.wandb.ai")
        self._scratch = tempfile.TemporaryDirectory(prefix="moderation-wandb-", ignore_cleanup_errors=True)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _stop
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moderation.wandb_client"],
            cwd=Path(__file__).resolve().parents[1],
            env=_environment(self._scratch.name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        return self._process

    def _stop(self) -> None:
        if self._process is None:
            return
        _kill(self._process)
        self._process.communicate()
        self._process = None
        if self._errors is not None:
            self._errors.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _last_error(self) -> str:
        if self._errors is None:
            return "no reason given"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return clean(lines[-1]) if lines else "no reason given"


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.returncode is None:  # once it was waited for, its id may be another's
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the SDK's own sidecar ends with its parent


def has_key() -> bool:
    """Return whether there is a key: in ``WANDB_API_KEY`` or its file, or in netrc for the server's host."""
    return any(_keys())


def _keys() -> list[str]:
    host = urllib.parse.urlsplit(os.environ.get("WANDB_BASE_URL", "")).hostname
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host) if host else None
    except (OSError, netrc.NetrcParseError):
        found = None
    return [key for key in (api_key(), found and found[2]) if key]


def api_key() -> str | None:
    """Return the key in ``WANDB_API_KEY``, or in the file that ``WANDB_API_KEY_FILE`` names; None: there is neither.

    Raises:
        ConfigurationError: both are set, or the file cannot be used.
    """
    return secret_from_file(_KEY) or os.environ.get(_KEY)


def _environment(scratch: str) -> dict[str, str]:
    folders = {f"WANDB_{name}": f"{scratch}/{name.lower()}" for name in ("DIR", "CACHE_DIR", "DATA_DIR")}
    for folder in folders.values():
        Path(folder).mkdir()
    quiet = {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_ERROR_REPORTING": "false"}
    # A sidecar of its own; and the SDK knows no file with a key.
    own = {name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", f"{_KEY}_FILE")}
    key = {_KEY: found} if (found := api_key()) else {}
    # One retry: the SDK then fails by itself, with the true cause, before its own timeout hides it.
    return {**own, **key, **folders, **quiet, "WANDB__GRAPHQL_RETRY_MAX": "1"}


def clean(message: object) -> str:
    """Return one line without the keys that the SDK may have used."""
    line = " ".join(str(message).split())
    for key in _keys():
        line = line.replace(key, "***")
    return line[:500]
