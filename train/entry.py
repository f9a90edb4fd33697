"""What every command of training does with what goes wrong: one line on stderr and status 1."""

import argparse
import sys
from collections.abc import Callable
from types import TracebackType

from moderation.errors import ModerationError

OURS = ("train", "moderation")


def explain_missing_packages() -> None:
    """Show a package that is not installed as one line; anything else that is not expected keeps its traceback.

    For ``if __name__ == "__main__"``, above imports of other packages.
    """
    shown = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is None or missing.partition(".")[0] in OURS:
            shown(kind, error, trace)
        else:
            _say(f"{missing} is not installed: run `make install-train`, and use .venv/bin/python")

    sys.excepthook = show


def add_overrides(parser: argparse.ArgumentParser, example: str, of: str = "CONFIG") -> None:
    """Let ``parser`` take ``--set KEY=VALUE …`` for values of the config that it calls ``of``."""
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help=f"change single values of {of}, e.g. --set {example}; stands after {of}",
    )


def exit_status(work: Callable[[], None]) -> int:
    """Do ``work`` and return the exit status."""
    try:
        work()
    except ModerationError as error:
        _say(str(error))
        return 1
    except OSError as error:  # a full or read-only disk
        _say(f"{error.strerror or error}: {error.filename or 'a file of the run'}")
        return 1
    return 0


def _say(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
