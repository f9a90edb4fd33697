from dataclasses import replace
from datetime import timedelta
from importlib import import_module

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine

from moderation.db.database import connect, migrate
from moderation.db.log import insert, record_version
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


def test_use_counts_predictions_and_feedback_of_one_version(engine: Engine) -> None:
    first, second, other = prediction(), prediction(created_at=NOON + HOUR), prediction(version="b" * 64)
    judged = [feedback(prediction_id=first.id), feedback(prediction_id=second.id, agree=False)]
    with engine.begin() as connection:
        insert(connection, [first, second, other], [*judged, feedback(prediction_id=other.id)])
    assert use(engine, VERSION) == Use(2, NOON, NOON + HOUR, 2, 1)
    assert use(engine, "c" * 64) == Use(0, None, None, 0, 0)
