"""One PostgreSQL role per process: the API runs under its own, and what a role need not do it cannot."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from moderation.db import erasure, keys, partitions, promotion, queries, retention
from moderation.db.database import connect, migrate, require_current
from moderation.db.erasure import Erased
from moderation.db.log import FeedbackRecord, PredictionRecord, ShadowRecord, insert
from moderation.db.models import Base
from moderation.db.roles import ROLES, rights_on, statements
from moderation.errors import UnauthorizedError, UnavailableError
from moderation.jobs.backtest import backtest_sample, run
from moderation.jobs.queue import cancel, claim, finish, request_backtest
from moderation.lineage.graph import Use
from moderation.review import accounts
from moderation.review.access import Identity, resume, session_for_identity, sign_in, sign_out
from moderation.review.data import erase_predictions
from moderation.review.draw import draw
from moderation.review.golden import make_golden
from moderation.review.history import audit_entries
from moderation.review.people import days_of_work
from moderation.review.queue import next_item, reveal, save_draft, submit
from moderation.review.sample import live_sample
from serve.ids import uuid7
from serve.outbox import Outbox
from serve.prediction_log import PredictionLog
from serve.shipper import Shipper
from tests.moderation.db.records import feedback, prediction
from tests.moderation.review.records import CLOSED, NO, START, TOXIC, Lengths, policy, states, store, traffic
from tests.postgres import binaries, own_cluster
from tests.serve.keyed import bearer, make
from tests.serve.process import environment, running
from tests.serve.server import settings_in, tiny_registry, wait_until

HOUR = timedelta(hours=1)
FORBIDDEN = {
    "api": [
        "SELECT text FROM predictions",
        "UPDATE predictions SET decision = 'allow'",
        "DELETE FROM predictions",
        "INSERT INTO api_keys (id, name, secret_hash, scopes, created_at) VALUES ('a', 'a', 'a', '[]', now())",
        "UPDATE api_keys SET revoked_at = NULL",
        "DELETE FROM feedback",
        "SELECT * FROM alias_moves",
        "UPDATE alembic_version SET version_num = 'x'",
        "DROP TABLE predictions",
        "CREATE TABLE extra (id int)",
    ],
    "monitor": [
        "SELECT * FROM api_keys",
        "SELECT * FROM quota_minutes",
        "INSERT INTO feedback (created_at, id) VALUES (now(), gen_random_uuid())",
        "DELETE FROM predictions",
        "UPDATE predictions SET decision = 'allow'",
        "UPDATE feedback SET agree = true",
        "DELETE FROM erasures",
        "TRUNCATE predictions",
        "UPDATE audit_log SET reviewer = 'x'",
        "DELETE FROM audit_log",
        "UPDATE reviewers SET role = 'admin'",
        "INSERT INTO reviewers (name, role, created_at) VALUES ('x', 'admin', now())",
        "UPDATE review_items SET probability = 1",
        "DELETE FROM reviews",
        "UPDATE jobs SET state = 'done'",
        "INSERT INTO review_windows (started_at) VALUES (now())",
    ],
    "tools": [
        "UPDATE audit_log SET reviewer = 'x'",
        "DELETE FROM audit_log",
        "DROP TABLE predictions",
        "TRUNCATE predictions",
        "ALTER TABLE predictions ADD extra int",
    ],
}


@pytest.fixture
def urls(postgres_engine: Engine, postgres_url: str) -> Iterator[dict[str, str]]:
    """URLs of accounts, each in one of the roles; roles belong to the whole server, so they have names of their own."""
    prefix = f"m{uuid.uuid4().hex[:10]}"
    with postgres_engine.begin() as connection:
        for _ in range(2):  # it can be run again
            for statement in statements(prefix):
                connection.exec_driver_sql(statement.replace("%", "%%"))
        for role in ROLES:
            connection.exec_driver_sql(f"CREATE ROLE {prefix}_{role}_1 LOGIN PASSWORD 'pw' IN ROLE {prefix}_{role}")
    url = make_url(postgres_url)
    yield {
        role: url.set(username=f"{prefix}_{role}_1", password="pw").render_as_string(hide_password=False)
        for role in ROLES
    }
    with postgres_engine.begin() as connection:
        for role in ROLES:
            connection.exec_driver_sql(f"DROP OWNED BY {prefix}_{role}; DROP ROLE {prefix}_{role}_1, {prefix}_{role}")


def test_every_table_is_somebodys() -> None:
    nobodys = [
        table for table in Base.metadata.tables if not any(rights_on(table, role) for role in ("api", "monitor"))
    ]
    assert nobodys == []


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_need_not_do_it_cannot(urls: dict[str, str], role: str) -> None:
    engine = connect(urls[role])
    require_current(engine)
    for statement in FORBIDDEN[role]:
        with engine.connect() as connection, pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            connection.execute(text(statement))
    engine.dispose()


def test_the_tools_make_list_and_revoke_keys_and_the_monitor_reads_the_log(urls: dict[str, str]) -> None:
    tools, monitor = connect(urls["tools"]), connect(urls["monitor"])
    make(tools, "site")
    with tools.begin() as connection:
        keys.revoke(connection, "site")
    assert keys.read(tools).keys[0].revoked_at is not None
    with monitor.connect() as connection:
        for table in ("predictions", "feedback", "versions", "alias_moves", "gate_verdicts"):
            connection.execute(text(f"SELECT * FROM {table}"))
    tools.dispose()
    monitor.dispose()


def test_each_role_does_its_part_with_what_was_answered_said_and_erased(urls: dict[str, str], tmp_path: Path) -> None:
    now = datetime.now(UTC)
    kept, erased, late = (prediction(id=uuid7(), created_at=now, author=name) for name in ("you", "me", "me"))
    verdicts = [feedback(prediction_id=each.id, created_at=now) for each in (kept, erased, late)]
    shadow = ShadowRecord(kept.id, now, "b" * 64, dict(kept.scores), "allow", 1.0)
    api, tools, monitor = (connect(urls[role]) for role in ("api", "tools", "monitor"))
    outbox = Outbox(tmp_path / "outbox.db", max_rows=100)
    outbox.start()
    shipper = Shipper(outbox, PredictionLog(api))
    shipper.start()

    def ship(*records: PredictionRecord | FeedbackRecord | ShadowRecord) -> None:
        asyncio.run(outbox.append(records))
        wait_until(lambda: outbox.pending() == 0)

    ship(kept, shadow, erased, verdicts[0], verdicts[1])
    assert erasure.erase(tools, authors=["me"]) == Erased(1, 1)
    ship(late, verdicts[2])
    shipper.close(flush_s=1)
    outbox.stop()
    outbox.close()
    assert shipper.refused_rows == 0
    newest = queries.newest(monitor, now - HOUR, now + HOUR)
    authors = {each.prediction.id: each.prediction.author for each in newest}
    assert authors == {kept.id: "you", erased.id: None, late.id: None}
    assert queries.traffic(monitor, now - HOUR, now + HOUR, 60)[1].predictions == 3
    assert queries.feedback_summary(monitor, now - HOUR, now + HOUR).received == 1
    assert [each.predictions for each in queries.versions(monitor, now - HOUR, now + HOUR, 60)] == [3]
    assert queries.last_prediction_at(monitor) == now
    assert promotion.use(monitor, kept.version) == Use(3, now, now, 1, 1)
    with monitor.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM shadow_predictions")) == 1
        partition = partitions.find(connection, "predictions")[0].name
        with pytest.raises(ProgrammingError, match=f"permission denied for table {partition}"):
            connection.execute(text(f"SELECT 1 FROM {partition}"))
    for engine in (api, tools, monitor):
        engine.dispose()


def test_the_tools_draw_and_work_and_people_review_in_the_monitor(
    postgres_engine: Engine, urls: dict[str, str]
) -> None:
    tools, monitor = connect(urls["tools"]), connect(urls["monitor"])
    store(postgres_engine, traffic(6))
    rules = policy(double_share=1.0)
    draw(tools, rules, CLOSED)
    accounts.add(tools, ("ann", "reviewer"), CLOSED, "cli:me", password="correct horse battery")
    accounts.add(tools, ("root", "admin"), CLOSED, "cli:me", email="root@example.org")
    ann = sign_in(monitor, "ann", "correct horse battery", CLOSED)
    root = session_for_identity(monitor, Identity("root@example.org", "proof", CLOSED), CLOSED)
    for session, labels in ((ann, TOXIC), (root, NO)):
        task = next_item(monitor, session, rules, CLOSED)
        assert task is not None
        save_draft(monitor, session, task.review_id, {"toxic": True}, rules, CLOSED)
        submit(monitor, session, task.review_id, "labels", CLOSED, labels)
        reveal(monitor, session, task.review_id, CLOSED)
    conflict = next_item(monitor, root, rules, CLOSED, adjudicate=True)
    assert conflict is not None
    submit(monitor, root, conflict.review_id, "labels", CLOSED, NO)
    (settled,) = [each for each, state in states(postgres_engine).items() if state == "done"]
    make_golden(tools, settled, CLOSED, "cli:me")
    assert len(live_sample(monitor, ann, START, CLOSED, CLOSED).ids) == 6
    assert {each.reviewer for each in audit_entries(monitor, root, CLOSED)} == {"ann", "root", "cli:me", "system:draw"}
    job_id = request_backtest(monitor, ann, "candidate", (START, CLOSED), 5, CLOSED)
    job = claim(tools, "one", CLOSED)
    assert job is not None
    run(tools, job, "one", Lengths(), lambda _: None)
    finish(tools, job, "one", CLOSED)
    assert len(backtest_sample(monitor, ann, job_id, CLOSED).ids) == 5
    cancel(monitor, ann, request_backtest(monitor, ann, "candidate", (START, CLOSED), 5, CLOSED), CLOSED)
    assert claim(tools, "one", CLOSED) is None
    assert erase_predictions(monitor, root, [settled], CLOSED) == Erased(1, 0)
    assert {each.reviewer for each in days_of_work(monitor, root, START, CLOSED + HOUR, CLOSED)} == {"ann", "root"}
    sign_out(monitor, ann, CLOSED)
    with pytest.raises(UnauthorizedError):
        resume(monitor, ann.token, CLOSED)
    tools.dispose()
    monitor.dispose()


def test_maintenance_but_erasing_needs_the_owner(urls: dict[str, str]) -> None:
    tools = connect(urls["tools"])
    months = 2 * partitions.MONTHS_AHEAD
    with tools.connect() as connection, pytest.raises(ProgrammingError, match="permission denied|must be owner"):
        partitions.make_ahead(connection, datetime.now(UTC), months)
    long_after = datetime.now(UTC) + timedelta(days=1_000)
    with pytest.raises(ProgrammingError, match="permission denied|must be owner"):
        retention.delete_rows(tools, long_after, lambda _: None)
    tools.dispose()


def test_the_api_does_all_that_it_does_under_its_role(
    postgres_engine: Engine, urls: dict[str, str], tmp_path: Path
) -> None:
    tiny_registry(settings_in(tmp_path), tmp_path)
    token = make(postgres_engine, "site", "predict", "feedback", quota_per_minute=1_000)
    variables = environment(tmp_path / "state", DATABASE_URL=urls["api"], AUTH="on")
    log = tmp_path / "log"
    with running(variables | {"PGPASSWORD": os.environ.get("PGPASSWORD", "")}, log) as (url, _):
        with httpx.Client(base_url=url, headers=bearer(token), trust_env=False) as http:
            answer = http.post("/predict", json={"comment_text": "hello"}).raise_for_status().json()
            feedback = {"prediction_id": answer["id"], "agree": True}
            http.post("/feedback", json=feedback).raise_for_status()

            def arrived() -> bool:
                with postgres_engine.connect() as connection:
                    counts = "SELECT (SELECT count(*) FROM predictions), (SELECT count(*) FROM feedback)"
                    return tuple(connection.execute(text(counts)).one()) == (1, 1)

            wait_until(arrived)
            wait_until(lambda: keys.read(postgres_engine).keys[0].last_used_at is not None)
            assert http.get("/ready").json()["parts"]["keys"] == "ok"
    assert "permission denied" not in log.read_text()
    assert "ProgrammingError" not in log.read_text()


def failing_insert(engine: Engine, secret: str) -> None:
    """Insert while another session holds the table, until the time for that is over."""
    with engine.begin() as holder, engine.connect() as connection:
        holder.exec_driver_sql("LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(UnavailableError, match="lock timeout"):
            insert(connection, [prediction(text=secret)])


def test_a_comment_whose_insert_fails_is_not_in_the_servers_log() -> None:
    with own_cluster(binaries()) as postgres:
        owner = connect(postgres.url)
        migrate(owner)
        failing_insert(owner, "secret before")
        with owner.begin() as connection:
            for statement in statements():
                connection.exec_driver_sql(statement.replace("%", "%%"))
        owner.dispose()
        failing_insert(owner, "secret after")
        owner.dispose()
        log = postgres.log()
    assert "secret before" in log  # PostgreSQL's own default
    assert log.count("canceling statement due to lock timeout") == 2
    assert "secret after" not in log
