"""What is known of the reviewers' work: how much, how far they agree, how often they are right on golden items.

A reviewer sees the own figures, an admin those of everybody.
"""

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
from sqlalchemy import Connection, Engine, func, select

from moderation.db.review_models import Review, ReviewItem
from moderation.labels import LABELS
from moderation.review.access import Session, is_admin, require
from moderation.review.sample import Floats, GoldenResults, golden_results


@dataclass(frozen=True)
class DayOfWork:
    """How many verdicts a reviewer gave on a day (UTC), golden items and adjudications among them; ``labelled`` are
    those with labels, the others are skipped, unsure, or need context.
    """  # noqa: D205 - one sentence

    day: date
    reviewer: str
    verdicts: int
    labelled: int


@dataclass(frozen=True)
class SharedLabels:
    """``labels`` (K, N, R) of the N items of the sample that several of R reviewers labelled blind.

    1, 0, or NaN where a reviewer did not label the item. ``reviewers`` (R,) are named as far as whoever asks may know.
    """

    labels: Floats
    reviewers: tuple[str | None, ...]


def days_of_work(engine: Engine, session: Session, start: datetime, end: datetime, now: datetime) -> list[DayOfWork]:
    """Return the days of ``[start, end)`` on which verdicts were given, oldest first.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
    """
    day, labelled = func.date(Review.submitted_at), func.count().filter(Review.outcome == "labels")
    query = (
        select(day, Review.reviewer, func.count(), labelled)
        .where(Review.submitted_at >= start, Review.submitted_at < end)
        .group_by(day, Review.reviewer)
        .order_by(day, Review.reviewer)
    )
    with engine.connect() as connection:
        name = _whose(connection, session, now)
        query = query if name is None else query.where(Review.reviewer == name)
        # SQLite has dates as text.
        return [DayOfWork(date.fromisoformat(str(row[0])), *row[1:]) for row in connection.execute(query)]


def golden_work(engine: Engine, session: Session, now: datetime) -> GoldenResults:
    """Return what was said of golden items, of all time.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
    """
    with engine.connect() as connection:
        return golden_results(connection, _whose(connection, session, now))


def shared_labels(engine: Engine, session: Session, start: datetime, end: datetime, now: datetime) -> SharedLabels:
    """Return the labels given blind in ``[start, end)``, adjudications left out.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
    """
    several = func.count().over(partition_by=Review.item_id).label("several")
    given = (
        select(Review.item_id, Review.reviewer, Review.labels, several)
        .join(ReviewItem, ReviewItem.id == Review.item_id)
        .where(ReviewItem.kind == "sample", Review.outcome == "labels", ~Review.adjudicates)
        .where(Review.submitted_at >= start, Review.submitted_at < end)
        .subquery()
    )
    with engine.connect() as connection:
        own = _whose(connection, session, now)
        rows = connection.execute(select(given.c.item_id, given.c.reviewer, given.c.labels).where(given.c.several > 1))
        found = rows.all()
    items = {item: place for place, item in enumerate(dict.fromkeys(row.item_id for row in found))}
    names = {name: place for place, name in enumerate(sorted({row.reviewer for row in found}))}
    labels = np.full((len(LABELS), len(items), len(names)), np.nan)
    for row in found:
        labels[:, items[row.item_id], names[row.reviewer]] = [row.labels[label] for label in LABELS]
    return SharedLabels(labels, tuple(name if own in (None, name) else None for name in names))


def verdicts_since(engine: Engine, session: Session, since: datetime, now: datetime) -> int:
    """Return how many verdicts this reviewer has given since then.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
    """
    with engine.connect() as connection:
        name = require(connection, session, "reviewer", now)
        query = select(func.count()).where(Review.reviewer == name, Review.submitted_at >= since)
        return connection.scalar(query) or 0


def _whose(connection: Connection, session: Session, now: datetime) -> str | None:
    """Return whose figures the session may see; None: everybody's."""
    name = require(connection, session, "reviewer", now)
    return None if is_admin(connection, name) else name
