from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from moderation.db.erasure import Erased, erase, prune
from moderation.db.log import PredictionRecord, find_scores, insert
from moderation.db.models import Erasure, Feedback, Prediction, Rollup
from serve.ids import uuid7
from tests.moderation.db.records import feedback, prediction


def made(**fields: object) -> PredictionRecord:
    return prediction(id=uuid7(), created_at=datetime.now(UTC), **fields)


def store(engine: Engine, *records: PredictionRecord, **others: Any) -> None:
    with engine.begin() as connection:
        insert(connection, records, **others)


def kept(engine: Engine) -> dict[str, tuple[str | None, str | None, str | None]]:
    query = select(Prediction.id, Prediction.text, Prediction.text_hash, Prediction.author)
    with engine.connect() as connection:
        return {id_: (text, text_hash, author) for id_, text, text_hash, author in connection.execute(query)}


NOTHING = (None, None, None)


def test_erasing_by_id_takes_text_and_feedback_and_leaves_scores_and_others(engine: Engine) -> None:
    erased, other = made(author="me", text="mine"), made(author="me", text="mine too")
    store(engine, erased, other, feedback=[feedback(prediction_id=each.id) for each in (erased, other)])
    assert erase(engine, ids=[erased.id]) == Erased(predictions=1, feedback=1)
    assert kept(engine) == {erased.id: NOTHING, other.id: ("mine too", None, "me")}
    assert erase(engine, ids=[erased.id]) == Erased(predictions=0, feedback=0)
    with engine.connect() as connection:
        assert connection.scalar(select(Prediction.score_toxic).where(Prediction.id == erased.id)) == 0.25
        assert list(connection.scalars(select(Feedback.prediction_id))) == [other.id]
        assert connection.scalar(select(func.sum(Rollup.predictions)).where(Rollup.period_s == 60)) == 2


def test_the_language_goes_with_the_text_however_the_row_arrives(engine: Engine) -> None:
    there, late = made(text="uno", language="es", characters=3), made(text=None, language="es", characters=3)
    store(engine, there)
    erase(engine, ids=[there.id, late.id])
    store(engine, late)
    with engine.connect() as connection:
        query = select(Prediction.language, Prediction.text, Prediction.characters)
        assert connection.execute(query).all() == [(None, None, 3)] * 2


def test_erasing_by_author_takes_everything_of_the_author_until_now(engine: Engine) -> None:
    mine = [made(author="me", text="mine"), made(author="me", text=None, text_hash="f" * 64)]
    others = made(author="you", text="yours")
    store(engine, *mine, others)
    assert erase(engine, authors=["me"]).predictions == 2
    later = made(author="me", text="after")
    store(engine, later)
    expected = dict.fromkeys((record.id for record in mine), NOTHING)
    assert kept(engine) == expected | {others.id: ("yours", None, "you"), later.id: ("after", None, "me")}


def test_rows_that_arrive_after_their_erasure_are_erased(engine: Engine) -> None:
    by_id, by_author, free = made(text="one"), made(author="me", text="two"), made(text="three")
    assert erase(engine, ids=[by_id.id], authors=["me"]) == Erased(0, 0)
    store(engine, by_id, by_author, free)
    assert kept(engine) == {by_id.id: NOTHING, by_author.id: NOTHING, free.id: ("three", None, None)}


@pytest.mark.parametrize("by_id", [True, False])
def test_feedback_on_what_was_erased_is_dropped_whenever_it_comes(engine: Engine, by_id: bool) -> None:
    stored, late, free = made(author="me"), made(author="me"), made(author="you")
    verdicts = [feedback(prediction_id=each.id, created_at=datetime.now(UTC)) for each in (stored, late, free)]
    store(engine, stored)
    erase(engine, **({"ids": [stored.id, late.id]} if by_id else {"authors": ["me"]}))
    store(engine, late, free)
    store(engine, feedback=verdicts)
    after = feedback(prediction_id=stored.id, created_at=datetime.now(UTC) + timedelta(seconds=1))
    store(engine, feedback=[after])
    with engine.connect() as connection:
        assert set(connection.scalars(select(Feedback.id))) == {verdicts[2].id, after.id}


