"""What is refused or fails is counted and logged; where the outbox is full, later."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine

from moderation import clock
from moderation.db import queries
from moderation.db.database import connect
from moderation.db.log import FailureRecord
from moderation.errors import OverloadedError
from moderation.settings import ApiSettings
from serve.failures import Failures
from serve.model import Model
from tests.moderation.db.records import NOON
from tests.serve.server import served

MINUTE = timedelta(minutes=1)


class Log:
    def __init__(self) -> None:
        self.full = False
        self.records: list[FailureRecord] = []

    async def append(self, records: Sequence[FailureRecord]) -> None:
        if self.full:
            raise OverloadedError("full", retry_after_s=1)
        self.records += records

    def said(self) -> list[tuple[str, int, int]]:
        found = sorted((each.route, each.status, each.number) for each in self.records)
        self.records.clear()
        return found


class Counted:
    """Failures whose clock the test sets."""

    def __init__(self) -> None:
        self.now = NOON
        self.log = Log()
        self.failures = Failures(lambda: self.now)

    def flush(self, all_: bool = False) -> list[tuple[str, int, int]]:
        asyncio.run(self.failures.flush(self.log.append, all_))
        return self.log.said()


def test_a_minute_is_logged_once_it_is_over() -> None:
    one = Counted()
    for status in (200, 204, 304, 503, 503, 429):
        one.failures.count("/predict", status)
    one.failures.count("connection", 503)
    assert one.flush() == []
    one.now += MINUTE
    one.failures.count("/predict", 503)
    assert one.flush() == [("/predict", 429, 1), ("/predict", 503, 2), ("connection", 503, 1)]
    assert one.flush() == []
    assert one.flush(all_=True) == [("/predict", 503, 1)]


def test_a_record_has_the_time_of_its_last_failure() -> None:
    one = Counted()
    for seconds in (1, 20):
        one.now = NOON + timedelta(seconds=seconds)
        one.failures.count("/predict", 500)
    one.now = NOON + MINUTE
    asyncio.run(one.failures.flush(one.log.append))
    assert [each.created_at for each in one.log.records] == [NOON + timedelta(seconds=20)]


def test_what_cannot_be_logged_is_logged_later_and_once() -> None:
    one = Counted()
    one.failures.count("/predict", 503)
    one.now += MINUTE
    one.log.full = True
    assert one.flush() == []
    one.failures.count("/predict", 503)
    one.now += MINUTE
    one.log.full = False
    assert one.flush() == [("/predict", 503, 1), ("/predict", 503, 1)]  # of two minutes
    assert one.flush(all_=True) == []


def test_what_a_server_refused_is_in_the_database_when_it_has_stopped(
    settings: ApiSettings, model: Model, tmp_path: Path
) -> None:
    own = settings.model_copy(update={"state_dir": tmp_path / "state"})
    start = clock.now() - MINUTE
    with served(own, model) as server:
        assert server.http.post("/predict", json={}).status_code == 422
        assert server.http.post("/predict", json={"comment_text": ""}).status_code == 400
        assert server.http.post("/predict", json={"comment_text": "hello"}).status_code == 200
        assert server.http.get("/nothing").status_code == 404
    engine: Engine = connect(own.resolved_database_url())
    found = [each.statuses for each in queries.failures(engine, start, clock.now() + MINUTE, 86_400)]
    engine.dispose()
    assert found == [{400: 1, 404: 1, 422: 1}]
