from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine

from moderation.db.log import FeedbackRecord, PredictionRecord, insert, record_version
from moderation.db.queries import (
    Failures,
    LabelFeedback,
    VersionUse,
    failures,
    feedback_summary,
    last_prediction_at,
    newest,
    traffic,
    versions,
)
from moderation.db.rollups import TIME_ERROR
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from tests.moderation.db.records import NOON, VERSION, failure, feedback, prediction, version

HOUR_S = 3_600
HOUR = timedelta(hours=1)


def store(engine: Engine, predictions: list[PredictionRecord], verdicts: list[FeedbackRecord] | None = None) -> None:
    with engine.begin() as connection:
        insert(connection, predictions, verdicts or [])


def test_traffic_counts_every_bucket_of_the_range_and_nothing_outside(engine: Engine) -> None:
    last_moment = NOON + HOUR - timedelta(microseconds=1)
    times = [NOON - timedelta(microseconds=1), NOON, last_moment, NOON + 2 * HOUR, NOON + 3 * HOUR]
    store(engine, [prediction(created_at=at) for at in times])
    found, total = traffic(engine, NOON, NOON + 3 * HOUR, HOUR_S)
    assert [(each.at, each.predictions) for each in found] == [(NOON, 2), (NOON + HOUR, 0), (NOON + 2 * HOUR, 1)]
    assert total.predictions == 3


def test_buckets_begin_at_the_epochs_multiples_and_hold_whole_periods(engine: Engine) -> None:
    store(engine, [prediction(created_at=NOON + timedelta(minutes=m)) for m in (10, 30, 70)])
    start, end = NOON + timedelta(minutes=20, seconds=30), NOON + timedelta(minutes=70, seconds=1)
    for bucket_s, expected in ((HOUR_S, [2, 1]), (30 * 60, [0, 1, 1]), (2 * HOUR_S, [3])):
        assert [each.predictions for each in traffic(engine, start, end, bucket_s)[0]] == expected


@pytest.mark.parametrize("bucket_s", [60, 900, HOUR_S, 8 * HOUR_S, 86_400, 4 * 86_400])
def test_every_length_of_bucket_counts_the_same(engine: Engine, bucket_s: int) -> None:
    store(engine, [prediction(created_at=NOON + timedelta(minutes=k)) for k in range(0, 600, 7)])
    found, total = traffic(engine, NOON - 2 * HOUR, NOON + 11 * HOUR, bucket_s)
    assert sum(each.predictions for each in found) == total.predictions == 86


def test_latency_percentiles_are_within_the_stated_error(engine: Engine) -> None:
    generator = np.random.default_rng(7)
    by_hour = {k: generator.lognormal(3, 1, size) for k, size in enumerate((1, 2, 3, 100, 101, 237))}
    by_hour[8] = np.array([5.0, 5.0, 5.0, 1.0])
    for k, values in by_hour.items():
        store(engine, [prediction(created_at=NOON + k * HOUR, latency_ms=float(value)) for value in values])
    found, total = traffic(engine, NOON, NOON + 10 * HOUR, HOUR_S)
    assert [k for k, bucket in enumerate(found) if bucket.latency] == list(by_hour)
    for latency, values in (
        *((found[k].latency, values) for k, values in by_hour.items()),
        (total.latency, np.concatenate(list(by_hour.values()))),
    ):
        assert latency is not None
        expected = np.percentile(values, [50, 95, 99], method="lower")
        np.testing.assert_allclose([latency.p50_ms, latency.p95_ms, latency.p99_ms], expected, rtol=TIME_ERROR)


def test_decisions_are_counted_per_bucket(engine: Engine) -> None:
    made = [("allow", 0), ("allow", 0), ("remove", 0), ("review", 2)]
    store(engine, [prediction(decision=decision, created_at=NOON + hour * HOUR) for decision, hour in made])
    assert [each.decisions for each in traffic(engine, NOON, NOON + 3 * HOUR, HOUR_S)[0]] == [
        {"allow": 2, "review": 0, "remove": 1},
        {"allow": 0, "review": 0, "remove": 0},
        {"allow": 0, "review": 1, "remove": 0},
    ]


