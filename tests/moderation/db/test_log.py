import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text

from moderation.db.log import (
    FailureRecord,
    FeedbackRecord,
    PredictionRecord,
    VersionRecord,
    find_scores,
    insert,
    record_version,
)
from moderation.db.models import Feedback, Prediction, Version
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from tests.moderation.db.records import NOON, failure, feedback, prediction, version

TEXTS = st.text(st.sampled_from("\x00\ud800\udfff'\"\\\n\u2028👩🏽a") | st.characters())


@given(
    scores=st.dictionaries(st.sampled_from(LABELS), st.floats(0, 1)),
    text=st.none() | TEXTS,
    client=TEXTS,
    created_at=st.datetimes(timezones=st.just(NOON.tzinfo)),
)
def test_a_prediction_reads_back_from_json(**fields: object) -> None:
    record = prediction(**fields, reasons=["toxic"], decision="remove")
    line = record.to_json()
    assert line.isascii()
    assert "\n" not in line
    assert PredictionRecord.from_json(line) == record


@given(labels=st.none() | st.dictionaries(st.sampled_from(LABELS), st.booleans()), agree=st.booleans(), client=TEXTS)
def test_feedback_reads_back_from_json(**fields: object) -> None:
    record = feedback(**fields)
    assert FeedbackRecord.from_json(record.to_json()) == record


def test_a_failure_reads_back_from_json() -> None:
    record = failure(route="connection", status=431, number=10**9)
    assert FailureRecord.from_json(record.to_json()) == record


def test_a_version_reads_back_from_json() -> None:
    record = version(thresholds={"toxic": {"review": 0.1, "remove": None}})
    assert VersionRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("line", ["", "{", "[]", "1", "{}", '{"created_at": 1}', '{"created_at": "soon"}'])
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^not a PredictionRecord: "):
        PredictionRecord.from_json(line)


def test_a_record_that_lacks_a_field_is_refused_without_its_text() -> None:
    fields = json.loads(prediction(text="a secret").to_json())
    del fields["version"]
    with pytest.raises(InvalidInputError) as caught:
        PredictionRecord.from_json(json.dumps(fields))
    assert "secret" not in str(caught.value)


def test_a_record_with_null_where_there_must_be_a_value_is_refused_without_its_text() -> None:
    fields = json.loads(prediction(text="a secret").to_json()) | {"route": None}
    with pytest.raises(InvalidInputError, match=r"^not a PredictionRecord: route is null$"):
        PredictionRecord.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": "p1"}, "id is 'p1'; expected a UUID"),
        ({"id": "01934F6E-9D2A-7C51-9F5E-2B1D3C4A5E6F"}, "lower-case"),
        ({"created_at": NOON.replace(tzinfo=None)}, "expected a time in UTC"),
        ({"created_at": datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=1)))}, "expected a time in UTC"),
        ({"scores": {"rude": 0.5}}, "scores has labels rude; known are toxic, "),
        ({"scores": {"toxic": float("nan")}}, "must be finite"),
        ({"latency_ms": float("inf")}, "must be finite"),
        ({"decision": "ban"}, "decision is 'ban'; expected one of allow, review, remove"),
    ],
)
def test_a_record_that_the_database_would_refuse_cannot_be_made(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        prediction(**fields)


def test_feedback_on_what_is_no_prediction_cannot_be_made() -> None:
    with pytest.raises(InvalidInputError, match="prediction_id is 'x'"):
        feedback(prediction_id="x")
    with pytest.raises(InvalidInputError, match="labels has labels rude"):
        feedback(labels={"rude": True})


def test_inserting_again_inserts_nothing(engine: Engine) -> None:
    predictions = [prediction() for _ in range(2_500)]  # more than one statement holds
    verdicts = [feedback(prediction_id=predictions[0].id) for _ in range(3)]
    with engine.begin() as connection:
        assert insert(connection, predictions[:2_000], verdicts[:2]) == 2_002
    with engine.begin() as connection:
        assert insert(connection, predictions, verdicts) == 501
        assert insert(connection, predictions, verdicts) == 0
        assert insert(connection, [predictions[0]] * 3) == 0
        assert insert(connection) == 0
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Prediction)) == 2_500
        assert connection.scalar(select(func.count()).select_from(Feedback)) == 3


def test_what_no_database_can_hold_of_an_origin_is_replaced(engine: Engine) -> None:
    origin = {"client_token": "a\0b", "community_id": "\ud83d", "suggested": {"TOXICITY": 1.0}, "more": ["\0", None]}
    with engine.begin() as connection:
        assert insert(connection, [], [feedback(agree=False, origin=origin)]) == 1
    with engine.connect() as connection:
        assert connection.scalar(select(Feedback.origin)) == {
            "client_token": "a\ufffdb",
            "community_id": "\ufffd",
            "suggested": {"TOXICITY": 1.0},
            "more": ["\ufffd", None],
        }


def test_feedback_that_is_no_suggestion_is_a_line_that_earlier_releases_read() -> None:
    assert "origin" not in json.loads(feedback().to_json())
    suggested = feedback(origin={"suggested": {}})
    assert FeedbackRecord.from_json(suggested.to_json()) == suggested


def test_an_insert_that_is_not_committed_leaves_nothing(engine: Engine) -> None:
    record = prediction()
    with engine.connect() as connection:
        insert(connection, [record])
        connection.rollback()
    with engine.connect() as connection:
        assert not find_scores(connection, record.id)


def test_writers_with_the_same_records_insert_each_once(engine: Engine) -> None:
    predictions = [prediction(created_at=NOON + timedelta(seconds=k)) for k in range(400)]

    def write(worker: int) -> int:
        inserted = 0
        own_order = predictions if worker % 2 else predictions[::-1]
        for first in range(0, 400, 100):
            with engine.begin() as connection:
                inserted += insert(connection, own_order[first : first + 150])
        return inserted

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(4))) == 400
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Prediction)) == 400


def test_a_prediction_is_found_by_its_id_alone(engine: Engine) -> None:
    record = prediction()
    with engine.begin() as connection:
        insert(connection, [record])
        assert find_scores(connection, record.id)
        assert find_scores(connection, record.id.upper())
        assert not find_scores(connection, prediction().id)
        for no_id in ("", "p1", "' OR 1=1", "\x00", "\ud800", "é" * 36):
            assert not find_scores(connection, no_id)


def test_feedback_may_arrive_before_its_prediction(engine: Engine) -> None:
    with engine.begin() as connection:
        assert insert(connection, feedback=[feedback()]) == 1


def test_a_version_seen_again_keeps_when_it_was_first_seen(engine: Engine) -> None:
    thresholds = {"toxic": {"review": 0.3, "remove": None}}
    with engine.begin() as connection:
        record_version(connection, version())
        record_version(connection, version(first_seen_at=NOON + timedelta(days=1), name="x", thresholds=thresholds))
        found = connection.execute(select(Version.__table__)).mappings().one()
    assert VersionRecord(**found) == version(name="x", thresholds=thresholds)


def test_servers_that_start_at_once_record_one_version(engine: Engine) -> None:
    def record(_: int) -> None:
        with engine.begin() as connection:
            record_version(connection, version())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(record, range(8)))
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Version)) == 1


def test_an_error_of_the_database_does_not_repeat_the_comment(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE predictions"))
    with engine.connect() as connection, pytest.raises(Exception, match="predictions") as caught:
        insert(connection, [prediction(text="a secret")])
    assert "secret" not in str(caught.value)
