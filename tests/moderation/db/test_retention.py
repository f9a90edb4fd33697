import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.orm import Session

from moderation.db import retention
from moderation.db.log import ShadowRecord, insert
from moderation.db.models import Feedback, Prediction, Rollup, ShadowPrediction
from moderation.db.retention import Expired, count, delete_rows, delete_texts
from moderation.db.review_models import BacktestScore, Job
from moderation.labels import LABELS
from tests.moderation.db.records import NOON, VERSION, feedback, prediction

DAY = timedelta(days=1)
OF_PREDICTIONS = ("predictions", "shadow_predictions", "feedback")
NO_ROWS = dict.fromkeys((*OF_PREDICTIONS, "jobs", "backtest_scores"), 0)


@pytest.fixture
def filled(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Ten predictions, ten days apart, with feedback and a shadow prediction each; slices of three rows."""
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 3)
    predictions = [prediction(created_at=NOON - 10 * k * DAY, author="me") for k in range(10)]
    shadows = [
        ShadowRecord(each.id, each.created_at, VERSION, dict.fromkeys(LABELS, 0.5), "allow", 1.0)
        for each in predictions
    ]
    with engine.begin() as connection:
        insert(connection, predictions, [feedback(created_at=each.created_at) for each in predictions], shadows)
    return engine


def numbers(engine: Engine) -> tuple[int, ...]:
    with engine.connect() as connection:
        return tuple(
            connection.scalar(select(func.count()).select_from(model)) or 0
            for model in (Prediction, ShadowPrediction, Feedback)
        )


def test_old_rows_are_deleted_as_counted_and_roll_ups_stay(filled: Engine) -> None:
    before = NOON - 35 * DAY
    assert count(filled, before, None) == Expired(NO_ROWS | dict.fromkeys(OF_PREDICTIONS, 6), 0)
    assert numbers(filled) == (10, 10, 10)
    done: list[int] = []
    delete_rows(filled, before, done.append)
    assert numbers(filled) == (4, 4, 4)
    assert sum(done) == 18
    with filled.connect() as connection:
        assert connection.scalar(select(func.min(Prediction.created_at))) == NOON - 30 * DAY
        assert connection.scalar(select(func.sum(Rollup.predictions)).where(Rollup.period_s == 60)) == 10
    delete_rows(filled, before, done.append)
    assert sum(done) == 18


def test_old_texts_go_and_their_rows_stay(filled: Engine) -> None:
    before = NOON - 35 * DAY
    assert count(filled, None, before) == Expired(NO_ROWS, 6)
    done: list[int] = []
    delete_texts(filled, before, done.append)
    assert sum(done) == 6
    assert numbers(filled) == (10, 10, 10)
    with filled.connect() as connection:
        kept = connection.execute(select(Prediction.text, Prediction.author).order_by(Prediction.created_at)).all()
    assert kept == [(None, None)] * 6 + [("a comment", "me")] * 4


def test_texts_are_found_without_reading_the_rows_that_have_none(engine: Engine) -> None:
    queries: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _u, said, values, *_: queries.append((said, values)))
    count(engine, None, NOON)
    delete_texts(engine, NOON, lambda _: None)
    asked = [(said, values) for said, values in queries if "predictions" in said and said.startswith("SELECT")]
    assert len(asked) == 2
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # empty tables are scanned
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        for said, values in asked:
            plan = [row[-1] for row in connection.exec_driver_sql(f"{explain} {said}", values)]
            # PostgreSQL names a partition's index after its own table and columns; the key's would be called _pkey.
            scans = [line for line in plan if "using" in line or "INDEX" in line]
            assert scans, plan
            assert all("with_text" in line or "_created_at_idx" in line for line in scans), plan


def test_rows_of_one_moment_are_deleted_whatever_a_slice_holds(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 3)
    with engine.begin() as connection:
        insert(connection, [prediction() for _ in range(10)])
    delete_rows(engine, NOON + DAY, lambda _: None)
    assert numbers(engine)[0] == 0


def add_job(session: Session, state: str, finished_at: datetime | None, cancelled_at: datetime | None = None) -> str:
    """Add a job of long ago with seven scores, and return its id."""
    job_id = str(uuid.uuid4())
    session.add(
        Job(id=job_id, kind="backtest", state=state, created_at=NOON - 90 * DAY, created_by="ann", arguments={},
            attempts=1, done=7, finished_at=finished_at, cancelled_at=cancelled_at)
    )  # fmt: skip
    session.add_all(
        BacktestScore(job_id=job_id, prediction_id=str(uuid.uuid4()), predicted_at=NOON - 91 * DAY, scored=True)
        for _ in range(7)
    )
    return job_id


def test_jobs_that_were_over_go_with_their_scores_and_others_stay(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 3)
    before = NOON - 35 * DAY
    long_ago, lately = before - DAY, before + DAY
    with Session(engine) as session, session.begin():
        for state, *times in (("done", long_ago), ("failed", long_ago), ("waiting", None, long_ago)):
            add_job(session, state, *times)
        times_of_others = (("done", lately), ("running", None), ("waiting", None, lately))
        stay = {add_job(session, state, *times) for state, *times in times_of_others}
    assert count(engine, before, None) == Expired(NO_ROWS | {"jobs": 3, "backtest_scores": 21}, 0)
    done: list[int] = []
    delete_rows(engine, before, done.append)
    assert sum(done) == 24
    assert max(done) == 3
    with engine.connect() as connection:
        assert set(connection.scalars(select(Job.id))) == stay
        kept = connection.scalars(select(BacktestScore.job_id)).all()
    assert (set(kept), len(kept)) == (stay, 21)
    assert count(engine, before, None) == Expired(NO_ROWS, 0)
