"""What the monitor asks of the database: read-only, always for a time range, with a bounded answer.

Ranges are ``[start, end)``. Buckets are aligned to the Unix epoch (days begin at midnight UTC), so the
first and last may be cut by the range. A query reads every row of its range: ranges of more than some
million rows need roll-ups, which are not here.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Integer,
    Row,
    Select,
    Text,
    and_,
    case,
    cast,
    column,
    extract,
    func,
    or_,
    select,
    values,
)
from sqlalchemy.orm import InstrumentedAttribute

from moderation.db.log import FeedbackRecord, PredictionRecord, VersionRecord, feedback_record, prediction_record
from moderation.db.models import SCORE_COLUMNS, Feedback, Prediction, Version
from moderation.errors import InvalidInputError
from moderation.policy import DECISIONS, Decision

MAX_BUCKETS = 2_000
MAX_NEWEST = 500
MAX_VERSIONS = 1_000
PERCENTS = (50, 95, 99)


@dataclass(frozen=True)
class Volume:
    """Predictions in the bucket that begins at ``at``."""

    at: datetime
    predictions: int


@dataclass(frozen=True)
class Latency:
    """Exact percentiles, in ms, interpolated as numpy and PostgreSQL's percentile_cont do."""

    at: datetime
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class DecisionCounts:
    """Predictions per decision."""

    at: datetime
    counts: dict[Decision, int]


@dataclass(frozen=True)
class ClassCounts:
    """Predictions per label whose score reaches the label's review threshold; ``predictions``: all looked at."""

    at: datetime
    predictions: int
    counts: dict[str, int]


@dataclass(frozen=True)
class LabelFeedback:
    """Corrections of one label: ``missed`` should have been predicted, ``false_alarms`` should not have been."""

    label: str
    judged: int
    missed: int
    false_alarms: int


@dataclass(frozen=True)
class FeedbackSummary:
    """Feedback received; ``share`` agrees, with its 95 % Wilson interval (all None without feedback).

    Callers choose what they judge, so this is no estimate of the model's accuracy.
    """

    received: int
    agreed: int
    share: float | None
    low: float | None
    high: float | None
    labels: list[LabelFeedback]


@dataclass(frozen=True)
class LoggedPrediction:
    """A prediction with the newest feedback on it, if any."""

    prediction: PredictionRecord
    feedback: FeedbackRecord | None


@dataclass(frozen=True)
class VersionUse:
    """A version that answered in the range; ``record`` is None if the server has not recorded it yet."""

    version: str
    predictions: int
    first_at: datetime
    last_at: datetime
    record: VersionRecord | None


def volume(engine: Engine, start: datetime, end: datetime, bucket_s: int) -> list[Volume]:
    """Return the number of predictions per bucket, empty buckets included."""
    buckets = _buckets(start, end, bucket_s)
    query = _per_bucket(engine, bucket_s, func.count()).where(*_within(Prediction.created_at, start, end))
    with engine.connect() as connection:
        return [Volume(at, count) for at, (count,) in _filled(buckets, 1, connection.execute(query))]


def latency(engine: Engine, start: datetime, end: datetime, bucket_s: int) -> list[Latency]:
    """Return the percentiles of latency per bucket; empty buckets have none and are left out."""
    _buckets(start, end, bucket_s)
    within = _within(Prediction.created_at, start, end)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            return _ranked_latency(connection, bucket_s, within)
        # One pass; ranking by window functions, as for SQLite, took 2.7 times as long on 300,000 rows.
        wanted = func.percentile_cont([percent / 100 for percent in PERCENTS])
        query = _per_bucket(engine, bucket_s, wanted.within_group(Prediction.latency_ms)).where(*within)
        return [Latency(_instant(bucket), *percentiles) for bucket, percentiles in connection.execute(query)]


def decisions(engine: Engine, start: datetime, end: datetime, bucket_s: int) -> list[DecisionCounts]:
    """Return the number of predictions per bucket and decision, empty buckets included."""
    buckets = _buckets(start, end, bucket_s)
    counts = [func.count(case((Prediction.decision == decision, 1))) for decision in DECISIONS]
    query = _per_bucket(engine, bucket_s, *counts).where(*_within(Prediction.created_at, start, end))
    with engine.connect() as connection:
        rows = _filled(buckets, len(DECISIONS), connection.execute(query))
    return [DecisionCounts(at, dict(zip(DECISIONS, counts, strict=True))) for at, counts in rows]


