"""What the monitor asks of the database: read-only, always for a time range, with a bounded answer.

Ranges are ``[start, end)``. Buckets are aligned to the Unix epoch (days begin at midnight UTC). Counts over time come
from the roll-ups whose period fits the bucket, so a range is widened to whole periods: minutes, hours or days.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Engine, Table, case, extract, func, null, select
from sqlalchemy.orm import InstrumentedAttribute

from moderation.db.ids import made_near
from moderation.db.log import FeedbackRecord, PredictionRecord, VersionRecord, feedback_record, prediction_record
from moderation.db.models import SCORE_COLUMNS, Failure, Feedback, Prediction, Rollup, Version
from moderation.db.rollups import DAY_S, MINUTE_S, PERIODS_S, Thresholds, percentile, read_thresholds
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.policy import DECISIONS, Decision

MAX_BUCKETS = 2_000
MAX_NEWEST = 500
MAX_VERSIONS = 1_000
MAX_DAYS = 730
MAX_CORRECTIONS = 2_000
"""The newest corrections that a summary looks into: each one needs its prediction's row."""
_ROLLUPS = cast(Table, Rollup.__table__)
PARTS = ("queue", "tokenize", "inference")
"""What a prediction spends its time on, in this order."""
_TIMES = ("latency", *PARTS)
TRAITS = ("tokens", "language", "unknown", "density")
"""What roll-ups hold of texts: see `moderation.db.rollups`."""
_COUNTED = (
    "predictions",
    "cached",
    "classified",
    *(f"decided_{each}" for each in DECISIONS),
    *(f"predicted_{each}" for each in LABELS),
)


