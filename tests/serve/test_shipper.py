import asyncio
import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import DataError

from moderation.db.log import FeedbackRecord, PredictionRecord, ShadowRecord
from moderation.db.models import Feedback, Prediction, Rollup, ShadowPrediction
from moderation.errors import UnavailableError
from serve.outbox import Outbox
from serve.shipper import ROWS_PER_INSERT, TRIES_ALONE, Shipper
from tests.moderation.db.records import feedback, prediction
from tests.serve.fakes import UnsteadyLog
from tests.serve.server import wait_until


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db", max_rows=10_000)
    outbox.start()
    yield outbox
    outbox.stop()
    outbox.close()


@contextmanager
def shipping(outbox: Outbox, log: UnsteadyLog) -> Iterator[Shipper]:
    shipper = Shipper(outbox, log)
    shipper.start()
    yield shipper
    shipper.close(flush_s=10)


def append(outbox: Outbox, records: Sequence[PredictionRecord | FeedbackRecord]) -> None:
    asyncio.run(outbox.append(records))


def stored(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Prediction.id)))


def test_every_row_arrives_once_in_bulk_and_leaves_the_outbox(engine: Engine, outbox: Outbox) -> None:
    records = [prediction(text=f"text {number}\x00") for number in range(2_200)]
    verdict = feedback(prediction_id=records[0].id)
    append(outbox, [*records, verdict])
    log = UnsteadyLog(engine)
    with shipping(outbox, log):
        wait_until(lambda: outbox.pending() == 0)
    assert sorted(stored(engine)) == sorted(record.id for record in records)
    with engine.connect() as connection:
        assert list(connection.scalars(select(Feedback.id))) == [verdict.id]
    assert log.largest_insert == ROWS_PER_INSERT


