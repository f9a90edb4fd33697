"""What the data page shows and reads. Knows no Streamlit."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pandas as pd

from moderation.review.history import Entry

PAGE_ENTRIES = 200


def whole_days(first: date, last: date) -> tuple[datetime, datetime]:
    """Return the time from the start of the first day to the end of the last, in UTC."""
    start, end = (datetime(each.year, each.month, each.day, tzinfo=UTC) for each in (first, last))
    return start, end + timedelta(days=1)


def audit_frame(entries: Sequence[Entry]) -> pd.DataFrame:
    """One row per action, as listed."""
    rows = [(each.at, each.reviewer, each.action, each.subject) for each in entries]
    return pd.DataFrame(rows, columns=["Time (UTC)", "Who", "Action", "What"])
