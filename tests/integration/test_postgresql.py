"""What only a real PostgreSQL can show."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, make_url, select, text

from moderation.db.database import ADVISORY_LOCK, LOCK_TIMEOUT_S, connect, migrate, require_current
from moderation.db.log import find_scores, insert, record_version
from moderation.db.queries import feedback_summary, last_prediction_at, newest, traffic, versions
from moderation.errors import ConfigurationError, UnavailableError
from tests.moderation.db.records import NOON, feedback, prediction, version

HOUR = timedelta(hours=1)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    engine = connect(postgres_url)
    migrate(engine)
    yield engine
    engine.dispose()


def test_every_wait_is_bounded_and_times_are_utc(postgres: Engine) -> None:
    with postgres.connect() as connection:
        found = {
            name: connection.scalar(text(f"SHOW {name}"))
            for name in ("lock_timeout", "statement_timeout", "TimeZone", "client_encoding")
        }
    assert found == {"lock_timeout": "5s", "statement_timeout": "30s", "TimeZone": "UTC", "client_encoding": "UTF8"}


def test_a_users_own_url_parameters_hold(postgres_url: str) -> None:
    url = make_url(postgres_url).update_query_dict({"connect_timeout": "2", "options": "-c search_path=elsewhere"})
    engine = connect(url.render_as_string(hide_password=False))
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW search_path")) == "elsewhere"
        assert connection.scalar(text("SHOW lock_timeout")) == "5s"
    assert engine.url.query["connect_timeout"] == "2"
    engine.dispose()


def test_a_migration_gives_up_soon_when_a_table_is_locked(postgres: Engine) -> None:
    with postgres.connect() as other:
        other.execute(text("LOCK TABLE alembic_version"))
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=r"^cannot use .*: canceling statement due to lock timeout$"):
            migrate(postgres)
        assert LOCK_TIMEOUT_S - 1 < time.monotonic() - began < LOCK_TIMEOUT_S + 10
    require_current(postgres)


def test_a_migration_waits_for_another_longer_than_for_a_table(postgres: Engine) -> None:
    with ThreadPoolExecutor(1) as pool, postgres.connect() as other:
        other.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        waiting = pool.submit(migrate, postgres)
        with pytest.raises(TimeoutError):
            waiting.result(LOCK_TIMEOUT_S + 0.5)
        other.rollback()
        waiting.result(30)


def test_a_database_that_is_not_in_utf8_is_refused(postgres_server: str) -> None:
    server = connect(postgres_server)
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))
        try:
            engine = connect(make_url(postgres_server).set(database="ascii").render_as_string(hide_password=False))
            with pytest.raises(ConfigurationError, match="database has encoding SQL_ASCII; create it with ENCODING"):
                migrate(engine)
            engine.dispose()
        finally:
            connection.execute(text("DROP DATABASE ascii WITH (FORCE)"))
    server.dispose()


def cut_connections(engine: Engine) -> None:
    """End the server's side of every connection that the engine has."""
    url = engine.url.render_as_string(hide_password=False)
    ended = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                 " AND datname = current_database()")  # fmt: skip
    other = connect(url)
    with other.connect() as connection:
        connection.execute(ended)
    other.dispose()


def test_a_connection_lost_in_mid_transaction_is_one_clear_line_and_the_next_one_works(postgres: Engine) -> None:
    record = prediction()
    with postgres.connect() as lost:
        insert(lost, [record])
        cut_connections(postgres)
        with pytest.raises(UnavailableError, match=r"^cannot use database postgresql:") as caught:
            insert(lost, [prediction()])
        assert "\n" not in str(caught.value)
    with postgres.begin() as connection:
        assert insert(connection, [record]) == 1


def test_connections_that_died_in_the_pool_are_replaced_unnoticed(postgres: Engine) -> None:
    with postgres.connect() as one, postgres.connect() as two:
        one.execute(text("SELECT 1"))
        two.execute(text("SELECT 1"))
    cut_connections(postgres)
    for _ in range(3):
        require_current(postgres)


def test_every_query_finds_its_rows_through_an_index(postgres: Engine) -> None:
    with postgres.begin() as connection:
        record_version(connection, version())
        records = [prediction(created_at=NOON + k * timedelta(seconds=1)) for k in range(500)]
        insert(connection, records, [feedback(prediction_id=record.id) for record in records])
        connection.execute(text("ANALYZE"))
    asked: list[tuple[str, Any]] = []

    def remember(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    event.listen(postgres, "before_cursor_execute", remember)
    for bucketed in (traffic, versions):
        bucketed(postgres, NOON, NOON + HOUR, 60)
    for whole in (feedback_summary, newest):
        whole(postgres, NOON, NOON + HOUR)
    last_prediction_at(postgres)
    with postgres.connect() as connection:
        find_scores(connection, records[0].id)
    event.remove(postgres, "before_cursor_execute", remember)

    with postgres.connect() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # 500 rows alone would not be worth an index
        plans = [
            "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
            for statement, parameters in asked
            if any(table in statement for table in ("predictions", "feedback", "rollups"))
        ]
    assert len(plans) == 9
    assert [plan for plan in plans if re.search("Seq Scan on (predictions|feedback|rollups)", plan)] == []
    for name in ("pk_predictions", "_id on predictions", "pk_feedback", "ix_feedback_prediction_id", "pk_rollups"):
        assert any(name in plan for plan in plans), name
