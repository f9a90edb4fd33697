"""The way to the database, and what to say of what it refuses, or when it is away or behind."""

from sqlalchemy import Engine

from apps.ui.problem import Problem
from moderation.db.database import connect, require_current
from moderation.errors import ConfigurationError, InvalidInputError, ModerationError


def open_database(url: str) -> Engine:
    """Return an engine for ``url``; nothing is connected yet.

    Raises:
        ConfigurationError: the URL does not name a database that this release works with.
    """
    return connect(url)


def check_database(engine: Engine) -> None:
    """Make sure that the database answers and has this release's tables.

    Raises:
        UnavailableError: it does not answer.
        ConfigurationError: its tables are of another release.
    """
    require_current(engine)


def explain(error: ModerationError) -> Problem:
    """Return ``error`` as a problem with its way out."""
    if isinstance(error, ConfigurationError):
        return Problem(
            "The database cannot be used as it is.",
            "The line below says what to do; then refresh.",
            str(error),
        )
    if isinstance(error, InvalidInputError):
        return Problem("That cannot be done.", "Nothing was changed; the line below says why.", str(error))
    return Problem(
        "The database does not answer.",
        "This page tries again when it is refreshed. `MODERATION_DATABASE_URL` says where the database is.",
        str(error),
    )
