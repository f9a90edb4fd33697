"""PostgreSQL's partitions of what grows, one per month; SQLite has none.

A row for whose month there is no partition goes into the default one, so none is ever lost; making the month's
partition moves it there. Names say what a partition holds: ``predictions_2026_11``, or
``predictions_before_2026_12`` for everything up to there (the table as it was before it was partitioned).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, text

from moderation.db.database import lift_time_limit

TABLES = ("predictions", "shadow_predictions")
MONTHS_AHEAD = 12
_NAME = re.compile(r"_(before_)?(\d{4})_(\d{2})")


@dataclass(frozen=True)
class Partition:
    """A partition whose rows are older than ``end``."""

    name: str
    end: datetime


def exist(connection: Connection) -> bool:
    """Return whether the database has partitions."""
    return connection.dialect.name == "postgresql"


def make_ahead(connection: Connection, now: datetime, months: int = MONTHS_AHEAD) -> list[str]:
    """Make the partitions of the current and the next ``months`` months that are missing; return their names."""
    lift_time_limit(connection)  # for what is moved out of the default partition
    made = []
    for table in TABLES:
        existing = find(connection, table)
        covered_until = max((each.end for each in existing if "_before_" in each.name), default=now)
        names = {each.name for each in existing}
        start = month_of(now)
        for _ in range(months + 1):
            name, end = f"{table}_{start:%Y_%m}", month_after(start)
            if name not in names and end > covered_until:
                _make(connection, table, name, start, end)
                made.append(name)
            start = end
    return made


def find(connection: Connection, table: str) -> list[Partition]:
    """Return the partitions of ``table`` by month, oldest first; the default one, and others' own, are left out."""
    query = text(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = CAST(:parent AS regclass)"
    )
    found = []
    for name in connection.scalars(query, {"parent": table}):
        if match := _NAME.fullmatch(name.removeprefix(table)):
            named = datetime(int(match[2]), int(match[3]), 1, tzinfo=UTC)
            found.append(Partition(name, named if match[1] else month_after(named)))
    return sorted(found, key=lambda each: each.end)


def month_of(at: datetime) -> datetime:
    """Return the first moment of the month."""
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def month_after(at: datetime) -> datetime:
    """Return the first moment of the next month."""
    return datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)


def _make(connection: Connection, table: str, name: str, start: datetime, end: datetime) -> None:
    # Made beside the table and attached: rows of this month that lie in the default partition can go in before.
    default = f"{table}_default"
    connection.exec_driver_sql(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS)")
    connection.exec_driver_sql(
        f"WITH moved AS (DELETE FROM {default} WHERE created_at >= '{start.isoformat()}'"  # noqa: S608 - no input
        f" AND created_at < '{end.isoformat()}' RETURNING *) INSERT INTO {name} SELECT * FROM moved"
    )
    connection.exec_driver_sql(
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
    )
