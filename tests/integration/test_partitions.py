"""Partitions, the conversion of an older database, and replicas that insert at once: only PostgreSQL has these."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine, Insert, func, select, text

from moderation.db import partitions
from moderation.db.database import _config, connect, migrate
from moderation.db.ids import made_near
from moderation.db.log import find_scores, insert, prediction_record
from moderation.db.models import Prediction, Rollup
from moderation.db.queries import newest, traffic
from moderation.db.retention import delete_rows
from serve.ids import uuid7
from tests.moderation.db.records import NOON, prediction

ROOT = Path(__file__).parents[2]
WRITE = """
import sys
from datetime import timedelta
from moderation.db.database import connect
from moderation.db.log import insert
from tests.moderation.db.records import NOON, prediction

engine, worker = connect(sys.argv[1]), int(sys.argv[2])
shared = [prediction(id=f"00000000-0000-4000-8000-{k:012d}", created_at=NOON + timedelta(minutes=k)) for k in range(60)]
for batch in range(5):
    own = [prediction(created_at=NOON + timedelta(minutes=7 * k % 60), version=f"v{k % 3}") for k in range(40)]
    both = own + shared
    with engine.begin() as connection:
        insert(connection, both if worker % 2 else both[::-1])
"""


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    engine = connect(postgres_url)
    migrate(engine)
    yield engine
    engine.dispose()


def upgrade(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        config = _config()
        config.attributes.update(connection=connection, progress=lambda items, _: items)
        command.upgrade(config, revision)


def insert_of(names: tuple[str, ...]) -> Insert:
    """Return an insert into the columns that there were."""
    return sa.table("predictions", *(Prediction.__table__.c[name]._copy() for name in names)).insert()


def partition_of(engine: Engine, prediction_id: str) -> str:
    with engine.connect() as connection:
        query = text("SELECT tableoid::regclass::text FROM predictions WHERE id = :id")
        return str(connection.scalar(query, {"id": prediction_id}))


def test_rows_go_to_the_partition_of_their_month_and_none_is_lost(postgres: Engine) -> None:
    with postgres.begin() as connection:
        partitions.make_ahead(connection, datetime.now(UTC))
    now = datetime.now(UTC)
    next_month = partitions.month_after(now)
    early, soon, never = (prediction(created_at=at) for at in (NOON, next_month, now + timedelta(days=2000)))
    with postgres.begin() as connection:
        assert insert(connection, [early, soon, never]) == 3
        assert insert(connection, [early, soon, never]) == 0
        assert all(find_scores(connection, each.id) for each in (early, soon, never))
    assert partition_of(postgres, early.id) == f"predictions_before_{next_month:%Y_%m}"
    assert partition_of(postgres, soon.id) == f"predictions_{next_month:%Y_%m}"
    assert partition_of(postgres, never.id) == "predictions_default"


def test_making_a_partition_moves_what_waited_for_it(postgres: Engine) -> None:
    later = datetime.now(UTC) + timedelta(days=800)
    waiting = prediction(created_at=later)
    with postgres.begin() as connection:
        insert(connection, [waiting])
    assert partition_of(postgres, waiting.id) == "predictions_default"
    with postgres.begin() as connection:
        made = partitions.make_ahead(connection, later, months=0)
    assert made == [f"{table}_{later:%Y_%m}" for table in partitions.TABLES]
    assert partition_of(postgres, waiting.id) == made[0]
    with postgres.begin() as connection:
        assert partitions.make_ahead(connection, later, months=0) == []
        assert insert(connection, [waiting]) == 0


def test_retention_drops_old_partitions_whole(postgres: Engine) -> None:
    months = [partitions.month_after(datetime.now(UTC))]
    months += [partitions.month_after(months[0])]
    rows = [prediction(created_at=at) for at in (NOON, *months)]
    with postgres.begin() as connection:
        insert(connection, rows)
    done: list[int] = []
    delete_rows(postgres, months[1], done.append)
    assert sum(done) == 2
    with postgres.connect() as connection:
        assert list(connection.scalars(select(Prediction.id))) == [rows[2].id]
        assert min(each.end for each in partitions.find(connection, "predictions")) > months[1]
    with postgres.begin() as connection:
        assert insert(connection, [rows[0]]) == 1  # late, and still stored


def test_an_id_is_looked_for_in_its_own_month_only(postgres: Engine) -> None:
    record = prediction(id=uuid7(), created_at=datetime.now(UTC))
    with postgres.begin() as connection:
        insert(connection, [record])
        asked: list[str] = []
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        query = select(Prediction.id).where(Prediction.id == record.id, *made_near(Prediction.created_at, [record.id]))
        compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
        asked += connection.exec_driver_sql(f"EXPLAIN {compiled}").scalars()
        assert find_scores(connection, record.id)
    assert sum("Scan" in line and " on predictions" in line for line in asked) <= 3  # of fourteen partitions


@pytest.mark.parametrize("rows", [0, 2_500])
def test_an_older_database_is_converted_with_its_rows_and_their_counts(database_url: str, rows: int) -> None:
    engine = connect(database_url)
    upgrade(engine, "0002")
    records = [prediction(created_at=NOON + timedelta(seconds=k), latency_ms=1.0 + k % 50) for k in range(rows)]
    names = ("created_at", "id", "latency_ms", "tokens_read", "truncated", "decision", "reasons", "route", "client",
             "request_id", "version", "text", "score_toxic")  # fmt: skip
    with engine.begin() as connection:
        if rows:
            old = [{name: getattr(each, name, 0.25) for name in names} for each in records]
            connection.execute(insert_of(names), old)
    shown: list[int] = []

    def progress(items: Iterator[object], total: int) -> Iterator[object]:
        shown.append(total)
        return items

    migrate(engine, progress)  # type: ignore[arg-type]
    assert shown == [rows]
    with engine.connect() as connection:
        found = connection.execute(select(Prediction.__table__).order_by(Prediction.created_at)).mappings()
        assert [prediction_record(row).id for row in found] == [each.id for each in records]
        assert (connection.scalar(select(func.sum(Rollup.predictions)).where(Rollup.period_s == 60)) or 0) == rows
    _, total = traffic(engine, NOON, NOON + timedelta(hours=1), 3600)
    assert total.predictions == rows
    if rows:
        assert newest(engine, NOON, NOON + timedelta(hours=1), 1)[0].prediction.cached is False
        with engine.begin() as connection:
            assert insert(connection, [records[0], prediction(created_at=NOON + timedelta(days=900))]) == 1
    engine.dispose()


def test_replicas_that_insert_the_same_and_other_rows_at_once_never_deadlock(postgres_url: str) -> None:
    engine = connect(postgres_url)
    migrate(engine)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, postgres_url, str(worker)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for worker in range(4)
    ]
    outcomes = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert outcomes == [("", 0)] * 4
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Prediction)) == 4 * 5 * 40 + 60
        for period_s in (60, 3_600, 86_400):
            query = select(func.sum(Rollup.predictions)).where(Rollup.period_s == period_s)
            assert connection.scalar(query) == 4 * 5 * 40 + 60
        assert connection.scalar(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")) == 0
    engine.dispose()