def scored(score: float, of: str = VERSION, **fields: object) -> PredictionRecord:
    return prediction(scores=dict.fromkeys(LABELS, 0.0) | {"insult": score, "threat": 1.0}, version=of, **fields)


def with_thresholds(engine: Engine) -> None:
    """Version a…: 0.5, but threat is never predicted; version b…: 0.1 (as float32, which is a little above) for all."""
    never = {"review": None, "remove": None}
    low = float(np.float32(0.1))
    with engine.begin() as connection:
        record_version(connection, version(thresholds=version().thresholds | {"threat": never}))
        record_version(
            connection,
            version(version="b" * 64, thresholds={label: {"review": low, "remove": 0.9} for label in LABELS}),
        )


def test_a_class_is_predicted_from_its_versions_own_review_threshold_on(engine: Engine) -> None:
    with_thresholds(engine)
    low = float(np.float32(0.1))
    below = float(np.nextafter(np.float32(0.1), np.float32(0)))
    store(
        engine,
        [
            *(scored(0.5), scored(0.499)),
            *(scored(low, of="b" * 64), scored(below, of="b" * 64)),
            scored(1.0, of="c" * 64),  # nobody recorded its thresholds
        ],
    )
    zero = dict.fromkeys(LABELS, 0)
    found, _ = traffic(engine, NOON, NOON + 2 * HOUR, HOUR_S)
    assert [(each.classified, each.classes) for each in found] == [(4, zero | {"insult": 2, "threat": 2}), (0, zero)]


def test_classes_are_counted_by_the_thresholds_at_the_time_of_arrival(engine: Engine) -> None:
    with_thresholds(engine)
    store(engine, [scored(0.4)])
    with engine.begin() as connection:
        lower = {label: {"review": 0.3, "remove": 0.9} for label in LABELS}
        record_version(connection, version(thresholds=lower))
    store(engine, [scored(0.4)])
    assert traffic(engine, NOON, NOON + HOUR, HOUR_S)[1].classes["insult"] == 1


def test_classes_of_a_version_that_knows_fewer_labels_are_counted(engine: Engine) -> None:
    with engine.begin() as connection:
        record_version(connection, version(labels=["toxic"], thresholds={"toxic": {"review": 0.5, "remove": 0.9}}))
    store(engine, [prediction(scores={"toxic": 0.7})])
    total = traffic(engine, NOON, NOON + HOUR, HOUR_S)[1]
    assert (total.classified, total.classes) == (1, dict.fromkeys(LABELS, 0) | {"toxic": 1})


def test_feedback_is_summed_up_with_its_interval_and_corrections(engine: Engine) -> None:
    with_thresholds(engine)
    predicted, passed, unrecorded = scored(0.9), scored(0.1), scored(0.9, of="c" * 64)
    verdicts = [
        feedback(prediction_id=predicted.id, agree=False, labels={"insult": False, "toxic": True}),
        feedback(prediction_id=predicted.id, agree=True, labels={"insult": True}),
        feedback(prediction_id=passed.id, agree=False, labels={"insult": True, "threat": False}),
        feedback(prediction_id=unrecorded.id, agree=False, labels={"insult": False}),
        feedback(agree=True),  # its prediction has not arrived
        feedback(prediction_id=passed.id, created_at=NOON + HOUR, agree=False, labels={"insult": True}),
    ]
    store(engine, [predicted, passed, unrecorded], verdicts)
    found = feedback_summary(engine, NOON, NOON + HOUR)
    assert (found.received, found.agreed) == (5, 2)
    assert [label for label in found.labels if label.judged] == [
        LabelFeedback("toxic", judged=1, missed=1, false_alarms=0),
        LabelFeedback("threat", judged=1, missed=0, false_alarms=0),
        LabelFeedback("insult", judged=3, missed=1, false_alarms=1),
    ]


