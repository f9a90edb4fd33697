"""Disagreements that come after the draw: people look at them, but they are no part of any estimate.

So are those between us and what callers suggest in Perspective's way, whose predictions are in no window's sample.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, and_, case, exists, func, insert, select
from sqlalchemy.exc import IntegrityError

from moderation.db.models import SCORE_COLUMNS, SUGGESTED, Feedback, Prediction
from moderation.db.review_models import Review, ReviewItem, ReviewWindow
from moderation.db.rollups import read_thresholds
from moderation.review import audit
from moderation.review.draw import SYSTEM, item_of, slots
from moderation.review.policy import ReviewPolicy

_DAY = timedelta(days=1)


def triage(engine: Engine, policy: ReviewPolicy, now: datetime) -> int:
    """Put disagreements on predictions of drawn windows, and suggestions that differ, into the queue; return how many.

    Verdicts come before suggestions, of which anybody with a key can send many, and the newest of each come first. At
    most half of a day's number are suggestions, so that there is room for a verdict that comes after them.

    Never more than the policy's number per day, nothing that is an item already, nothing older than an item's life.
    """
    with engine.connect() as connection:
        room, for_suggestions = _room(connection, policy, now)
        rows: list[RowMapping] = []
        for suggested, limit in ((False, room), (True, for_suggestions)):
            query = _disagreements(now - policy.expiry, now, suggested, max(0, min(limit, room - len(rows))))
            rows += connection.execute(query).mappings()
        thresholds = read_thresholds(connection, {row["version"] for row in rows})
    common = {"kind": "triage", "drawn_at": now, "expires_at": now + policy.expiry, "wanted": 1,
              "policy_digest": policy.digest}  # fmt: skip
    items = [item_of(row, thresholds) | common | {"place": place} for place, row in enumerate(map(dict, rows))]
    if not items:
        return 0
    try:
        with engine.begin() as connection:
            connection.execute(insert(ReviewItem), items)
            connection.execute(insert(Review), slots(items))
            audit.write(connection, now, SYSTEM, "triage", f"{len(items)} items")
    except IntegrityError:
        return 0  # another process was faster
    return len(items)


def _room(connection: Connection, policy: ReviewPolicy, now: datetime) -> tuple[int, int]:
    """Return how many more items today's number allows, and how many more suggestions."""
    is_suggested = func.coalesce(func.sum(case((ReviewItem.route == SUGGESTED, 1), else_=0)), 0)
    recent = select(func.count(), is_suggested).where(ReviewItem.kind == "triage", ReviewItem.drawn_at > now - _DAY)
    items, suggestions = connection.execute(recent).one()
    return policy.daily_triage - items, policy.daily_triage // 2 - suggestions


def _disagreements(since: datetime, now: datetime, suggested: bool, limit: int) -> Select[*tuple[Any, ...]]:
    columns = (Prediction.id, Prediction.created_at, Prediction.version, Prediction.route, Prediction.decision)
    known = exists().where(ReviewItem.prediction_id == Prediction.id)
    last = func.max(Feedback.created_at)
    is_suggested = Feedback.origin.is_not(None)
    return (
        select(*columns, *SCORE_COLUMNS.values())
        .join(Feedback, Feedback.prediction_id == Prediction.id)
        .outerjoin(
            ReviewWindow,
            (Prediction.created_at >= ReviewWindow.started_at) & (Prediction.created_at < ReviewWindow.ended_at),
        )
        .where(Feedback.created_at > since, Feedback.created_at <= now, ~Feedback.agree)
        .where(is_suggested if suggested else and_(~is_suggested, Feedback.created_at > ReviewWindow.drawn_at))
        .where(Prediction.text.is_not(None), ~known)
        .where(Prediction.created_at > since - _DAY)
        .group_by(*columns, *SCORE_COLUMNS.values())
        .order_by(last.desc(), Prediction.id)
        .limit(limit)
    )
