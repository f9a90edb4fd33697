"""The wall clock set ahead and back by hours while the server runs."""

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from moderation import clock
from moderation.db import keys
from moderation.db.models import Feedback, Prediction, Rollup
from moderation.db.rollups import PERIODS_S
from serve.model import Model
from tests.serve.keyed import bearer, make, served_with_keys
from tests.serve.server import Server, settings_in, wait_until

HELLO = {"comment_text": "hello"}
SET_TO_HOURS = (0, 5, -7, 2, -1, 0)
EACH = 4


class Wall:
    """A clock that is ``ahead`` of the machine's."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._now = clock.now

    def now(self) -> datetime:
        return self._now() + self.ahead


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr("moderation.clock.now", wall.now)
    return wall


def ask(server: Server, headers: dict[str, str]) -> httpx.Response:
    return server.http.post("/predict", json=HELLO, headers=headers)


def local_port(response: httpx.Response) -> int:
    """Return by which connection the newest response came."""
    return int(response.extensions["network_stream"].get_extra_info("client_addr")[1])


def test_every_prediction_is_logged_and_counted_once_at_the_hour_it_was_said_to_be(
    tmp_path: Path, model: Model, wall: Wall
) -> None:
    real_now = wall.now()
    answered: list[str] = []
    with served_with_keys(settings_in(tmp_path), model) as server:
        headers = bearer(make(server.engine, "site", "predict", "feedback"))
        for hours in SET_TO_HOURS:
            wall.ahead = timedelta(hours=hours)
            answered += [ask(server, headers).json()["id"] for _ in range(EACH)]
            for prediction_id in answered:  # some are from hours to come
                verdict = {"prediction_id": prediction_id, "agree": True}
                assert server.http.post("/feedback", json=verdict, headers=headers).status_code == 200
            assert server.http.get("/ready").status_code == 200
            assert server.outbox.oldest_age_s() < 60 + 13 * 3600
        wait_until(lambda: server.outbox.pending() == 0)
        assert server.outbox.oldest_age_s() == 0
        with server.engine.connect() as connection:
            rows = connection.execute(select(Prediction.id, Prediction.created_at)).all()
            verdicts = Counter(connection.scalars(select(Feedback.prediction_id)))
            counted = select(Rollup.period_s, func.sum(Rollup.predictions)).group_by(Rollup.period_s)
            rollups = {period_s: int(count) for period_s, count in connection.execute(counted)}
    assert sorted(row.id for row in rows) == sorted(answered)
    assert rollups == dict.fromkeys(PERIODS_S, len(answered))
    hours_ahead = Counter(round((row.created_at - real_now) / timedelta(hours=1)) for row in rows)
    assert hours_ahead == Counter(hours for hours in SET_TO_HOURS for _ in range(EACH))
    asked_about = range(len(SET_TO_HOURS), 0, -1)
    assert verdicts == {id_: asked_about[at // EACH] for at, id_ in enumerate(answered)}


def test_setting_the_clock_gives_nobody_more_than_the_quota(tmp_path: Path, model: Model, wall: Wall) -> None:
    with served_with_keys(settings_in(tmp_path), model) as server:
        headers = bearer(make(server.engine, "limited", "predict", quota_per_minute=3))
        statuses = []
        for hours in SET_TO_HOURS:
            wall.ahead = timedelta(hours=hours)
            statuses += [ask(server, headers).status_code for _ in range(3)]
    assert Counter(statuses) == {200: 3, 429: 3 * len(SET_TO_HOURS) - 3}


def test_a_key_stops_in_mid_connection_when_it_expires_or_is_revoked(
    tmp_path: Path, model: Model, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.keys.REFRESH_S", 0.05)
    with served_with_keys(settings_in(tmp_path), model) as server:
        lasting = bearer(make(server.engine, "lasting"))
        passing = bearer(make(server.engine, "passing", expires_at=wall.now() + timedelta(hours=1)))
        ports = {local_port(ask(server, headers)) for headers in (lasting, passing)}
        wall.ahead = timedelta(hours=2)
        wait_until(lambda: ask(server, passing).status_code == 401)
        assert ask(server, lasting).status_code == 200
        wall.ahead = timedelta(hours=-2)  # the database's clock, SQLite's being this one, says that it is not yet time
        wait_until(lambda: ask(server, passing).status_code == 200)
        with server.engine.begin() as connection:
            keys.revoke(connection, "lasting")
        wait_until(lambda: ask(server, lasting).status_code == 401)
        wall.ahead = timedelta(hours=-9)
        last = ask(server, lasting)
        assert last.status_code == 401  # a revocation knows no clock
        assert ports == {local_port(last)}  # one connection
