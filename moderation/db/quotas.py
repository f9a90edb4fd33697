"""Quotas that several servers share: what each may grant, leased from one counter per key and minute."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete
from sqlalchemy.dialects import postgresql, sqlite

from moderation.db.keys import database_time
from moderation.db.models import QuotaMinute

_MINUTE_S = 60.0
_KEPT = timedelta(hours=1)


@dataclass(frozen=True)
class Lease:
    """Comments that the one who asked may grant until the minute ends.

    ``left`` are those that nobody has leased yet, ``left_s`` the seconds to the end of the minute, in (0, 60].
    """

    minute: datetime
    granted: int
    left: int
    left_s: float


def lease(
    engine: Engine,
    key_id: str,
    quota: int,
    wanted: int,
    now: Callable[[Connection], datetime] = database_time,
) -> Lease:
    """Lease up to ``wanted`` of the ``quota`` comments of this minute, by the clock of the database.

    The counter holds what was asked for, not what was granted: a single atomic addition tells each caller how much
    had been asked for before it, so all that is granted in a minute never exceeds the quota.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # a lease that comes late is of no use
            connection.exec_driver_sql("SET LOCAL statement_timeout = '1s'")
        moment = now(connection)
        minute = moment.replace(second=0, microsecond=0)
        insert = sqlite.insert(QuotaMinute) if engine.dialect.name == "sqlite" else postgresql.insert(QuotaMinute)
        statement = insert.values(key_id=key_id, minute_at=minute, asked=wanted)
        asked = connection.execute(
            statement.on_conflict_do_update(
                index_elements=["key_id", "minute_at"], set_={"asked": QuotaMinute.asked + statement.excluded.asked}
            ).returning(QuotaMinute.asked)
        ).scalar_one()
        if asked == wanted:  # the first of its minute cleans up
            connection.execute(
                delete(QuotaMinute).where(QuotaMinute.key_id == key_id, QuotaMinute.minute_at < minute - _KEPT)
            )
    granted = max(0, min(wanted, quota - (asked - wanted)))
    return Lease(minute, granted, max(0, quota - asked), _MINUTE_S - (moment - minute).total_seconds())
