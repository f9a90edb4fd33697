"""What candidates said in shadow beside what was answered. Read-only, newest first, at most `MOST_COMPARED`.

The key of ``shadow_predictions`` begins with the time and is that of its prediction, so both are read by their keys:
what it costs depends on `MOST_COMPARED` and not on how many there are.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, Text, and_, cast, func, select

from moderation.db.columns import columns_of, ids_of, matrix_of
from moderation.db.models import SCORE_COLUMNS, Prediction, ShadowPrediction
from moderation.db.review_models import ReviewItem
from moderation.db.rollups import Thresholds, read_thresholds
from moderation.labels import LABELS
from moderation.policy import DECISIONS

MOST_COMPARED = 8_000
"""Their rows lie anywhere on the disk; rates of 1 % are known to 0.2 points by so many."""


@dataclass(frozen=True)
class ShadowPairs:
    """N predictions that were answered and scored in shadow, newest first.

    ``answered_by`` and ``candidates`` (N,) are versions; ``decided`` and ``would_decide`` (N,) index `DECISIONS`;
    ``scores`` and ``candidate_scores`` (N, K) are in [0, 1], NaN where the version does not know the label.
    ``thresholds`` are those of the versions that are recorded.
    """

    ids: npt.NDArray[np.str_]
    times: npt.NDArray[np.datetime64]
    answered_by: npt.NDArray[np.str_]
    candidates: npt.NDArray[np.str_]
    decided: npt.NDArray[np.int64]
    would_decide: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    candidate_scores: npt.NDArray[np.float64]
    thresholds: Thresholds


def shadow_pairs(engine: Engine, start: datetime, end: datetime) -> ShadowPairs:
    """Return the newest `MOST_COMPARED` of ``[start, end)``."""
    newest = (
        select(ShadowPrediction.__table__)
        .where(ShadowPrediction.created_at >= start, ShadowPrediction.created_at < end)
        .order_by(ShadowPrediction.created_at.desc(), ShadowPrediction.id.desc())
        .limit(MOST_COMPARED)
        .subquery()
    )
    same = and_(
        Prediction.created_at == newest.c.created_at,
        Prediction.id == newest.c.id,
        Prediction.created_at >= start,
        Prediction.created_at < end,
    )
    names = [column.key for column in SCORE_COLUMNS.values()]
    query = (
        select(
            *(cast(newest.c.id, Text), newest.c.created_at, Prediction.version, newest.c.version, Prediction.decision,
              newest.c.decision),
            *(SCORE_COLUMNS[label] for label in LABELS),
            *(newest.c[name] for name in names),
        )
        .join(newest, same)
        .order_by(newest.c.created_at.desc(), newest.c.id.desc())
    )  # fmt: skip
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        columns = columns_of(rows, 6 + 2 * len(LABELS))
        ids, times, answered_by, candidates, decided, would_decide = columns[:6]
        thresholds = read_thresholds(connection, {*answered_by, *candidates})
    scores = matrix_of(columns[6:])
    return ShadowPairs(
        ids=ids_of(ids),
        times=np.array([each.replace(tzinfo=None) for each in times], dtype="datetime64[ms]"),
        answered_by=np.array(answered_by, dtype=np.str_),
        candidates=np.array(candidates, dtype=np.str_),
        decided=np.array(list(map(DECISIONS.index, decided)), dtype=np.int64),
        would_decide=np.array(list(map(DECISIONS.index, would_decide)), dtype=np.int64),
        scores=scores[:, : len(LABELS)],
        candidate_scores=scores[:, len(LABELS) :],
        thresholds=thresholds,
    )


def queued(engine: Engine, start: datetime, end: datetime) -> dict[str, int]:
    """Return how many disagreements of the windows in ``[start, end)`` the draw sent to reviewers, by their state."""
    query = (
        select(ReviewItem.state, func.count().label("number"))
        .where(ReviewItem.window_at >= start, ReviewItem.window_at < end, ReviewItem.stratum == "shadow")
        .group_by(ReviewItem.state)
    )
    with engine.connect() as connection:
        return {row.state: row.number for row in connection.execute(query)}
