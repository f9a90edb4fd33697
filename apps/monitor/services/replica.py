"""A read replica for figures: whether one can be read now, and how far behind its primary it is. Knows no Streamlit."""

from datetime import datetime, timedelta

from sqlalchemy import Engine, text

from apps.monitor.services.database import check_database
from moderation.db.database import connect
from moderation.errors import ConfigurationError, ForbiddenError, ModerationError, UnauthorizedError
from moderation.review.access import Session, resume

VARIABLE = "MODERATION_READ_DATABASE_URL"
LATE = timedelta(minutes=1)
"""From when on a replica that is behind is something to look after."""
_WRITTEN = text("SELECT pg_current_wal_lsn()::text AS place, now() AS at")
# A standby that has replayed no transaction since it was started has been behind since then at most.
_REPLAYED = text(
    "SELECT pg_is_in_recovery() AS follows, pg_last_wal_replay_lsn() >= CAST(:place AS pg_lsn) AS has_all, "
    "coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()) AS until"
)


def open_replica(url: str) -> Engine:
    """Return an engine for the replica at ``url``; nothing is connected yet.

    Raises:
        ConfigurationError: no URL of a PostgreSQL database.
    """
    engine = connect(url, VARIABLE)
    if engine.dialect.name != "postgresql":
        raise ConfigurationError(f"{VARIABLE} is for {engine.dialect.name}; expected a hot standby of PostgreSQL")
    return engine


def committed_until(primary: Engine, replica: Engine) -> tuple[datetime, timedelta]:
    """Return until when what was committed is in the replica, by the primary's clock, and how long ago that was.

    By the place in the write-ahead log and not by the newest row: on a quiet site nothing is written for hours, and a
    replica that is cut off says nothing of it.

    Raises:
        UnavailableError: one of them does not answer.
        ConfigurationError: the replica follows nobody.
    """
    if primary.dialect.name != "postgresql":
        raise ConfigurationError(f"{VARIABLE} is set, and the database itself is {primary.dialect.name}: it has none")
    with primary.connect() as connection:
        written = connection.execute(_WRITTEN).one()
    with replica.connect() as connection:
        replayed = connection.execute(_REPLAYED, {"place": written.place}).one()
    if not replayed.follows:
        raise ConfigurationError(f"{VARIABLE} names a server that follows no other; expected a hot standby")
    until = written.at if replayed.has_all else min(replayed.until, written.at)
    return until, written.at - until


def why_not(primary: Engine, replica: Engine) -> str | None:
    """Return why the replica cannot be read by anybody; None: it can."""
    try:
        check_database(replica)
        committed_until(primary, replica)
    except ModerationError as error:
        return str(error)
    return None


def knows(replica: Engine, session: Session, now: datetime) -> bool:
    """Return whether the replica has this sign-in already, without which it shows nothing to anybody.

    Raises:
        UnavailableError: it does not answer.
    """
    try:
        resume(replica, session.token, now)
    except (UnauthorizedError, ForbiddenError):
        return False
    return True
