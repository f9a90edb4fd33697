"""The drift alarm over what the database counted of the version that answers, for whoever watches without a page."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from sqlalchemy import Engine, select

from moderation.db.models import Rollup
from moderation.db.queries import Day, days_of
from moderation.db.rollups import DAY_S
from moderation.labels import LABELS
from moderation.statistics.alarm import Alarm, DailyClasses, watch


def alarms(engine: Engine, now: datetime) -> dict[str, Alarm]:
    """Return what the watch says of each label of the version that answered last; nothing before its first full day.

    Raises:
        UnavailableError: the database went away.
    """
    newest = select(Rollup.version).where(Rollup.period_s == DAY_S).order_by(Rollup.last_at.desc()).limit(1)
    with engine.connect() as connection:
        version = connection.scalar(newest)
    days = days_of(engine, version, now) if version is not None else []
    return watch(daily_classes(days)) if days else {}


def daily_classes(days: Sequence[Day]) -> DailyClasses:
    """Return how many predictions of each day were classified, and how many of them as each label."""
    return DailyClasses(
        np.array([day.number for day in days], dtype=np.int64),
        np.array([day.classes[""] for day in days], dtype=np.int64),
        {label: np.array([day.classes[label] for day in days], dtype=np.int64) for label in LABELS},
    )
