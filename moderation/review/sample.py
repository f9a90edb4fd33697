"""The designed sample as plain arrays: everything that the estimators need, and nothing of the texts.

Written for 50,000 items on a page that people wait for: JSON comes as text, of which labels have few different values
and scores are read in one go, and only what is used is fetched.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, Text, cast, func, select

from moderation.db.ids import with_dashes
from moderation.db.models import Rollup
from moderation.db.review_models import Review, ReviewItem, ReviewPopulation, ReviewWindow
from moderation.db.rollups import HOUR_S
from moderation.labels import LABELS
from moderation.review.access import Session, require
from moderation.review.score_bins import ScoreBins

Floats = npt.NDArray[np.float64]
Strings = npt.NDArray[np.str_]


@dataclass(frozen=True)
class GoldenResults:
    """G labelled golden items: who labelled, what he said and what is true, both (G, K)."""

    reviewers: Strings
    labels: npt.NDArray[np.bool_]
    truth: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """Predictions of one window, stratum, version and route, per label those of the predicted class.

    ``excluded`` could not be drawn and are not among them: their text is not stored, or their version's thresholds are
    not known. ``score_bins`` counts their scores.
    """

    window_at: datetime
    stratum: str
    version: str
    route: str
    predictions: int
    excluded: int
    predicted: dict[str, int]
    score_bins: ScoreBins


@dataclass(frozen=True)
class LiveSample:
    """N drawn items of some windows; label k is ``labels[k]``.

    ``strata``, ``versions``, ``routes``, ``decisions``, ``states`` (N,) strings: a state is ``done``, ``pending``, or,
    all of them non-response, ``expired`` and ``unresolved``. ``windows`` (N,) starts of their windows, UTC.
    ``probabilities`` (N,) of inclusion, in (0, 1]. ``scores`` (N, K) in [0, 1], NaN where the version does not know the
    label. ``predicted`` (N, K) whether they reached the threshold. ``consensus`` (N, K) 1, 0, or NaN where not done.
    """

    labels: tuple[str, ...]
    ids: Strings
    strata: Strings
    versions: Strings
    routes: Strings
    decisions: Strings
    states: Strings
    windows: npt.NDArray[np.datetime64]
    probabilities: Floats
    scores: Floats
    predicted: npt.NDArray[np.bool_]
    consensus: Floats
    golden: GoldenResults
    populations: tuple[Population, ...]
    logged: int
    """All predictions, by the roll-ups, until the end of the last window."""

    @property
    def excluded_share(self) -> float:
        """Share of the traffic that could not be drawn, or came too late for it; NaN without traffic."""
        drawn_from = sum(each.predictions for each in self.populations)
        total = max(self.logged, drawn_from + sum(each.excluded for each in self.populations))
        return 1 - drawn_from / total if total else float("nan")


def live_sample(
    engine: Engine,
    session: Session,
    start: datetime,
    end: datetime,
    now: datetime,
    version: str | None = None,
    route: str | None = None,
) -> LiveSample:
    """Return the sample of the windows that begin in ``[start, end)``, of one version or route if given.

    Golden results are those of all time: they say how reliable reviewers are.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
    """
    with engine.connect() as connection:
        require(connection, session, "viewer", now)
        of = _items(connection, (start, end), now, version, route)
        golden = golden_results(connection)
        populations = _populations(connection, start, end, version, route)
        logged = _logged(connection, start, end, version, route)
    return LiveSample(
        labels=LABELS,
        ids=_ids(of["prediction_id"]),
        strata=np.array(of["stratum"], dtype=np.str_),
        versions=np.array(of["version"], dtype=np.str_),
        routes=np.array(of["route"], dtype=np.str_),
        decisions=np.array(of["decision"], dtype=np.str_),
        states=np.array(list(map(_state, of["state"], of["late"])), dtype=np.str_),
        windows=np.array(list(map(_instant, of["window_at"])), dtype="datetime64[s]"),
        probabilities=np.array(of["probability"], dtype=np.float64),
        scores=_scores(of["scores"]),
        predicted=_matrix(list(map(_members, of["predicted"]))) == 1,
        consensus=_matrix(list(map(_consensus, of["labels"], of["state"]))),
        golden=golden,
        populations=populations,
        logged=logged,
    )


def windows(engine: Engine, session: Session, start: datetime, end: datetime, now: datetime) -> list[dict[str, Any]]:
    """Return what was drawn when, from how many predictions, by which policy and seed; oldest window first.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
    """
    query = select(ReviewWindow.__table__).where(ReviewWindow.started_at >= start, ReviewWindow.started_at < end)
    with engine.connect() as connection:
        require(connection, session, "viewer", now)
        return [dict(row) for row in connection.execute(query.order_by(ReviewWindow.started_at)).mappings()]


def sampled_versions(engine: Engine, session: Session, start: datetime, end: datetime, now: datetime) -> list[str]:
    """Return the versions that the windows which begin in ``[start, end)`` hold, the one with the most traffic first.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
    """
    total = func.sum(ReviewPopulation.predictions)
    within = (ReviewPopulation.window_at >= start, ReviewPopulation.window_at < end)
    query = select(ReviewPopulation.version).where(*within).group_by(ReviewPopulation.version)
    with engine.connect() as connection:
        require(connection, session, "viewer", now)
        return list(connection.scalars(query.order_by(total.desc(), ReviewPopulation.version)))


def _items(
    connection: Connection, period: tuple[datetime, datetime], now: datetime, version: str | None, route: str | None
) -> dict[str, Sequence[Any]]:
    """Return the items by column."""
    query = select(
        *(cast(ReviewItem.__table__.c[name], Text).label(name) for name in ("prediction_id", "window_at")),
        *(cast(ReviewItem.__table__.c[name], Text).label(name) for name in ("scores", "predicted", "labels")),
        *(ReviewItem.__table__.c[name] for name in ("stratum", "version", "route", "decision", "state", "probability")),
        (ReviewItem.expires_at <= now).label("late"),
    ).where(ReviewItem.kind == "sample", ReviewItem.window_at >= period[0], ReviewItem.window_at < period[1])
    for column, value in ((ReviewItem.version, version), (ReviewItem.route, route)):
        query = query if value is None else query.where(column == value)
    found = connection.execute(query.order_by(ReviewItem.window_at, ReviewItem.place))
    names, rows = list(found.keys()), found.all()
    return dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))


def _ids(texts: Sequence[str]) -> Strings:
    return np.array(texts if texts and "-" in texts[0] else list(map(with_dashes, texts)), dtype=np.str_)


def golden_results(connection: Connection, reviewer: str | None = None) -> GoldenResults:
    """Return what was said of golden items, by everybody or one reviewer; oldest first."""
    query = (
        select(Review.reviewer, cast(Review.labels, Text), cast(ReviewItem.labels, Text))
        .join(ReviewItem, ReviewItem.id == Review.item_id)
        .where(ReviewItem.kind == "golden", Review.outcome == "labels")
        .order_by(Review.submitted_at, Review.id)
    )
    query = query if reviewer is None else query.where(Review.reviewer == reviewer)
    rows = connection.execute(query).all()
    said, true = (_matrix([_numbers(row[place]) for row in rows]) == 1 for place in (1, 2))
    return GoldenResults(np.array([row[0] for row in rows], dtype=np.str_), said, true)


def _populations(
    connection: Connection, start: datetime, end: datetime, version: str | None, route: str | None
) -> tuple[Population, ...]:
    table = ReviewPopulation.__table__
    query = select(table).where(table.c.window_at >= start, table.c.window_at < end)
    for name, value in (("version", version), ("route", route)):
        query = query if value is None else query.where(table.c[name] == value)
    return tuple(
        Population(
            **{name: row[name] for name in ("window_at", "stratum", "version", "route", "predictions", "excluded")},
            predicted={label: row[f"predicted_{label}"] for label in LABELS},
            score_bins=row["score_bins"],
        )
        for row in connection.execute(query.order_by(*table.primary_key)).mappings()
    )


def _logged(connection: Connection, start: datetime, end: datetime, version: str | None, route: str | None) -> int:
    """Count the predictions from ``start``, or the end of a window across it, to the end of the last window."""
    across = select(func.max(ReviewWindow.ended_at)).where(ReviewWindow.started_at < start)
    within = (ReviewWindow.started_at >= start, ReviewWindow.started_at < end)
    first = max(start, connection.scalar(across) or start)
    last = connection.scalar(select(func.max(ReviewWindow.ended_at)).where(*within))
    if last is None:
        return 0
    query = select(func.sum(Rollup.predictions)).where(
        Rollup.period_s == HOUR_S, Rollup.started_at >= first, Rollup.started_at < last
    )
    for column, value in ((Rollup.version, version), (Rollup.route, route)):
        query = query if value is None else query.where(column == value)
    return int(connection.scalar(query) or 0)


def _state(state: str, late: bool) -> str:
    if state in ("done", "unresolved"):
        return state
    return "expired" if late else "pending"


def _scores(texts: Sequence[str]) -> Floats:
    rows = json.loads(f"[{','.join(texts)}]")
    try:
        return _matrix(list(map(itemgetter(*LABELS), rows)))
    except KeyError:  # a version that does not know them all
        return _matrix([[row.get(label, np.nan) for label in LABELS] for row in rows])


@lru_cache(maxsize=10_000)
def _instant(text: str) -> np.datetime64:
    """Return a time as either database writes it, in UTC; there are few different ones."""
    return np.datetime64(datetime.fromisoformat(text).replace(tzinfo=None), "s")


@lru_cache(maxsize=10_000)
def _numbers(text: str | None) -> tuple[float, ...]:
    labels = {} if text is None else json.loads(text)
    return tuple(float(labels.get(label, np.nan)) for label in LABELS)


def _consensus(text: str | None, state: str) -> tuple[float, ...]:
    return _numbers(text if state == "done" else None)


@lru_cache(maxsize=10_000)
def _members(text: str) -> tuple[float, ...]:
    names = json.loads(text)
    return tuple(float(label in names) for label in LABELS)


def _matrix(rows: Sequence[Sequence[float]]) -> Floats:
    return np.array(rows, dtype=np.float64).reshape(-1, len(LABELS))
