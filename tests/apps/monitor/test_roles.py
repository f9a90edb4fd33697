"""What pages read is refused below them, whatever a page believes of who looks."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from apps.monitor.services import backtest, drift, lineage, people, quality, shadow
from apps.monitor.services.snapshot import TIME_RANGES, take_snapshot
from moderation import clock
from moderation.db.log import record_version
from moderation.errors import ForbiddenError, UnauthorizedError
from moderation.jobs.queue import jobs
from moderation.review import accounts
from moderation.review.access import Session, sign_out
from moderation.review.data import erase_predictions, export_archive
from moderation.review.history import audit_entries, newest_entry, queue_counts
from tests.apps.monitor.reviewing import add, session_of
from tests.moderation.db.records import version

NOW, WEEK = clock.now(), timedelta(days=7)
Read = Callable[[Engine, Session], object]
FOR_VIEWERS: dict[str, Read] = {
    "overview": lambda engine, session: take_snapshot(engine, session, TIME_RANGES[0], NOW),
    "drift": lambda engine, session: drift.read(engine, session, version(), NOW),
    "shadow": lambda engine, session: shadow.read(engine, session, WEEK, NOW),
    "versions": lambda engine, session: lineage.versions(engine, session, NOW),
    "lineage": lambda engine, session: lineage.lineage(engine, session, version(), NOW),
    "moves": lambda engine, session: lineage.moves_frame(engine, session, NOW),
    "quality": lambda engine, session: quality.read(engine, session, 1, NOW),
    "back-test": lambda engine, session: backtest.versions_with_samples(engine, session, WEEK, NOW),
    "jobs": lambda engine, session: jobs(engine, session, NOW),
    "queue": lambda engine, session: queue_counts(engine, session, NOW),
    "newest entry": lambda engine, session: newest_entry(engine, session, NOW),
}
FOR_REVIEWERS: dict[str, Read] = {
    "people": lambda engine, session: people.read_people(engine, session, WEEK, NOW),
}
FOR_ADMINS: dict[str, Read] = {
    "audit log": lambda engine, session: audit_entries(engine, session, NOW),
    "export": lambda engine, session: export_archive(engine, session, "reviews", NOW - WEEK, NOW, NOW),
    "erase": lambda engine, session: erase_predictions(engine, session, ["0" * 32], NOW),
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database will do: who may what is tested on both elsewhere."""
    return sqlite_url


@pytest.fixture
def vic(engine: Engine) -> Session:
    """A viewer, at a site that has a version."""
    with engine.begin() as connection:
        record_version(connection, version())
    add(engine, "vic", role="viewer")
    return session_of(engine, "vic")


def test_viewers_read_what_is_for_them_and_nothing_else(engine: Engine, vic: Session) -> None:
    for read in FOR_VIEWERS.values():
        read(engine, vic)
    for read in (FOR_REVIEWERS | FOR_ADMINS).values():
        with pytest.raises(ForbiddenError, match="has role viewer; this needs"):
            read(engine, vic)


def test_nobody_reads_after_signing_out_or_being_disabled(engine: Engine, vic: Session) -> None:
    other = session_of(engine, "vic")
    sign_out(engine, vic, NOW)
    accounts.disable(engine, "vic", NOW, "cli:me")
    for read in (FOR_VIEWERS | FOR_REVIEWERS | FOR_ADMINS).values():
        with pytest.raises(UnauthorizedError, match="has ended"):
            read(engine, vic)
        with pytest.raises(ForbiddenError, match="is disabled"):
            read(engine, other)
