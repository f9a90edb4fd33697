"""Figures from a hot standby, while everything that is written goes to the primary."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
import streamlit as st
from sqlalchemy import Engine
from streamlit import config
from streamlit.testing.v1 import AppTest

from apps.monitor.services.replica import committed_until, open_replica
from moderation.db.database import connect, migrate
from moderation.errors import ConfigurationError
from tests.apps.monitor.records import fill, prediction
from tests.apps.monitor.reviewing import add, enter, press, verdicts, waiting
from tests.apps.pages import open_page, page, parsed_texts
from tests.postgres import Cluster, binaries, own_cluster
from tests.serve.server import wait_until


@pytest.fixture(scope="module")
def clusters() -> Iterator[tuple[Cluster, Cluster]]:
    with own_cluster(binaries()) as primary, primary.standby() as replica:
        yield primary, replica


@pytest.fixture
def primary(clusters: tuple[Cluster, Cluster]) -> Iterator[Engine]:
    engine = connect(clusters[0].url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    migrate(engine)
    add(engine, "ann")
    yield engine
    engine.dispose()


@pytest.fixture
def replica(clusters: tuple[Cluster, Cluster], primary: Engine) -> Iterator[Engine]:
    engine = open_replica(clusters[1].url)
    wait_until(lambda: is_current(primary, engine))
    yield engine
    engine.dispose()


@pytest.fixture
def monitor(clusters: tuple[Cluster, Cluster], monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    monkeypatch.setenv("MODERATION_DATABASE_URL", clusters[0].url)
    monkeypatch.setenv("MODERATION_READ_DATABASE_URL", clusters[1].url)
    config.set_option("server.address", "127.0.0.1")
    yield page("monitor")
    config.set_option("server.address", None)
    st.cache_resource.clear()
    st.cache_data.clear()


def is_current(primary: Engine, replica: Engine) -> bool:
    return not committed_until(primary, replica)[1]


@contextmanager
def standing_still(replica: Engine) -> Iterator[None]:
    """Let the replica replay nothing meanwhile."""
    with replica.connect() as connection:
        connection.exec_driver_sql("SELECT pg_wal_replay_pause()")
        wait_until(lambda: connection.exec_driver_sql("SELECT pg_get_wal_replay_pause_state()").scalar() == "paused")
    try:
        yield
    finally:
        with suppress(Exception), replica.connect() as connection:
            connection.exec_driver_sql("SELECT pg_wal_replay_resume()")


def predictions(at: AppTest) -> str:
    assert not at.exception
    return next(metric.value for metric in at.metric if metric.label == "Predictions")


def signed_in(at: AppTest, primary: Engine, replica: Engine) -> AppTest:
    enter(at.run(), "ann")
    wait_until(lambda: is_current(primary, replica))
    return at.run()


def test_figures_are_the_replicas_with_their_age_and_verdicts_go_to_the_primary(
    monitor: AppTest, primary: Engine, replica: Engine
) -> None:
    waiting(primary, ["You are vermin."])
    fill(primary, [prediction("You again.")])
    at = signed_in(monitor, primary, replica)
    assert "the read replica, which is up to date" in parsed_texts(at)
    shown = predictions(at)
    with standing_still(replica):
        fill(primary, [prediction("Thank you."), prediction("hi")])
        at = at.run()
        assert predictions(at) == shown
        assert "what was committed until" in parsed_texts(at)
        at = open_page(at, "review-queue")
        assert not at.exception
        press(at, "Submit: none of them")
        assert [(who, how) for who, how, _ in verdicts(primary)] == [("ann", "labels")]
        assert verdicts(replica) == []
    wait_until(lambda: is_current(primary, replica))
    assert predictions(open_page(at, "overview")) == str(int(shown) + 2)


def test_a_sign_in_that_the_replica_does_not_know_yet_reads_the_primary(
    monitor: AppTest, primary: Engine, replica: Engine
) -> None:
    with standing_still(replica):
        fill(primary, [prediction("Thank you.")])
        at = enter(monitor.run(), "ann")
        assert predictions(at) == "1"
        assert "until the read replica knows this sign-in" in parsed_texts(at)


def test_how_far_a_replica_is_behind_is_counted_from_what_it_lacks(primary: Engine, replica: Engine) -> None:
    begun = datetime.now(UTC)
    with standing_still(replica):
        fill(primary, [prediction("Thank you.")])
        until, behind = committed_until(primary, replica)
        assert timedelta(0) < behind < datetime.now(UTC) - begun + timedelta(minutes=1)
        assert until < datetime.now(UTC)
    wait_until(lambda: is_current(primary, replica))


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_no_replica_is_refused(
    monitor: AppTest, primary: Engine, clusters: tuple[Cluster, Cluster], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    wrong = (clusters[0].url, "sqlite:///elsewhere.db")[number]
    monkeypatch.setenv("MODERATION_READ_DATABASE_URL", wrong)
    at = enter(monitor.run(), "ann")
    assert not at.exception
    said = "\n".join(each.value for each in at.text)
    assert "expected a hot standby" in said
    if number == 0:  # the figures are there all the same
        assert "No predictions yet" in at.info[0].value


def test_a_database_that_has_no_replicas_is_said_to_have_none(replica: Engine, sqlite_url: str) -> None:
    with pytest.raises(ConfigurationError, match="the database itself is sqlite"):
        committed_until(connect(sqlite_url), replica)


def test_figures_come_from_the_primary_while_the_replica_is_away(
    monitor: AppTest, primary: Engine, replica: Engine, clusters: tuple[Cluster, Cluster]
) -> None:
    fill(primary, [prediction("Thank you.")])
    at = signed_in(monitor, primary, replica)
    replica.dispose()
    clusters[1].stop()
    try:
        for _ in ("found usable less than ten seconds ago", "known to be away"):
            at = at.run()
            assert predictions(at) == "1"
            assert "the read replica cannot be used" in parsed_texts(at)
            assert "MODERATION_READ_DATABASE_URL" in "\n".join(each.value for each in at.text)
    finally:
        clusters[1].start()