def test_an_erasure_that_was_forgotten_still_holds_for_every_row_from_before_it(engine: Engine) -> None:
    erased, other = made(text="one"), made(author="me", text="two")
    verdicts = [feedback(prediction_id=each.id, created_at=datetime.now(UTC)) for each in (erased, other)]
    erase(engine, ids=[erased.id])
    assert prune(engine, datetime.now(UTC)) == 1
    assert prune(engine, datetime.now(UTC) + timedelta(days=1)) == 0
    after = made(author="you", text="three")
    store(engine, erased, other, after, feedback=[*verdicts, later := feedback(created_at=datetime.now(UTC))])
    assert kept(engine) == {erased.id: NOTHING, other.id: NOTHING, after.id: ("three", None, "you")}
    with engine.connect() as connection:
        assert list(connection.scalars(select(Feedback.id))) == [later.id]
        assert connection.scalar(select(func.count()).select_from(Erasure)) == 1


def test_only_erasures_from_before_the_bound_are_forgotten_and_the_bound_never_moves_back(engine: Engine) -> None:
    first, second = made(text="one"), made(text="two")
    erase(engine, ids=[first.id])
    between = datetime.now(UTC)
    erase(engine, ids=[second.id])
    assert prune(engine, between) == 1
    store(engine, second, free := made(text="three"))
    assert kept(engine) == {second.id: NOTHING, free.id: ("three", None, None)}
    with engine.begin() as connection:  # a clock that was set back
        connection.execute(update(Erasure).where(Erasure.subject != "").values(erased_at=between - timedelta(days=9)))
    assert prune(engine, between) == 1
    store(engine, first)
    assert kept(engine)[first.id] == NOTHING


@pytest.mark.parametrize("arrives_late", [True, False])
def test_rows_of_a_server_whose_clock_is_ahead_are_erased_as_well(engine: Engine, arrives_late: bool) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=5)
    named = prediction(id=uuid7(ahead), created_at=ahead, text="one")
    by_author = prediction(id=uuid7(ahead), created_at=ahead, text="two", author="me")
    if arrives_late:
        erase(engine, ids=[named.id])
        store(engine, named)
        assert kept(engine) == {named.id: NOTHING}
    else:  # of an author who is named before a row arrives, its clock alone says which was first
        store(engine, named, by_author)
        erase(engine, ids=[named.id], authors=["me"])
        assert kept(engine) == {named.id: NOTHING, by_author.id: NOTHING}


def test_without_erasures_nothing_is_forgotten_and_late_rows_keep_their_texts(engine: Engine) -> None:
    assert prune(engine, datetime.now(UTC)) == 0
    store(engine, old := prediction(id=uuid7(), text="late"))
    assert kept(engine) == {old.id: ("late", None, None)}


def test_whoever_asked_to_be_erased_is_not_listed(engine: Engine) -> None:
    erase(engine, authors=["somebody@example.org"])
    with engine.connect() as connection:
        subjects = list(connection.scalars(select(Erasure.subject)))
    assert len(subjects) == 1
    assert "somebody" not in subjects[0]


def test_more_rows_than_one_statement_holds_are_erased(engine: Engine) -> None:
    records = [made(author="me", text=str(number)) for number in range(1_201)]
    store(engine, *records)
    assert erase(engine, ids=[record.id for record in records[:600]], authors=["me"]).predictions == 1_201
    assert set(kept(engine).values()) == {NOTHING}


def test_ids_of_other_versions_than_7_are_found_as_well(engine: Engine) -> None:
    old = prediction(created_at=datetime.now(UTC) - timedelta(days=400), text="old")
    store(engine, old)
    assert erase(engine, ids=[old.id]).predictions == 1


@pytest.mark.parametrize("id_", ["ffffffff-ffff-7fff-bfff-ffffffffffff", "e677d21f-dbff-7fff-bfff-ffffffffffff"])
def test_an_id_whose_time_no_row_can_have_is_unknown(engine: Engine, id_: str) -> None:
    record = made(text="mine")
    store(engine, record)
    with engine.connect() as connection:
        assert find_scores(connection, id_) is None
    assert erase(engine, ids=[id_, record.id]) == Erased(predictions=1, feedback=0)
