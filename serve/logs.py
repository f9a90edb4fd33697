"""Logs as JSON lines that cannot hold a comment's text.

Only a record's first line is kept, and of an exception only its type and where it was raised:
messages of exceptions, SQL parameters and the source lines of tracebacks may quote what a caller sent.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

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


def describe(error: BaseException) -> str:
    """Return the types of ``error`` and its causes, each with where it was raised, and no message."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{type(error).__name__}{where}" + (f", from {describe(cause)}" if cause is not None else "")


def configure() -> None:
    """Send the logs of this process to stderr; the libraries' only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)
