"""Corrections leave the database: which ones, in what order, and what of them."""

from datetime import timedelta

from sqlalchemy import Engine

from moderation.db.database import migrate
from moderation.db.export import CHUNK_ROWS, Judged, corrections
from moderation.db.log import insert
from tests.moderation.db.records import NOON, VERSION, feedback, prediction

HOUR = timedelta(hours=1)


def exported(engine: Engine) -> list[Judged]:
    return list(corrections(engine, NOON, NOON + 2 * HOUR))


def test_the_newest_feedback_with_labels_counts(engine: Engine) -> None:
    migrate(engine)
    judged, agreed = prediction(text="judged twice"), prediction()
    first, second = {"toxic": True, "insult": True}, {"toxic": False}
    with engine.begin() as connection:
        insert(
            connection,
            [judged, agreed],
            [
                feedback(prediction_id=judged.id, agree=False, labels=first),
                feedback(prediction_id=judged.id, agree=False, labels=second, created_at=NOON + HOUR),
                feedback(prediction_id=judged.id, agree=True, created_at=NOON + 1.5 * HOUR),
                feedback(prediction_id=agreed.id, agree=True),
            ],
        )
    assert exported(engine) == [Judged(judged.id, NOON + HOUR, VERSION, second, "judged twice")]


def test_only_the_range_is_read_and_a_text_that_was_not_kept_is_none(engine: Engine) -> None:
    migrate(engine)
    times = [NOON - HOUR, NOON, NOON + HOUR, NOON + 2 * HOUR]
    predictions = [prediction(text=None) for _ in times]
    given = [
        feedback(prediction_id=each.id, labels={"threat": True}, created_at=at)
        for each, at in zip(predictions, times, strict=True)
    ]
    unknown = feedback(labels={"threat": True})  # its prediction has not arrived
    with engine.begin() as connection:
        insert(connection, predictions, [*given, unknown])
    found = exported(engine)
    assert [(each.judged_at, each.text) for each in found] == [(NOON, None), (NOON + HOUR, None)]


def test_more_than_one_chunk_leaves_in_order(engine: Engine) -> None:
    migrate(engine)
    predictions = [prediction() for _ in range(CHUNK_ROWS + 5)]
    given = [
        feedback(prediction_id=each.id, labels={"toxic": True}, created_at=NOON + timedelta(seconds=place))
        for place, each in enumerate(predictions)
    ]
    with engine.begin() as connection:
        insert(connection, predictions, given[::-1])
    assert [each.prediction_id for each in exported(engine)] == [each.id for each in predictions]