def test_an_empty_database_answers_every_query(engine: Engine) -> None:
    day = (NOON, NOON + 24 * HOUR)
    found, total = traffic(engine, *day, HOUR_S)
    assert len(found) == 24
    assert {(each.predictions, each.classified, each.latency) for each in (*found, total)} == {(0, 0, None)}
    assert last_prediction_at(engine) is None
    assert newest(engine, *day) == []
    assert versions(engine, *day, HOUR_S) == []
    summary = feedback_summary(engine, *day)
    assert (summary.received, summary.agreed) == (0, 0)


def test_the_newest_predictions_come_with_their_newest_feedback(engine: Engine) -> None:
    predictions = [prediction(created_at=NOON + timedelta(seconds=k), text=f"text {k}") for k in range(5)]
    verdicts = [
        feedback(prediction_id=predictions[4].id, created_at=NOON + k * HOUR, agree=bool(k), labels={"insult": True})
        for k in range(3)
    ]
    store(engine, predictions, verdicts)
    found = newest(engine, NOON, NOON + timedelta(seconds=5), limit=3)
    assert [entry.prediction for entry in found] == predictions[:1:-1]
    assert [entry.feedback for entry in found] == [verdicts[2], None, None]


def test_versions_in_service_come_with_what_is_known_of_them(engine: Engine) -> None:
    with engine.begin() as connection:
        record_version(connection, version())
        record_version(connection, version(version="d" * 64))  # has answered nothing
    store(engine, [scored(0.1, created_at=NOON + k * HOUR) for k in range(3)])
    store(engine, [scored(0.1, of="c" * 64, created_at=NOON + 5 * HOUR)])
    assert versions(engine, NOON + HOUR, NOON + 9 * HOUR, HOUR_S) == [
        VersionUse("c" * 64, 1, NOON + 5 * HOUR, NOON + 5 * HOUR, None),
        VersionUse(VERSION, 2, NOON + HOUR, NOON + 2 * HOUR, version()),
    ]


@pytest.mark.parametrize("query", [traffic, versions])
@pytest.mark.parametrize(
    ("start", "end", "bucket_s", "message"),
    [
        (NOON, NOON, 60, "expected an earlier and a later time"),
        (NOON.replace(tzinfo=None), NOON, 60, "with time zones"),
        (NOON, NOON + HOUR, 0, "bucket_s is 0; expected a multiple of 60"),
        (NOON, NOON + HOUR, 90, "bucket_s is 90"),
        (NOON, NOON + 34 * HOUR, 60, "2040 buckets of 60 s; expected at most 2000"),
    ],
)
def test_a_range_that_cannot_be_answered_is_refused(
    query: Callable[..., object], start: datetime, end: datetime, bucket_s: int, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        query(None, start, end, bucket_s)


@pytest.mark.parametrize("limit", [0, 501])
def test_a_limit_out_of_bounds_is_refused(limit: int) -> None:
    with pytest.raises(InvalidInputError, match=f"limit is {limit}; expected 1 to 500"):
        newest(None, NOON, NOON + HOUR, limit)  # type: ignore[arg-type]


def test_failures_are_added_up_per_bucket_and_status_however_often_they_are_sent(engine: Engine) -> None:
    at = NOON + timedelta(minutes=59, seconds=59)
    counted = [
        failure(),
        failure(number=4, route="connection"),
        failure(status=429, created_at=at),
        failure(created_at=NOON + HOUR),
        failure(created_at=NOON + 2 * HOUR),
    ]
    for _ in range(2):
        with engine.begin() as connection:
            insert(connection, failures=counted)
    found = failures(engine, NOON, NOON + 2 * HOUR, HOUR_S)
    assert found == [Failures(NOON, {503: 7, 429: 3}), Failures(NOON + HOUR, {503: 3})]


def test_times_in_another_zone_mean_the_same_range(engine: Engine) -> None:
    store(engine, [prediction()])
    elsewhere = NOON.astimezone(datetime.strptime("+0545", "%z").tzinfo)
    assert traffic(engine, elsewhere, elsewhere + HOUR, HOUR_S)[1].predictions == 1
    assert last_prediction_at(engine) == NOON
    assert newest(engine, elsewhere, elsewhere + HOUR)[0].prediction.created_at.tzinfo is UTC
