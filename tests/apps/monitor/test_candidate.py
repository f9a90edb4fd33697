"""What the estimator of a candidate is given, and what it makes of windows that are not alike."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, select, update

from apps.monitor.services import candidate
from moderation import clock
from moderation.db import log
from moderation.db.review_models import ReviewItem
from moderation.jobs.backtest import backtest_sample
from moderation.jobs.queue import jobs, request_backtest
from moderation.jobs.worker import Worker
from moderation.review.access import local_session
from moderation.review.draw import draw
from moderation.review.sample import live_sample, windows
from tests.apps.monitor.reviewed import CANDIDATE, site
from tests.apps.monitor.test_backtest_page import WEEK, AllToxic
from tests.moderation.db.records import prediction, version
from tests.moderation.jobs.test_jobs import shown
from tests.moderation.review.records import HOUR, NO, TOXIC, Lengths, policy


@pytest.mark.parametrize("hours", [6, 24, 48])
def test_the_plain_sample_is_taken_from_the_windows_whatever_their_length(engine: Engine, hours: int) -> None:
    """Ten predictions of a window score 0.1, ten after its end 0.9."""
    now, length = clock.now(), timedelta(hours=hours)
    day = int(now.timestamp()) // 86_400 - 4
    start = datetime.fromtimestamp((day - day % 2) * 86_400, UTC)  # windows of two days begin on even ones
    inside = [prediction(created_at=start + k * length / 10, text="comment 100") for k in range(10)]
    after = [prediction(created_at=start + length + k * HOUR / 10, text="comment 900") for k in range(10)]
    with engine.begin() as connection:
        log.record_version(connection, version())
        log.record_version(connection, version(version=CANDIDATE, name="candidate"))
        log.insert(connection, [*inside, *after], [])
    (drawn,) = draw(engine, policy(window_hours=hours, daily_budget=96), start + length + 2 * HOUR)
    assert (drawn.started_at, drawn.predictions) == (start, 10)
    session = local_session(engine, now)
    request_backtest(engine, session, CANDIDATE, (now - WEEK, now), 100, now)
    Worker(engine, policy(), lambda _: Lengths(), "one", shown).work()
    sample = backtest_sample(engine, session, jobs(engine, session, now)[0].id, now)
    live = live_sample(engine, session, now - WEEK, now, now)
    spans = [(row["started_at"], row["ended_at"]) for row in windows(engine, session, now - WEEK, now, now)]
    found = candidate.rescored(live, sample, sample.of(live.ids), spans)["toxic"]
    assert len(sample.ids) == 20
    assert found.others == pytest.approx(np.full(10, 0.1))


def test_a_window_that_is_half_reviewed_counts_as_much_as_one_that_is_done(engine: Engine) -> None:
    """All of the first day are toxic and none of the second, of which every other item has no answer."""
    site(engine, days=2, number=400, budget=160)
    now = clock.now()
    with engine.begin() as connection:
        rows = connection.execute(select(ReviewItem.id, ReviewItem.window_at).order_by(ReviewItem.place)).all()
        first = min(row.window_at for row in rows)
        for number, row in enumerate(rows):
            values: dict[str, object] = {"state": "done", "labels": TOXIC if row.window_at == first else NO}
            if row.window_at > first and number % 4 < 2:
                values = {"state": "unresolved", "labels": None}
            connection.execute(update(ReviewItem).where(ReviewItem.id == row.id).values(values))
    session = local_session(engine, now)
    request_backtest(engine, session, CANDIDATE, (now - WEEK, now), 500, now)
    Worker(engine, policy(), lambda _: AllToxic(), "one", shown).work()
    found = candidate.read(engine, session, jobs(engine, session, now)[0], now)
    assert found is not None
    assert found.replay.quality("toxic", 0.5).precision.value == pytest.approx(0.5, abs=0.06)  # unweighted, 0.67