def test_rows_wait_while_the_database_is_away_and_each_change_is_one_line(
    engine: Engine, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serve.shipper")
    log = UnsteadyLog(engine)
    log.away = True
    records = [prediction(text="secret") for _ in range(3)]
    append(outbox, records)
    with shipping(outbox, log) as shipper:
        wait_until(lambda: shipper._failures >= 3)
        assert not shipper.database_reachable
        assert outbox.pending() == 3
        log.away = False
        wait_until(lambda: outbox.pending() == 0 and shipper.database_reachable)
    assert sorted(stored(engine)) == sorted(record.id for record in records)
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text


def test_an_idle_shipper_notices_that_the_database_went_away(sqlite_engine: Engine, outbox: Outbox) -> None:
    log = UnsteadyLog(sqlite_engine)
    shipper = Shipper(outbox, log, ping_s=0.05)
    shipper.start()
    log.away = True
    wait_until(lambda: not shipper.database_reachable)
    log.away = False
    wait_until(lambda: shipper.database_reachable)
    shipper.close(flush_s=1)


def test_a_crash_between_insert_and_delete_loses_and_repeats_nothing(engine: Engine, outbox: Outbox) -> None:
    log = UnsteadyLog(engine)
    crashes = iter([True, False, True])

    def crash() -> None:
        if next(crashes, False):
            raise OSError("the process dies here")

    log.after_insert = crash
    records = [prediction() for _ in range(10)]
    append(outbox, records)
    with shipping(outbox, log):
        wait_until(lambda: outbox.pending() == 0)
    assert sorted(stored(engine)) == sorted(record.id for record in records)


def test_a_row_that_the_database_refuses_does_not_hold_up_the_others(
    sqlite_engine: Engine, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    refused = prediction(text="secret")

    class Picky(UnsteadyLog):
        def insert(self, predictions: Sequence[PredictionRecord], *others: Any) -> None:
            if any(record.id == refused.id for record in predictions):
                raise DataError("INSERT", {"text": "secret"}, Exception("value out of range: secret"))
            super().insert(predictions, *others)

    before, after = [prediction() for _ in range(5)], [prediction() for _ in range(6)]
    append(outbox, [*before, refused, *after])
    with shipping(outbox, Picky(sqlite_engine)) as shipper:
        wait_until(lambda: outbox.pending() == 0)
        assert shipper.refused_rows == 1
    assert sorted(stored(sqlite_engine)) == sorted(record.id for record in before + after)
    assert refused.id in caplog.messages[0]
    assert "secret" not in " ".join(caplog.messages)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_row_on_which_the_database_fails_is_set_aside_once_those_behind_it_are_taken(
    engine: Engine, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve.shipper.MAX_BACKOFF_S", 0.01)
    records = [prediction(client="large" if number in (0, 7) else "c", text="secret") for number in range(20)]
    append(outbox, records)
    with failing_on(engine, "NEW.client = 'large'"), shipping(outbox, UnsteadyLog(engine)) as shipper:
        wait_until(lambda: outbox.pending() == 0)
        assert shipper.refused_rows == 2
    assert sorted(stored(engine)) == sorted(record.id for record in records if record.client == "c")
    assert "secret" not in caplog.text


@contextmanager
def failing_on(engine: Engine, condition: str) -> Iterator[None]:
    """Let PostgreSQL fail, as on no fault of the row's, on predictions for which ``condition`` holds."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'row is too big' USING ERRCODE = '54000'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER t BEFORE INSERT ON predictions FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION fail()"
        )
    yield
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER t ON predictions")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_row_that_waits_alone_is_set_aside_once_the_database_has_taken_others_beside_it(
    engine: Engine, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.shipper.MAX_BACKOFF_S", 0.01)
    with failing_on(engine, "NEW.client = 'large'"), shipping(outbox, UnsteadyLog(engine)) as shipper:
        append(outbox, [prediction(client="large", text="secret" * 1000)])
        wait_until(lambda: outbox.pending() == 0)
        assert (shipper.refused_rows, shipper.database_reachable) == (1, True)
        append(outbox, [prediction()])
        wait_until(lambda: outbox.pending() == 0)
    with engine.connect() as connection:
        assert list(connection.scalars(select(Prediction.client))) == ["client"]  # nothing of what was only tried


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_row_that_waits_alone_stays_while_the_database_takes_no_other_either(
    engine: Engine, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.shipper.MAX_BACKOFF_S", 0.01)
    record = prediction()
    with shipping(outbox, UnsteadyLog(engine)) as shipper:
        with failing_on(engine, "true"):
            append(outbox, [record])
            wait_until(lambda: shipper._failures > 5 + 3 * TRIES_ALONE)
            assert (shipper.refused_rows, outbox.pending()) == (0, 1)
        wait_until(lambda: outbox.pending() == 0)
        assert shipper.refused_rows == 0
    assert stored(engine) == [record.id]


def test_rows_are_not_set_aside_when_the_database_answers_but_takes_none(
    sqlite_engine: Engine, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.shipper.MAX_BACKOFF_S", 0.01)

    class Full(UnsteadyLog):
        full = True

        def insert(self, *records: Any) -> None:
            if self.full:
                raise UnavailableError("cannot use database: its disk is full")
            super().insert(*records)

    log = Full(sqlite_engine)
    append(outbox, [prediction() for _ in range(20)])
    with shipping(outbox, log) as shipper:
        wait_until(lambda: shipper._failures > 20)
        assert shipper._rows_at_once == 1
        log.full = False
        wait_until(lambda: outbox.pending() == 0)
        assert shipper.refused_rows == 0
    assert len(stored(sqlite_engine)) == 20


def test_closing_ships_what_is_left_but_does_not_wait_for_an_absent_database(
    sqlite_engine: Engine, outbox: Outbox
) -> None:
    log = UnsteadyLog(sqlite_engine)
    with shipping(outbox, log):
        append(outbox, [prediction() for _ in range(700)])
    assert outbox.pending() == 0
    log.away = True
    with shipping(outbox, log):
        append(outbox, [prediction()])
    assert outbox.pending() == 1


OLD_SCHEMA = """
CREATE TABLE outbox (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX outbox_id ON outbox (id);
CREATE TABLE refused (id TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, reason TEXT NOT NULL);
"""
OLD_LINE = (
    '{"id":"01934f6e-9d2a-7c51-9f5e-2b1d3c4a5e6f","created_at":"2025-11-21T12:00:00+00:00","request_id":"r",'
    '"client":"anonymous","route":"/predict","version":"v","scores":{"toxic":0.5},"decision":"allow","reasons":[],'
    '"latency_ms":5.0,"tokens_read":7,"truncated":false,"text":"a comment"}'
)


def test_what_the_first_release_left_in_its_outbox_is_shipped(engine: Engine, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as old:
        old.executescript(OLD_SCHEMA)
        old.execute("INSERT INTO outbox VALUES (1, 'prediction', ?, ?)", (json.loads(OLD_LINE)["id"], OLD_LINE))
        old.commit()
    outbox = Outbox(tmp_path / "outbox.db", max_rows=10)
    outbox.start()
    assert outbox.oldest_age_s() > 1_000_000
    with shipping(outbox, UnsteadyLog(engine)) as shipper:
        wait_until(lambda: outbox.pending() == 0)
        assert shipper.refused_rows == 0
    outbox.stop()
    outbox.close()
    with engine.connect() as connection:
        row = connection.execute(select(Prediction.__table__)).mappings().one()
    assert (row["text"], row["score_toxic"], row["cached"]) == ("a comment", 0.5, False)
    assert {row[name] for name in ("queue_ms", "tokenize_ms", "inference_ms", "text_hash", "author")} == {None}


def test_shadow_predictions_are_shipped_beside_their_predictions(engine: Engine, outbox: Outbox) -> None:
    record = prediction()
    shadow = ShadowRecord(record.id, record.created_at, "candidate", {"toxic": 0.7}, "review", 3.0)
    append(outbox, [record, shadow])
    assert ShadowRecord.from_json(shadow.to_json()) == shadow
    with shipping(outbox, UnsteadyLog(engine)):
        wait_until(lambda: outbox.pending() == 0)
    with engine.connect() as connection:
        row = connection.execute(select(ShadowPrediction.__table__)).mappings().one()
    assert (row["id"], row["created_at"], row["version"], row["score_toxic"], row["score_insult"]) == (
        *(record.id, record.created_at, "candidate"), 0.7, None,
    )  # fmt: skip


def test_rows_that_are_sent_twice_are_counted_once(engine: Engine, outbox: Outbox) -> None:
    log = UnsteadyLog(engine)
    crashes = iter([True, True, False])

    def crash() -> None:
        if next(crashes, False):
            raise OSError("the process dies here, after the commit")

    log.after_insert = crash
    append(outbox, [prediction() for _ in range(30)])
    with shipping(outbox, log):
        wait_until(lambda: outbox.pending() == 0)
    with engine.connect() as connection:
        assert list(connection.scalars(select(Rollup.predictions))) == [30, 30, 30]
