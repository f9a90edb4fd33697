"""Jobs: one worker's at a time, taken up where they were, and what a back-test leaves behind."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, func, select, update

from moderation.db.erasure import erase
from moderation.db.review_models import AuditEntry, BacktestScore
from moderation.db.review_models import Job as JobRow
from moderation.errors import BundleError, ForbiddenError, InvalidInputError, NotFoundError, UnavailableError
from moderation.jobs.backtest import TEXTS_AT_ONCE, backtest_sample, run
from moderation.jobs.queue import (
    LEASE,
    MAX_ATTEMPTS,
    Job,
    LostJobError,
    cancel,
    claim,
    finish,
    hold,
    jobs,
    request_backtest,
)
from moderation.jobs.worker import Worker, _signs_of_life
from moderation.labels import LABELS
from moderation.review.access import Session
from moderation.review.draw import draw
from moderation.review.history import audit_entries
from moderation.review.sample import live_sample
from tests.moderation.db.records import VERSION
from tests.moderation.review.records import CLOSED, DAY, START, Lengths, Scored, policy, signed_in, store, traffic

PERIOD = (START, START + DAY)


@contextmanager
def shown(_: Job) -> Iterator[Callable[[int], object]]:
    yield lambda _: None


@pytest.fixture
def ann(engine: Engine) -> Session:
    store(engine, [*traffic(200), *traffic(30, text=None)])
    return signed_in(engine, "ann")


def worker(engine: Engine, scorer: Lengths, name: str = "one") -> Worker:
    return Worker(engine, policy(), lambda _: scorer, name, shown)


def test_a_back_test_scores_a_random_sample_of_what_has_a_text(engine: Engine, ann: Session) -> None:
    job_id = request_backtest(engine, ann, "candidate", PERIOD, 150, CLOSED)
    scorer = Lengths()
    worker(engine, scorer).work()
    (job,) = jobs(engine, ann, CLOSED)
    assert (job.id, job.state, job.done, job.total, job.population) == (job_id, "done", 150, 150, 200)
    assert (job.created_by, job.error, job.arguments["version"]) == ("ann", None, "candidate")
    assert len(scorer.seen) == len(set(scorer.seen)) == 150
    found = backtest_sample(engine, ann, job_id, CLOSED)
    assert (found.population, found.missing, len(found.ids)) == (200, 0, 150)
    assert (found.logged == 0.25).all()
    assert sorted(found.candidate[:, 3]) == pytest.approx(sorted(int(text.split()[1]) / 1_000 for text in scorer.seen))
    assert set(found.versions) == {VERSION}
    assert worker(engine, scorer).work() is None


def test_a_job_of_a_killed_worker_is_taken_up_where_it_was(engine: Engine, ann: Session) -> None:
    job_id = request_backtest(engine, ann, "candidate", PERIOD, 200, CLOSED)
    killed, heir = Lengths(calls_left=2), Lengths()
    with pytest.raises(KeyboardInterrupt):
        worker(engine, killed, "killed").work()
    assert worker(engine, heir, "heir").work() is None  # its lease still runs
    with engine.begin() as connection:
        connection.execute(update(JobRow).values(leased_until=START))
    worker(engine, heir, "heir").work()
    assert jobs(engine, ann, CLOSED)[0].state == "done"
    assert len(killed.seen) == 2 * TEXTS_AT_ONCE
    assert len(heir.seen) == 200 - 2 * TEXTS_AT_ONCE
    assert set(killed.seen) & set(heir.seen) == set()
    assert len(backtest_sample(engine, ann, job_id, CLOSED).ids) == 200


def test_who_lost_a_job_writes_nothing_any_more(engine: Engine, ann: Session) -> None:
    request_backtest(engine, ann, "candidate", PERIOD, 100, CLOSED)
    old = claim(engine, "old", CLOSED)
    assert old is not None
    assert claim(engine, "new", CLOSED + LEASE) is None
    new = claim(engine, "new", CLOSED + 2 * LEASE)
    assert new is not None
    assert new.id == old.id
    with pytest.raises(LostJobError):
        run(engine, old, "old", Lengths(), lambda _: None)
    with pytest.raises(LostJobError):
        finish(engine, old, "old", CLOSED)
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(BacktestScore)) == 0
    run(engine, new, "new", Lengths(), lambda _: None)


def test_workers_that_ask_at_once_get_different_jobs(engine: Engine, ann: Session) -> None:
    wanted = {request_backtest(engine, ann, "candidate", PERIOD, 5, CLOSED) for _ in range(8)}
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda k: claim(engine, f"w{k}", CLOSED), range(12)))
    assert sorted(job.id for job in got if job) == sorted(wanted)


def test_a_job_that_kills_its_workers_fails_in_the_end(engine: Engine, ann: Session) -> None:
    request_backtest(engine, ann, "candidate", PERIOD, 5, CLOSED)
    for attempt in range(MAX_ATTEMPTS):
        assert claim(engine, "w", CLOSED + attempt * 2 * LEASE) is not None
    assert claim(engine, "w", CLOSED + MAX_ATTEMPTS * 2 * LEASE) is None
    (job,) = jobs(engine, ann, CLOSED)
    assert (job.state, job.attempts) == ("failed", MAX_ATTEMPTS)
    assert "begun 3 times without getting further" in str(job.error)
    with engine.connect() as connection:
        ended = select(AuditEntry.reviewer, AuditEntry.subject).where(AuditEntry.action == "job failed")
        assert connection.execute(ended).all() == [("system:worker", job.id)]


def test_a_job_that_gets_further_each_time_may_be_begun_often(engine: Engine, ann: Session) -> None:
    request_backtest(engine, ann, "candidate", PERIOD, 200, CLOSED)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            worker(engine, Lengths(calls_left=1)).work()
        with engine.begin() as connection:
            connection.execute(update(JobRow).values(leased_until=START))
    worker(engine, Lengths()).work()
    assert jobs(engine, ann, CLOSED)[0].state == "done"


def test_every_drawn_item_is_scored_too_and_stays_out_of_the_random_sample(engine: Engine, ann: Session) -> None:
    draw(engine, policy(daily_budget=60), CLOSED)
    job_id = request_backtest(engine, ann, "candidate", PERIOD, 50, CLOSED)
    scorer = Lengths()
    worker(engine, scorer).work()
    (job,) = jobs(engine, ann, CLOSED)
    found = backtest_sample(engine, ann, job_id, CLOSED)
    drawn = live_sample(engine, ann, *PERIOD, CLOSED).ids
    assert (len(found.ids), len(drawn), set(found.scored)) == (50, 60, {*found.ids.tolist(), *drawn.tolist()})
    assert job.total == job.done == len(found.scored) == len(scorer.seen)
    assert not np.isnan(found.of(drawn)).any()
    np.testing.assert_array_equal(found.of(found.ids), found.candidate)


def test_an_item_whose_text_was_erased_has_no_scores(engine: Engine, ann: Session) -> None:
    draw(engine, policy(daily_budget=60), CLOSED)
    gone = live_sample(engine, ann, *PERIOD, CLOSED).ids[:7].tolist()
    erase(engine, ids=gone)
    job_id = request_backtest(engine, ann, "candidate", PERIOD, 50, CLOSED)
    worker(engine, Lengths()).work()
    found = backtest_sample(engine, ann, job_id, CLOSED)
    drawn = live_sample(engine, ann, *PERIOD, CLOSED).ids
    assert set(drawn[np.isnan(found.of(drawn)).all(axis=1)]) == set(gone)
    assert np.isnan(found.of(np.array(["0" * 32]))).all()
    assert (found.population, found.missing, len(found.ids)) == (193, 0, 50)


def test_a_cancelled_job_stops_and_is_taken_by_nobody(engine: Engine, ann: Session) -> None:
    job_id = request_backtest(engine, ann, "candidate", PERIOD, 200, CLOSED)

    class Cancels(Lengths):
        def score(self, texts: Sequence[str]) -> Scored:
            if len(self.seen) == TEXTS_AT_ONCE:
                cancel(engine, ann, job_id, CLOSED)
            return super().score(texts)

    scorer = Cancels()
    worker(engine, scorer).work()
    (job,) = jobs(engine, ann, CLOSED)
    assert (job.state, job.done, len(scorer.seen)) == ("cancelled", TEXTS_AT_ONCE, 2 * TEXTS_AT_ONCE)
    assert claim(engine, "other", CLOSED + 2 * LEASE) is None
    with pytest.raises(InvalidInputError, match="is cancelled; expected one that is waiting or running"):
        cancel(engine, ann, job_id, CLOSED)
    actions = [entry.action for entry in audit_entries(engine, signed_in(engine, "root", "admin"), CLOSED)]
    assert "cancel job" in actions


def test_only_who_asked_or_an_admin_cancels(engine: Engine, ann: Session) -> None:
    job_id = request_backtest(engine, ann, "candidate", PERIOD, 5, CLOSED)
    with pytest.raises(ForbiddenError, match="is ann's"):
        cancel(engine, signed_in(engine, "bob"), job_id, CLOSED)
    cancel(engine, signed_in(engine, "root", "admin"), job_id, CLOSED)
    assert claim(engine, "one", CLOSED) is None


def test_who_lost_a_job_stops_giving_signs_of_life_without_a_word(
    engine: Engine, ann: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request_backtest(engine, ann, "candidate", PERIOD, 5, CLOSED)
    old = claim(engine, "old", CLOSED)
    assert old is not None
    assert claim(engine, "new", CLOSED + 2 * LEASE) is not None
    monkeypatch.setattr("moderation.jobs.worker.LEASE", timedelta(seconds=0.03))
    with _signs_of_life(engine, old, "old"):
        time.sleep(0.2)  # an error in the thread would be a warning, and that an error
    assert caplog.records == []


def test_a_version_that_cannot_be_loaded_is_said(engine: Engine, ann: Session) -> None:
    def load(version: str) -> Lengths:
        raise BundleError(f"{version} is corrupt")

    request_backtest(engine, ann, "candidate", PERIOD, 5, CLOSED)
    Worker(engine, policy(), load, "one", shown).work()
    (job,) = jobs(engine, ann, CLOSED)
    assert (job.state, job.error) == ("failed", "candidate is corrupt")


def test_a_job_waits_for_a_database_that_went_away(engine: Engine, ann: Session) -> None:
    def load(_: str) -> Lengths:
        raise UnavailableError("away")

    request_backtest(engine, ann, "candidate", PERIOD, 5, CLOSED)
    with pytest.raises(UnavailableError):
        Worker(engine, policy(), load, "one", shown).work()
    assert jobs(engine, ann, CLOSED)[0].state == "running"


def test_what_was_erased_meanwhile_is_counted_and_not_scored(engine: Engine, ann: Session) -> None:
    job_id = request_backtest(engine, ann, "candidate", PERIOD, 200, CLOSED)
    killed, heir = Lengths(calls_left=1), Lengths()
    with pytest.raises(KeyboardInterrupt):
        worker(engine, killed).work()
    with engine.connect() as connection:
        left = list(connection.scalars(select(BacktestScore.prediction_id).where(~BacktestScore.scored)))
    erase(engine, ids=left[:10])
    with engine.begin() as connection:
        connection.execute(update(JobRow).values(leased_until=START))
    worker(engine, heir).work()
    found = backtest_sample(engine, ann, job_id, CLOSED)
    assert (len(found.ids), found.missing) == (190, 10)
    assert jobs(engine, ann, CLOSED)[0].done == 200


def test_an_empty_period_is_done_at_once(engine: Engine, ann: Session) -> None:
    job_id = request_backtest(engine, ann, "candidate", (START - 2 * DAY, START - DAY), 10, CLOSED)
    worker(engine, Lengths()).work()
    found = backtest_sample(engine, ann, job_id, CLOSED)
    assert (found.population, found.candidate.shape) == (0, (0, len(LABELS)))


def test_a_lease_is_renewed_by_signs_of_life(engine: Engine, ann: Session) -> None:
    request_backtest(engine, ann, "candidate", PERIOD, 5, CLOSED)
    job = claim(engine, "one", CLOSED)
    assert job is not None
    with engine.begin() as connection:
        hold(connection, job, "one", CLOSED + LEASE)
    assert claim(engine, "two", CLOSED + LEASE + timedelta(seconds=1)) is None


@pytest.mark.parametrize(
    ("period", "size", "message"),
    [
        ((CLOSED, START), 5, "expected an earlier and a later time"),
        ((datetime(2026, 3, 1), datetime(2026, 3, 2)), 5, "with time zones"),  # noqa: DTZ001
        (PERIOD, 0, "sample size is 0; expected 1 to"),
        (PERIOD, 10_000_000, "sample size is 10000000"),
    ],
)
def test_a_request_that_cannot_be_is_refused(engine: Engine, period: object, size: int, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        request_backtest(engine, signed_in(engine, "ann"), "candidate", period, size, CLOSED)  # type: ignore[arg-type]


def test_viewers_look_on(engine: Engine) -> None:
    vic = signed_in(engine, "vic", "viewer")
    with pytest.raises(ForbiddenError, match="needs reviewer"):
        request_backtest(engine, vic, "candidate", PERIOD, 5, CLOSED)
    assert jobs(engine, vic, CLOSED) == []
    with pytest.raises(NotFoundError, match="no job"):
        backtest_sample(engine, vic, "00000000-0000-4000-8000-000000000000", CLOSED)
