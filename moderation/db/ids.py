"""What ids of version 7 say of when their rows were made (RFC 9562, section 5.7: milliseconds in the first 48 bits)."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute

TOLERANCE = timedelta(days=1)
"""How far a row's time and that in its id may lie apart, should the clock be set between the two."""


def first_id(at: datetime) -> str:
    """Return the lowest id of what is made at ``at``: ids sort by time."""
    return str(uuid.UUID(int=int(at.timestamp() * 1000) << 80))


def made_near(instant: InstrumentedAttribute[datetime], ids: Sequence[str]) -> list[ColumnElement[bool]]:
    """Return conditions that rows with these ids fulfil, so that other partitions are not searched.

    None if an id is of another version, which does not say its time, or says one that no row can have.
    """
    found = [uuid.UUID(each) for each in ids]
    if not found or any(each.version != 7 for each in found):
        return []
    milliseconds = sorted(each.int >> 80 for each in found)
    try:
        earliest, latest = (datetime.fromtimestamp(each / 1000, UTC) for each in (milliseconds[0], milliseconds[-1]))
        return [instant >= earliest - TOLERANCE, instant <= latest + TOLERANCE]
    except (ValueError, OverflowError):  # beyond the year 9999
        return []


def with_dashes(text: str) -> str:
    """Return an id that was selected as text as it is written elsewhere; SQLite keeps it without dashes.

    As text an id takes a third of the time that PostgreSQL's driver needs for one.
    """
    return text if "-" in text else f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