def classes(engine: Engine, start: datetime, end: datetime, bucket_s: int) -> list[ClassCounts]:
    """Return the number of predicted classes per bucket and label, empty buckets included.

    Predictions of a version that is not recorded are not looked at: what they predicted is unknown.
    """
    buckets = _buckets(start, end, bucket_s)
    with engine.connect() as connection:
        thresholds = _thresholds(connection)
        predicted = [func.count(case((_is_predicted(label, thresholds), 1))) for label in SCORE_COLUMNS]
        query = (
            _per_bucket(engine, bucket_s, func.count(), *predicted)
            .join(thresholds, thresholds.c.version == Prediction.version)
            .where(*_within(Prediction.created_at, start, end))
        )
        rows = _filled(buckets, 1 + len(SCORE_COLUMNS), connection.execute(query))
    return [ClassCounts(at, total, dict(zip(SCORE_COLUMNS, counts, strict=True))) for at, (total, *counts) in rows]


def feedback_summary(engine: Engine, start: datetime, end: datetime) -> FeedbackSummary:
    """Return how much feedback arrived, how much of it agrees, and which labels it corrects.

    Corrections are counted where prediction and version are in the database.
    """
    _check_range(start, end)
    within = _within(Feedback.created_at, start, end)
    totals = select(func.count(), func.count(case((Feedback.agree, 1)))).where(*within)
    with engine.connect() as connection:
        received, agreed = connection.execute(totals).one()
        labels = _label_feedback(connection, within)
    if not received:
        return FeedbackSummary(0, 0, None, None, None, labels)
    return FeedbackSummary(received, agreed, agreed / received, *wilson_interval(agreed, received), labels)


def newest(engine: Engine, start: datetime, end: datetime, limit: int = 50) -> list[LoggedPrediction]:
    """Return the ``limit`` newest predictions (at most 500), newest first, each with its newest feedback."""
    _check_range(start, end)
    if not 1 <= limit <= MAX_NEWEST:
        raise InvalidInputError(f"limit is {limit}; expected 1 to {MAX_NEWEST}")
    latest_first = (Prediction.created_at.desc(), Prediction.id.desc())
    within = _within(Prediction.created_at, start, end)
    query = select(Prediction.__table__).where(*within).order_by(*latest_first).limit(limit)
    with engine.connect() as connection:
        predictions = [prediction_record(row) for row in connection.execute(query).mappings()]
        newest_first = func.row_number().over(
            partition_by=Feedback.prediction_id, order_by=(Feedback.created_at.desc(), Feedback.id.desc())
        )
        ranked = (
            select(Feedback.__table__, newest_first.label("place"))
            .where(Feedback.prediction_id.in_([prediction.id for prediction in predictions]))
            .subquery()
        )
        rows = connection.execute(select(ranked).where(ranked.c.place == 1)).mappings()
        feedback = {record.prediction_id: record for record in map(feedback_record, rows)}
    return [LoggedPrediction(prediction, feedback.get(prediction.id)) for prediction in predictions]


def versions(engine: Engine, start: datetime, end: datetime) -> list[VersionUse]:
    """Return the versions that answered in the range, the one that answered last first."""
    _check_range(start, end)
    last_at = func.max(Prediction.created_at)
    query = (
        select(Prediction.version, func.count(), func.min(Prediction.created_at), last_at)
        .where(*_within(Prediction.created_at, start, end))
        .group_by(Prediction.version)
        .order_by(last_at.desc())
        .limit(MAX_VERSIONS)
    )
    with engine.connect() as connection:
        uses = connection.execute(query).all()
        known = select(Version.__table__).where(Version.version.in_([use[0] for use in uses]))
        records = {row["version"]: VersionRecord(**row) for row in connection.execute(known).mappings()}
    return [VersionUse(*use, records.get(use[0])) for use in uses]


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval for a proportion (1927; method 3 in Newcombe, Statist. Med. 17, 1998)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, z2 = successes / trials, z * z / trials
    center = (share + z2 / 2) / (1 + z2)
    half = z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials)) / (1 + z2)
    return max(0.0, center - half), min(1.0, center + half)


