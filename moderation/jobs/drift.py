"""The drift alarm over what the database counted of the versions that answer, for whoever watches without a page."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Engine, func, select

from moderation.db.models import Rollup
from moderation.db.queries import Day, days_of
from moderation.db.rollups import DAY_S
from moderation.labels import LABELS
from moderation.statistics.alarm import Alarm, DailyClasses, watch


def alarms(engine: Engine, now: datetime) -> dict[str, dict[str, Alarm]]:
    """Return what the watch says of each label, by version; nothing before the first full day.

    Versions are those that answered on the last full day (UTC) with comments: several during a rollout.

    Raises:
        UnavailableError: the database went away.
    """
    today = datetime.fromtimestamp(int(now.timestamp()) // DAY_S * DAY_S, UTC)
    full = (Rollup.period_s == DAY_S, Rollup.started_at < today)
    last = select(func.max(Rollup.started_at)).where(*full).scalar_subquery()
    with engine.connect() as connection:
        versions = connection.scalars(select(Rollup.version).where(*full, Rollup.started_at == last).distinct()).all()
    return {version: watch(daily_classes(days_of(engine, version, now))) for version in versions}


def daily_classes(days: Sequence[Day]) -> DailyClasses:
    """Return how many predictions of each day were classified, and how many of them as each label."""
    return DailyClasses(
        np.array([day.number for day in days], dtype=np.int64),
        np.array([day.classes[""] for day in days], dtype=np.int64),
        {label: np.array([day.classes[label] for day in days], dtype=np.int64) for label in LABELS},
    )
