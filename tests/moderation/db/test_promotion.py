import re
import uuid
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, event

from moderation.db import promotion
from moderation.db.database import connect, migrate
from moderation.db.ids import first_id
from moderation.db.log import PredictionRecord, insert, record_version
from moderation.db.promotion import known_versions, moves, record_moves, record_verdicts, use, verdicts
from moderation.lineage.graph import Use, Verdict
from moderation.registry.registry import AliasEvent
from tests.moderation.db.records import NOON, VERSION, feedback, prediction, version

HOUR = timedelta(hours=1)
MOVES = [
    AliasEvent("production", VERSION, None, NOON, "ann", "first"),
    AliasEvent("production", "b" * 64, VERSION, NOON + HOUR, "bo", "gate report passed"),
]
VERDICT = Verdict("b" * 64, NOON, VERSION, False, ["toxic: worse"], "d" * 64, "r" * 64)


def test_moves_are_kept_once_however_often_they_are_recorded(engine: Engine) -> None:
    for expected in (2, 0):
        with engine.begin() as connection:
            assert record_moves(connection, MOVES[::-1]) == expected
    assert moves(engine) == MOVES
    with engine.begin() as connection:
        assert record_moves(connection, []) == 0


def test_verdicts_are_kept_per_candidate_oldest_first(engine: Engine) -> None:
    later = replace(VERDICT, created_at=NOON + HOUR, passed=True, reasons=[], against=None)
    with engine.begin() as connection:
        assert record_verdicts(connection, [later, VERDICT, VERDICT]) == 2
    assert verdicts(engine, VERDICT.candidate) == [VERDICT, later]
    assert verdicts(engine, VERSION) == []


def test_a_version_keeps_its_provenance_when_a_process_records_it_without(engine: Engine) -> None:
    origin = {"dataset": "ours", "git_dirty": False}
    with engine.begin() as connection:
        record_version(connection, version(provenance=origin))
        record_version(connection, version(name="renamed"))
    (found,) = known_versions(engine)
    assert (found.name, found.provenance) == ("renamed", origin)


def test_a_version_of_the_release_before_is_kept_without_a_provenance(database_url: str) -> None:
    engine, first = connect(database_url), import_module("moderation.db.migrations.versions.m0001_prediction_log")
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        first.upgrade()
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0001')")
        connection.exec_driver_sql(
            "INSERT INTO versions VALUES "
            f"('{VERSION}', '2026-03-01 12:00:00.000000+00:00', 'starter', '[]', '{{}}', '{{}}')"
        )
    migrate(engine)
    (found,) = known_versions(engine)
    assert (found.version, found.name, found.provenance) == (VERSION, "starter", None)
    engine.dispose()


def made(number: int = 0, **fields: object) -> PredictionRecord:
    """A prediction whose id holds its time, as those that are answered do."""
    created_at = NOON + number * HOUR
    return prediction(id=first_id(created_at)[:-12] + uuid.uuid4().hex[:12], created_at=created_at, **fields)


def test_use_counts_predictions_and_feedback_of_one_version(engine: Engine) -> None:
    first, second, other = made(), made(1), made(version="b" * 64)
    judged = [feedback(prediction_id=first.id), feedback(prediction_id=second.id, agree=False)]
    with engine.begin() as connection:
        insert(connection, [first, second, other], [*judged, feedback(prediction_id=other.id)])
    assert use(engine, VERSION) == Use(2, NOON, NOON + HOUR, 2, 1)
    assert use(engine, "c" * 64) == Use(0, None, None, 0, 0)


def test_use_looks_into_the_newest_feedback_of_the_versions_time_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "MAX_JUDGED", 2)
    of_its_time = [made(number) for number in range(3)]
    later = [made(100 + number, version="b" * 64) for number in range(3)]
    with engine.begin() as connection:
        insert(connection, of_its_time + later, [feedback(prediction_id=each.id) for each in of_its_time + later])
    assert use(engine, VERSION).feedback == 2
    queries: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _u, said, values, *_: queries.append((said, values)))
    use(engine, VERSION)
    (said, values) = next(query for query in queries if "feedback" in query[0])
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # so few rows are scanned
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = "\n".join(row[-1] for row in connection.exec_driver_sql(f"{explain} {said}", values))
    assert "ix_feedback_prediction_id" in plan
    assert not re.search("Seq Scan|SCAN (feedback|predictions)(?! USING INDEX)", plan), plan