def _buckets(start: datetime, end: datetime, bucket_s: int) -> range:
    """Return the starts of all buckets, in seconds since the epoch."""
    _check_range(start, end)
    if bucket_s < 1:
        raise InvalidInputError(f"bucket_s is {bucket_s}; expected at least 1")
    buckets = range(int(start.timestamp()) // bucket_s * bucket_s, math.ceil(end.timestamp()), bucket_s)
    if len(buckets) > MAX_BUCKETS:
        raise InvalidInputError(f"range has {len(buckets)} buckets of {bucket_s} s; expected at most {MAX_BUCKETS}")
    return buckets


def _check_range(start: datetime, end: datetime) -> None:
    if start.utcoffset() is None or end.utcoffset() is None or start >= end:
        raise InvalidInputError(f"range is {start} to {end}; expected an earlier and a later time, with time zones")


def _within(
    instant: InstrumentedAttribute[datetime], start: datetime, end: datetime
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return instant >= start, instant < end


def _instant(bucket: int) -> datetime:
    return datetime.fromtimestamp(bucket, UTC)


def _bucket(dialect: str, bucket_s: int) -> ColumnElement[int]:
    """Return the start of a prediction's bucket, in seconds since the epoch."""
    if dialect == "sqlite":
        # Whole seconds only: strftime rounds a fraction of .9995 up into the next second.
        seconds = cast(func.strftime("%s", func.substr(Prediction.created_at, 1, 19)), Integer)
    else:
        seconds = cast(func.floor(extract("epoch", Prediction.created_at)), BigInteger)
    return seconds // bucket_s * bucket_s


def _per_bucket(engine: Engine, bucket_s: int, *aggregates: ColumnElement[Any]) -> Select[Any]:
    bucket = _bucket(engine.dialect.name, bucket_s).label("bucket")
    return select(bucket, *aggregates).select_from(Prediction).group_by("bucket").order_by("bucket")


def _filled(buckets: range, width: int, rows: Iterable[Row[Any]]) -> list[tuple[datetime, list[int]]]:
    """Return the counts of every bucket, zeros where there was no row."""
    found: dict[int, list[int]] = {row[0]: list(row[1:]) for row in rows}
    return [(_instant(bucket), found.get(bucket, [0] * width)) for bucket in buckets]


def _ranked_latency(connection: Connection, bucket_s: int, within: tuple[ColumnElement[bool], ...]) -> list[Latency]:
    """Percentiles for SQLite, which has no function for them: fetch the two values around each rank."""
    bucket = _bucket("sqlite", bucket_s)
    ranked = select(
        bucket.label("bucket"),
        Prediction.latency_ms,
        (func.row_number().over(partition_by=bucket, order_by=Prediction.latency_ms) - 1).label("place"),
        (func.count().over(partition_by=bucket) - 1).label("last"),
    ).where(*within)
    rows = ranked.subquery()
    below = [rows.c.last * percent // 100 for percent in PERCENTS]
    above = [(rows.c.last * percent + 99) // 100 for percent in PERCENTS]
    query = select(rows).where(or_(*(rows.c.place == place for place in below + above)))
    found: dict[int, dict[int, float]] = {}
    lasts: dict[int, int] = {}
    for start, latency_ms, place, last in connection.execute(query.order_by(rows.c.bucket)):
        found.setdefault(start, {})[place] = latency_ms
        lasts[start] = last
    return [Latency(_instant(start), *_interpolate(found[start], lasts[start])) for start in found]


def _interpolate(by_place: dict[int, float], last: int) -> list[float]:
    percentiles = []
    for percent in PERCENTS:
        place, hundredths = divmod(last * percent, 100)
        below, above = by_place[place], by_place[place + (hundredths > 0)]
        percentiles.append(below + (above - below) * hundredths / 100)
    return percentiles


def _thresholds(connection: Connection) -> CTE:
    """Return the review threshold per version and label; infinite where a label is never predicted."""
    query = select(Version.version, Version.thresholds).order_by(Version.first_seen_at.desc()).limit(MAX_VERSIONS)
    rows = [
        (version, *(_review_threshold(thresholds.get(label)) for label in SCORE_COLUMNS))
        for version, thresholds in connection.execute(query)
    ]
    never = ("", *(math.inf for _ in SCORE_COLUMNS))  # VALUES needs a row, and no version has this name
    columns = [column("version", Text), *(column(label, Double) for label in SCORE_COLUMNS)]
    return values(*columns, name="thresholds").data(rows or [never]).cte()


def _review_threshold(rule: dict[str, float | None] | None) -> float:
    review = None if rule is None else rule["review"]
    return math.inf if review is None else review


def _is_predicted(label: str, thresholds: CTE) -> ColumnElement[bool]:
    return SCORE_COLUMNS[label] >= thresholds.c[label]


def _label_feedback(connection: Connection, within: tuple[ColumnElement[bool], ...]) -> list[LabelFeedback]:
    thresholds = _thresholds(connection)
    counts: list[ColumnElement[int]] = []
    for label in SCORE_COLUMNS:
        right = Feedback.labels[label].as_boolean()
        predicted = _is_predicted(label, thresholds)
        counts += [
            func.count(case((right.is_not(None), 1))),
            func.count(case((and_(right.is_(True), ~predicted), 1))),
            func.count(case((and_(right.is_(False), predicted), 1))),
        ]
    query = (
        select(*counts)
        .select_from(Feedback)
        .join(Prediction, Prediction.id == Feedback.prediction_id)
        .join(thresholds, thresholds.c.version == Prediction.version)
        .where(*within, Feedback.labels.is_not(None))
    )
    row = connection.execute(query).one()
    return [LabelFeedback(label, *row[3 * k : 3 * k + 3]) for k, label in enumerate(SCORE_COLUMNS)]