@dataclass(frozen=True)
class Latency:
    """Percentiles in ms, each within `moderation.db.rollups.TIME_ERROR` of a latency that was measured."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Traffic:
    """What was answered in the bucket that begins at ``at``; ``latency`` is None if nothing was.

    ``parts`` of the latency (`PARTS`) are None where they were not measured, as of what came from the cache;
    percentiles of parts do not add up to those of the whole. ``cached`` counts what was answered from the cache.
    ``classes`` counts, per label, the predictions whose score reached the review threshold that the version had when
    they arrived in the database; ``classified`` are those for which it was known.
    """

    at: datetime
    predictions: int
    decisions: dict[Decision, int]
    classified: int
    classes: dict[str, int]
    latency: Latency | None
    parts: dict[str, Latency | None]
    cached: int


@dataclass(frozen=True)
class Failures:
    """Requests that were refused or failed in the bucket that begins at ``at``, by status, 400 or above.

    Connections refused before there was a request are among them.
    """

    at: datetime
    statuses: dict[int, int]


@dataclass(frozen=True)
class LabelFeedback:
    """Corrections of one label: ``missed`` should have been predicted, ``false_alarms`` should not have been."""

    label: str
    judged: int
    missed: int
    false_alarms: int


@dataclass(frozen=True)
class FeedbackSummary:
    """Feedback received, and how much of it agrees.

    Callers choose what they judge, so this is no estimate of the model's accuracy.
    """

    received: int
    agreed: int
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


@dataclass(frozen=True)
class Day:
    """One version's full day: ``number`` is its `date.toordinal`; ``classes`` counts predictions of each class, and
    under "" all those that were classified; ``scores`` of each label and ``traits`` (`TRAITS`) are histograms, bin to
    count.
    """  # noqa: D205 - one sentence

    number: int
    classes: Counter[str]
    scores: dict[str, Counter[str]]
    traits: dict[str, Counter[str]]


def traffic(engine: Engine, start: datetime, end: datetime, bucket_s: int) -> tuple[list[Traffic], Traffic]:
    """Return what was answered per bucket, empty buckets included, and in all of them together.

    ``bucket_s`` is a whole number of minutes.
    """
    buckets = _buckets(start, end, bucket_s)
    columns = (_ROLLUPS.c[name] for name in ("started_at", *(f"{each}_bins" for each in _TIMES), *_COUNTED))
    query = select(*columns).where(*_periods(start, end, _period(bucket_s)))
    counts: dict[int, Counter[str]] = {bucket: Counter() for bucket in buckets}
    times: dict[int, list[Counter[str]]] = {bucket: [Counter() for _ in _TIMES] for bucket in buckets}
    with engine.connect() as connection:
        for started_at, *values in connection.execute(query):
            bucket = int(started_at.timestamp()) // bucket_s * bucket_s
            counts[bucket].update(dict(zip(_COUNTED, values[len(_TIMES) :], strict=True)))
            for found, bins in zip(times[bucket], values, strict=False):
                found.update(bins)
    in_all = [sum(column, Counter[str]()) for column in zip(*times.values(), strict=True)]
    total = _traffic(buckets[0], sum(counts.values(), Counter()), in_all)
    return [_traffic(bucket, counts[bucket], times[bucket]) for bucket in buckets], total


def failures(engine: Engine, start: datetime, end: datetime, bucket_s: int) -> list[Failures]:
    """Return what was refused or failed per bucket of `traffic`, buckets without any left out."""
    first = datetime.fromtimestamp(_buckets(start, end, bucket_s)[0], UTC)
    second = extract("epoch", Failure.created_at)
    bucket = (second - second % bucket_s).label("bucket")
    query = select(bucket, Failure.status, func.sum(Failure.number)).where(*_within(Failure.created_at, first, end))
    found: dict[int, Counter[int]] = defaultdict(Counter)
    with engine.connect() as connection:
        for at, status, number in connection.execute(query.group_by(bucket, Failure.status)):
            found[int(at)][status] += int(number)
    return [Failures(datetime.fromtimestamp(at, UTC), dict(found[at])) for at in sorted(found)]


def days_of(engine: Engine, version: str, end: datetime) -> list[Day]:
    """Return the full days (UTC) before ``end`` on which a version answered, oldest first; the newest `MAX_DAYS`.

    Only the day roll-ups are read.
    """
    columns = ("started_at", "classified", *(f"predicted_{label}" for label in LABELS))
    bins = [*(f"score_{label}_bins" for label in LABELS), *(f"{trait}_bins" for trait in TRAITS)]
    today = datetime.fromtimestamp(int(end.timestamp()) // DAY_S * DAY_S, UTC)
    within = (*_periods(today - timedelta(days=MAX_DAYS), today, DAY_S), Rollup.version == version)
    query = select(*(_ROLLUPS.c[name] for name in (*columns, *bins))).where(*within).order_by(Rollup.started_at)
    found: dict[int, Day] = {}
    with engine.connect() as connection:
        for row in connection.execute(query).mappings():
            number = row["started_at"].toordinal()
            day = found.setdefault(number, Day(number, Counter(), defaultdict(Counter), defaultdict(Counter)))
            day.classes.update({label: row[f"predicted_{label}"] for label in LABELS} | {"": row["classified"]})
            for label in LABELS:
                day.scores[label].update(row[f"score_{label}_bins"])
            for trait in TRAITS:
                day.traits[trait].update(row[f"{trait}_bins"] or {})
    return list(found.values())


def last_prediction_at(engine: Engine) -> datetime | None:
    """Return when the newest prediction of all time was made; None if there is none."""
    with engine.connect() as connection:
        found: datetime | None = connection.scalar(select(func.max(Rollup.last_at)).where(Rollup.period_s == DAY_S))
        return found


def feedback_summary(engine: Engine, start: datetime, end: datetime) -> FeedbackSummary:
    """Return how much feedback arrived, how much of it agrees, and which labels it corrects.

    Corrections are counted among the newest `MAX_CORRECTIONS`, where prediction and version are in the database.
    """
    _check_range(start, end)
    within = (*_within(Feedback.created_at, start, end), Feedback.origin.is_(None))
    totals = select(func.count(), func.count(case((Feedback.agree, 1)))).where(*within)
    with engine.connect() as connection:
        received, agreed = connection.execute(totals).one()
        labels = _label_feedback(connection, within)
    return FeedbackSummary(received, agreed, labels)


def newest(
    engine: Engine, start: datetime, end: datetime, limit: int = 50, texts: bool = True
) -> list[LoggedPrediction]:
    """Return the ``limit`` newest predictions (at most 500), newest first, each with its newest feedback.

    Without ``texts`` those are not read.
    """
    _check_range(start, end)
    if not 1 <= limit <= MAX_NEWEST:
        raise InvalidInputError(f"limit is {limit}; expected 1 to {MAX_NEWEST}")
    latest_first = (Prediction.created_at.desc(), Prediction.id.desc())
    within = _within(Prediction.created_at, start, end)
    columns = (each if texts or each.name != "text" else null().label("text") for each in Prediction.__table__.c)
    query = select(*columns).where(*within).order_by(*latest_first).limit(limit)
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


def versions(engine: Engine, start: datetime, end: datetime, bucket_s: int) -> list[VersionUse]:
    """Return the versions that answered in the range of `traffic`, the one that answered last first."""
    _buckets(start, end, bucket_s)
    last_at = func.max(Rollup.last_at)
    query = (
        select(Rollup.version, func.sum(Rollup.predictions), func.min(Rollup.first_at), last_at)
        .where(*_periods(start, end, _period(bucket_s)))
        .group_by(Rollup.version)
        .order_by(last_at.desc())
        .limit(MAX_VERSIONS)
    )
    with engine.connect() as connection:
        uses = connection.execute(query).all()
        known = select(Version.__table__).where(Version.version.in_([use[0] for use in uses]))
        records = {row["version"]: VersionRecord(**row) for row in connection.execute(known).mappings()}
    return [VersionUse(use[0], int(use[1]), *use[2:], records.get(use[0])) for use in uses]


def _traffic(bucket: int, counts: Counter[str], times: Sequence[Counter[str]]) -> Traffic:
    latency, *parts = (
        Latency(*(percentile(bins, percent) for percent in (50, 95, 99))) if bins else None for bins in times
    )
    return Traffic(
        at=datetime.fromtimestamp(bucket, UTC),
        predictions=counts["predictions"],
        decisions={decision: counts[f"decided_{decision}"] for decision in DECISIONS},
        classified=counts["classified"],
        classes={label: counts[f"predicted_{label}"] for label in LABELS},
        latency=latency,
        parts=dict(zip(PARTS, parts, strict=True)),
        cached=counts["cached"],
    )


def _buckets(start: datetime, end: datetime, bucket_s: int) -> range:
    """Return the starts of all buckets, in seconds since the epoch."""
    _check_range(start, end)
    if bucket_s < MINUTE_S or bucket_s % MINUTE_S:
        raise InvalidInputError(f"bucket_s is {bucket_s}; expected a multiple of {MINUTE_S}")
    buckets = range(int(start.timestamp()) // bucket_s * bucket_s, math.ceil(end.timestamp()), bucket_s)
    if len(buckets) > MAX_BUCKETS:
        raise InvalidInputError(f"range has {len(buckets)} buckets of {bucket_s} s; expected at most {MAX_BUCKETS}")
    return buckets


def _period(bucket_s: int) -> int:
    """Return the longest period that buckets are made of."""
    return max(period_s for period_s in PERIODS_S if bucket_s % period_s == 0)


def _periods(start: datetime, end: datetime, period_s: int) -> list[ColumnElement[bool]]:
    first = datetime.fromtimestamp(int(start.timestamp()) // period_s * period_s, UTC)
    return [Rollup.period_s == period_s, *_within(Rollup.started_at, first, end)]


def _check_range(start: datetime, end: datetime) -> None:
    if start.utcoffset() is None or end.utcoffset() is None or start >= end:
        raise InvalidInputError(f"range is {start} to {end}; expected an earlier and a later time, with time zones")


def _within(
    instant: InstrumentedAttribute[datetime], start: datetime, end: datetime
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return instant >= start, instant < end


def _label_feedback(connection: Connection, within: Sequence[ColumnElement[bool]]) -> list[LabelFeedback]:
    query = (
        select(Feedback.prediction_id, Feedback.labels)
        .where(*within, Feedback.labels.is_not(None))
        .order_by(Feedback.created_at.desc())
        .limit(MAX_CORRECTIONS)
    )
    corrections = connection.execute(query).all()
    ids = sorted({each.prediction_id for each in corrections})
    same = (Prediction.id.in_(ids), *made_near(Prediction.created_at, ids))
    rows = connection.execute(select(Prediction.id, Prediction.version, *SCORE_COLUMNS.values()).where(*same)).all()
    predicted = _predicted(rows, read_thresholds(connection, {row.version for row in rows}))
    judged, missed, false_alarms = Counter[str](), Counter[str](), Counter[str]()
    for each in corrections:
        if each.prediction_id in predicted:
            right = {label for label, fits in each.labels.items() if fits}
            judged.update(each.labels.keys())
            missed.update(right - predicted[each.prediction_id])
            false_alarms.update((each.labels.keys() - right) & predicted[each.prediction_id])
    return [LabelFeedback(label, judged[label], missed[label], false_alarms[label]) for label in LABELS]


def _predicted(rows: Iterable[Any], thresholds: Thresholds) -> dict[str, set[str]]:
    """Return the classes of each prediction, by its id, as far as its version's thresholds are known."""
    return {
        row.id: {
            label
            for label, column in SCORE_COLUMNS.items()
            if (score := getattr(row, column.key)) is not None and score >= thresholds[row.version].get(label, math.inf)
        }
        for row in rows
        if row.version in thresholds
    }
