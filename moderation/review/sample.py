"""The designed sample as plain arrays: everything that the estimators need, and nothing of the texts.

Written for 50,000 items on a page that people wait for: the database joins them into a few long strings, in which
labels have few different values and scores are read in one go, and only what is used is fetched.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import add, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, Text, case, cast, func, select

from moderation.db.columns import columns_of, ids_of
from moderation.db.models import Rollup
from moderation.db.review_models import Review, ReviewItem, ReviewPopulation, ReviewWindow
from moderation.db.rollups import HOUR_S
from moderation.labels import LABELS
from moderation.review.access import Session, require

Floats = npt.NDArray[np.float64]
Strings = npt.NDArray[np.str_]
IntArray = npt.NDArray[np.int64]
_DAY = timedelta(days=1)
_KEYS = ("window_at", "stratum", "version", "route", "decision", "probability", "state")
_JOINED = {"prediction_id": " ", "scores": ",", "predicted": "\n", "labels": "\n"}


@dataclass(frozen=True)
class GoldenResults:
    """G labelled golden items: who labelled, what he said and what is true, both (G, K)."""

    reviewers: Strings
    labels: npt.NDArray[np.bool_]
    truth: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """Predictions of one window, stratum, version and route.

    ``excluded`` could not be drawn and are not among them: their text is not stored, or their version's thresholds are
    not known. ``score_bins`` counts their scores: per label the cells of `moderation.review.score_bins.ScoreBins`, one
    after the other.
    """

    window_at: datetime
    stratum: str
    version: str
    route: str
    predictions: int
    excluded: int
    score_bins: Mapping[str, list[float]]


@dataclass(frozen=True)
class LiveSample:
    """N drawn items of some windows; label k is ``labels[k]``.

    ``strata``, ``versions``, ``routes``, ``decisions``, ``states`` (N,) strings: a state is ``done``, ``pending``, or,
    all of them non-response, ``expired`` and ``unresolved``. ``windows`` (N,) starts of their windows, UTC.
    ``probabilities`` (N,) of inclusion, in (0, 1]. ``scores`` (N, K) in [0, 1], NaN where the version does not know the
    label. ``predicted`` (N, K) whether they reached the threshold. ``consensus`` (N, K) 1, 0, or NaN where not done.
    ``fingerprint`` is the same for two samples only if their figures are.
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
    fingerprint: str

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
        items = _items(connection, (start, end), now, version, route)
        golden = golden_results(connection)
        populations = _populations(connection, start, end, version, route)
        logged = _logged(connection, start, end, version, route)
    return LiveSample(
        labels=LABELS,
        ids=ids_of(items.ids),
        strata=items.each("stratum"),
        versions=items.each("version"),
        routes=items.each("route"),
        decisions=items.each("decision"),
        states=(states := items.each("state")),
        windows=np.repeat(_instants(items.keys["window_at"]), items.counts),
        probabilities=items.each("probability", np.float64),
        scores=_scores(items.scores),
        predicted=_each(items.predicted, _members) == 1,
        consensus=np.where((states == "done")[:, None], _each(items.labels, _numbers), np.nan),
        golden=golden,
        populations=populations,
        logged=logged,
        fingerprint=_fingerprint(items, golden, populations),
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


def traffic_per_day(engine: Engine, session: Session, start: datetime, end: datetime, now: datetime) -> float:
    """Return the predictions, of all versions, per day (UTC) of ``[start, end)`` that has any; NaN without.

    A day that lies partly in the range counts in part. Both ends are exact to the hour.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
    """
    within = (Rollup.period_s == HOUR_S, Rollup.started_at >= start, Rollup.started_at < end)
    query = select(Rollup.started_at, func.sum(Rollup.predictions)).where(*within).group_by(Rollup.started_at)
    with engine.connect() as connection:
        require(connection, session, "viewer", now)
        hours = connection.execute(query).all()
    midnights = {at.replace(hour=0) for at, _ in hours}
    days = sum((min(end, each + _DAY) - max(start, each) for each in midnights), timedelta()) / _DAY
    return float(sum(number for _, number in hours)) / days if days else float("nan")


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


@dataclass(frozen=True)
class _Items:
    """Items in groups that are alike in `_KEYS`: those, how many there are, and of each item what differs."""

    keys: dict[str, list[Any]]
    counts: IntArray
    ids: list[str]
    scores: str
    predicted: list[str]
    labels: list[str]

    def each(self, key: str, kind: type = np.str_) -> npt.NDArray[Any]:
        """Return a key of every item (N,)."""
        return np.repeat(np.array(self.keys[key], dtype=kind), self.counts)


def _items(
    connection: Connection, period: tuple[datetime, datetime], now: datetime, version: str | None, route: str | None
) -> _Items:
    """Return the items as a few long strings: a row for each would take the driver and the collector longer."""
    table = ReviewItem.__table__
    late = case((table.c.expires_at <= now, "expired"), else_="pending")
    query = select(
        *(table.c[name] for name in ("window_at", "stratum", "version", "route", "decision", "probability")),
        case((table.c.state.in_(("done", "unresolved")), table.c.state), else_=late).label("state"),
        *(cast(table.c[name], Text).label(name) for name in ("prediction_id", "scores", "predicted")),
        func.coalesce(cast(table.c.labels, Text), "null").label("labels"),
    ).where(table.c.kind == "sample", table.c.window_at >= period[0], table.c.window_at < period[1])
    for column, value in ((table.c.version, version), (table.c.route, route)):
        query = query if value is None else query.where(column == value)
    one = query.subquery()
    keys = [one.c[name] for name in _KEYS]
    joined = (func.aggregate_strings(one.c[name], sign) for name, sign in _JOINED.items())
    rows = connection.execute(select(*keys, func.count(), *joined).group_by(*keys).order_by(*keys)).all()
    columns = columns_of(rows, len(_KEYS) + 1 + len(_JOINED))
    ids, scores, predicted, labels = (
        sign.join(texts) for sign, texts in zip(_JOINED.values(), columns[-4:], strict=True)
    )
    return _Items(
        dict(zip(_KEYS, map(list, columns), strict=False)),
        np.array(columns[len(_KEYS)], dtype=np.int64),
        ids.split(),
        scores,
        predicted.splitlines(),
        labels.splitlines(),
    )


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
    said, true = (_each([str(row[place]) for row in rows], _numbers) == 1 for place in (1, 2))
    return GoldenResults(np.array([row[0] for row in rows], dtype=np.str_), said, true)


def _populations(
    connection: Connection, start: datetime, end: datetime, version: str | None, route: str | None
) -> tuple[Population, ...]:
    table = ReviewPopulation.__table__
    others = (column for column in table.c if column.key != "score_bins")
    query = select(*others, cast(table.c.score_bins, Text).label("bins"))
    query = query.where(table.c.window_at >= start, table.c.window_at < end)
    for name, value in (("version", version), ("route", route)):
        query = query if value is None else query.where(table.c[name] == value)
    rows = connection.execute(query.order_by(*table.primary_key)).mappings().all()
    # 200,000 small lists would keep the garbage collector busy for longer than all of the parsing takes.
    bins = from_json(
        f"[{','.join(row['bins'] for row in rows)}]".replace("[[", "[").replace("], [", ", ").replace("]]", "]")
    )
    return tuple(
        Population(
            **{name: row[name] for name in ("window_at", "stratum", "version", "route", "predictions", "excluded")},
            score_bins=each,
        )
        for row, each in zip(rows, bins, strict=True)
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


def _scores(text: str) -> Floats:
    rows = from_json(f"[{text}]", cache_strings="keys")
    try:
        return _matrix(list(map(itemgetter(*LABELS), rows)))
    except KeyError:  # a version that does not know them all
        return _matrix([[row.get(label, np.nan) for label in LABELS] for row in rows])


def _fingerprint(items: _Items, golden: GoldenResults, populations: tuple[Population, ...]) -> str:
    """Digest what can change, in an order of its own: the database gives items of a group in any."""
    counted = [(each.window_at, each.stratum, each.version, each.route) for each in populations]
    digest = hashlib.sha256(repr((items.keys, items.counts.tolist(), counted)).encode())
    digest.update("\n".join(sorted(map(add, items.ids, items.labels))).encode())
    digest.update(golden.labels.tobytes() + golden.truth.tobytes())
    return digest.hexdigest()


def _instants(times: Sequence[datetime]) -> npt.NDArray[np.datetime64]:
    return np.array([each.replace(tzinfo=None) for each in times], dtype="datetime64[s]")


def _each(texts: Sequence[str], numbers: Callable[[str], tuple[float, ...]]) -> Floats:
    """Return ``numbers`` of every text (N, K); there are few different ones."""
    known = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    places = np.fromiter(map(known.__getitem__, texts), np.int64, len(texts))
    return _matrix(list(map(numbers, known)))[places]


def _numbers(text: str) -> tuple[float, ...]:
    labels = json.loads(text) or {}
    return tuple(float(labels.get(label, np.nan)) for label in LABELS)


def _members(text: str) -> tuple[float, ...]:
    names = json.loads(text)
    return tuple(float(label in names) for label in LABELS)


def _matrix(rows: Sequence[Sequence[float]]) -> Floats:
    return np.array(rows, dtype=np.float64).reshape(-1, len(LABELS))
