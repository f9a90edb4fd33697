"""The predictions of a window in SQL: which can be drawn, to which stratum each belongs, and its predicted classes.

A prediction belongs to the first stratum of the policy that fits. Nothing here reads a text.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, false, literal, not_, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, aliased

from moderation.db.ids import TOLERANCE
from moderation.db.models import SCORE_COLUMNS, SUGGESTED, Feedback, Prediction, Rollup, ShadowPrediction
from moderation.db.rollups import HOUR_S, Thresholds, read_thresholds
from moderation.review.policy import ReviewPolicy, Stratum


def window_thresholds(connection: Connection, start: datetime, end: datetime) -> Thresholds:
    """Return the thresholds of the versions that answered in ``[start, end)``, as far as they are recorded."""
    query = (
        select(Rollup.version)
        .where(Rollup.period_s == HOUR_S, Rollup.started_at > start - TOLERANCE, Rollup.started_at < end)
        .distinct()
    )
    return read_thresholds(connection, connection.scalars(query).all())


def frame(
    policy: ReviewPolicy, start: datetime, end: datetime, now: datetime, thresholds: Thresholds
) -> Select[*tuple[Any, ...]]:
    """Select the predictions of ``[start, end)``: key, version, route, eligible, stratum, scores, predicted_<label>.

    Feedback counts as far as it was given until ``now``.
    """
    kinds = [(_condition(each, start, end, now, thresholds), literal(each.kind)) for each in policy.strata[:-1]]
    stratum = case(*kinds, else_=policy.strata[-1].kind) if kinds else literal(policy.strata[-1].kind)
    eligible = and_(Prediction.text.is_not(None), Prediction.version.in_(list(thresholds)))
    return select(
        Prediction.created_at,
        Prediction.id,
        Prediction.version,
        Prediction.route,
        eligible.label("eligible"),
        stratum.label("stratum"),
        *SCORE_COLUMNS.values(),
        *(_predicted(label, thresholds).label(f"predicted_{label}") for label in SCORE_COLUMNS),
    ).where(Prediction.created_at >= start, Prediction.created_at < end, Prediction.route != SUGGESTED)


def predicted_labels(scores: Mapping[str, float], thresholds: Mapping[str, float]) -> list[str]:
    """Return the labels whose score reaches the version's threshold."""
    return [label for label, score in scores.items() if score >= thresholds.get(label, math.inf)]


def _predicted(label: str, thresholds: Thresholds) -> ColumnElement[bool]:
    return _any(
        and_(Prediction.version == version, SCORE_COLUMNS[label] >= limits[label])
        for version, limits in thresholds.items()
        if limits.get(label, math.inf) != math.inf
    )


def _condition(
    stratum: Stratum, start: datetime, end: datetime, now: datetime, thresholds: Thresholds
) -> ColumnElement[bool]:
    if stratum.kind == "removed":
        return Prediction.decision == "remove"
    if stratum.kind == "disagreement":
        given = and_(Feedback.created_at > start - TOLERANCE, Feedback.created_at <= now)
        return Prediction.id.in_(select(Feedback.prediction_id).where(given, not_(Feedback.agree)))
    if stratum.kind == "shadow":
        return Prediction.id.in_(_disputed(start, end))
    margin = stratum.margin or 0.0
    return _any(
        and_(Prediction.version == version, _near(SCORE_COLUMNS[label], limit, margin))
        for version, limits in thresholds.items()
        for label, limit in limits.items()
        if limit != math.inf and label in SCORE_COLUMNS
    )


def _disputed(start: datetime, end: datetime) -> Select[str]:
    """Select the ids of what a candidate decides otherwise; in no way correlated, so that it is computed once."""
    answered = aliased(Prediction)
    same = and_(answered.created_at == ShadowPrediction.created_at, answered.id == ShadowPrediction.id)
    within = and_(ShadowPrediction.created_at >= start, ShadowPrediction.created_at < end)
    return (
        select(ShadowPrediction.id)
        .join(answered, same)
        .where(within, answered.created_at >= start, answered.created_at < end)
        .where(answered.decision != ShadowPrediction.decision)
    )


def _near(score: InstrumentedAttribute[float | None], limit: float, margin: float) -> ColumnElement[bool]:
    return and_(score >= limit - margin, score <= limit + margin)


def _any(conditions: Iterable[ColumnElement[bool]]) -> ColumnElement[bool]:
    listed = list(conditions)
    return case((or_(*listed), true()), else_=false()) if listed else false()
