"""Logs as JSON lines that cannot hold a comment's text.

Only a record's first line is kept, and of an exception only its type and where it was raised:
messages of exceptions, SQL parameters and the source lines of tracebacks may quote what a caller sent.
"""

import json
import logging
import sys
import threading
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

FLUSH_S = 0.1
"""How long lines below a warning come together before they are written."""
PACKAGES = ("serve", "moderation", "uvicorn")


class JsonFormatter(logging.Formatter):
    """One JSON object per record; ``extra={"fields": {…}}`` adds its keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage().partition("\n")[0],
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
        return json.dumps(line, ensure_ascii=True)


class GatheringHandler(logging.StreamHandler[TextIO]):
    """Writes warnings at once and what is below them a few times a second, in one go, and at the end of the process.

    A write per line would let Python's lock go on the event loop, which then waits for another thread to give it back.
    """

    def __init__(self, descriptor: int) -> None:
        """Write to an open file ``descriptor``, which stays the caller's."""
        super().__init__(open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - open as long as we
        threading.Thread(target=self._flush_again_and_again, name="logs", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        try:
            self.stream.write(self.format(record) + self.terminator)
            if record.levelno >= logging.WARNING:
                self.flush()
        except Exception:  # noqa: BLE001 - as logging does
            self.handleError(record)

    def _flush_again_and_again(self) -> None:
        while True:
            time.sleep(FLUSH_S)
            with suppress(OSError, ValueError):  # a reader that is gone
                self.flush()


def describe(error: BaseException) -> str:
    """Return the types of ``error`` and its causes, each with where it was raised, and no message."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{type(error).__name__}{where}" + (f", from {describe(cause)}" if cause is not None else "")


def configure() -> None:
    """Send the logs of this process to stderr; the libraries' only from warnings on."""
    handler = GatheringHandler(sys.stderr.fileno())
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)
