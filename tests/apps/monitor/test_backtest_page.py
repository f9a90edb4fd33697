from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, event, select
from streamlit.testing.v1 import AppTest

from apps.monitor.services import backtest, candidate
from apps.monitor.services.backtest import Replay
from moderation import clock
from moderation.db import log
from moderation.db.review_models import ReviewItem
from moderation.errors import InvalidInputError
from moderation.jobs.queue import jobs, request_backtest
from moderation.jobs.worker import Worker
from moderation.policy import LabelThresholds
from moderation.review.access import local_session
from tests.apps.monitor.reviewed import CANDIDATE, site
from tests.apps.pages import open_page, parsed_texts
from tests.moderation.db.records import VERSION, prediction, version
from tests.moderation.jobs.test_jobs import shown
from tests.moderation.review.records import Scored, policy

WEEK = timedelta(days=7)
SLIDER = f"threshold-toxic-{VERSION}"


class AllToxic:
    def score(self, texts: Any) -> Scored:
        return Scored(np.tile(np.array([0.7, 0, 0, 0, 0, 0], dtype=np.float32), (len(texts), 1)))


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def replay(engine: Engine, **of_site: Any) -> Replay:
    site(engine, **of_site)
    now = clock.now()
    found = backtest.read(engine, local_session(engine, now), version(), WEEK, now)
    assert found is not None
    return found


def test_moving_a_threshold_changes_decisions_volumes_and_quality(monitor: AppTest, engine: Engine) -> None:
    site(engine)
    at = open_page(monitor, "back-test")
    assert not at.exception
    assert not at.error
    before = metrics(at)
    assert before["Decisions that change"] == "0.00 %"
    at.select_slider(key=f"{SLIDER}-0").set_value((0.3, 0.9)).run()
    assert not at.exception
    after = metrics(at)
    assert float(after["Decisions that change"].split()[0]) > 0
    assert int(after["Reviews a day"]) > int(before["Reviews a day"])
    assert after["Removals a day"] == before["Removals a day"]
    frame = next(each.value for each in at.dataframe if "thresholds" in each.value)
    recall = frame[(frame["label"] == "toxic") & (frame["figure"] == "Recall")].set_index("thresholds")["value"]
    assert recall["then"] > recall["as it was"]
    at.button[0].click().run()  # back to those in force
    assert metrics(at) == before


def test_the_solver_moves_the_sliders_until_the_budget_is_kept(monitor: AppTest, engine: Engine) -> None:
    site(engine)
    at = open_page(monitor, "back-test")
    most = 0.5 * int(metrics(at)["Reviews a day"])
    at.number_input(key="most").set_value(most)
    next(button for button in at.button if button.label == "Find").click().run()
    assert not at.exception
    assert int(metrics(at)["Reviews a day"]) <= most
    assert at.select_slider(key=f"{SLIDER}-1").value[0] > 0.5


def test_everything_drawn_is_exact(engine: Engine) -> None:
    found = replay(engine, days=1, number=100, budget=100)
    lower = found.thresholds | {"toxic": LabelThresholds(0.2, 0.9)}
    caused = backtest.outcome(found, lower)
    toxic = found.scores[:, 0]
    assert caused.reviews_per_day.value == pytest.approx(((toxic >= 0.2) & (toxic < 0.9)).sum())
    assert caused.reviews_per_day.low == pytest.approx(caused.reviews_per_day.high)
    assert caused.transitions.tolist()[0] == [(toxic < 0.2).sum(), ((toxic >= 0.2) & (toxic < 0.5)).sum(), 0]


def test_a_sample_stands_for_the_day_within_its_interval(engine: Engine) -> None:
    found = replay(engine)
    assert found.per_day == 400
    caused = backtest.outcome(found, found.thresholds)
    generator = np.random.default_rng(5)
    toxic = np.concatenate([generator.beta(0.35, 1.5, 400) for _ in range(2)])
    assert caused.reviews_per_day.low <= ((toxic >= 0.5) & (toxic < 0.9)).sum() / 2 <= caused.reviews_per_day.high
    moved = found.quality("toxic", 0.3)
    assert moved.precision.low <= toxic[toxic >= 0.3].mean() <= moved.precision.high


def test_texts_held_for_their_length_stay_reviews_and_count_against_the_budget(engine: Engine) -> None:
    found = replay(engine, days=1, number=50, budget=50)
    held = replace(found, held=found.scores[:, 0] < 0.1)
    held_number = int(held.held.sum())
    with pytest.raises(InvalidInputError, match="not read to their end"):
        backtest.for_reviews(held, held.thresholds, held_number - 1)
    kept = backtest.for_reviews(held, held.thresholds, held_number + 3)
    assert backtest.outcome(held, kept).reviews_per_day.value <= held_number + 3 + 1e-6


def test_thresholds_for_false_positives_keep_to_them_by_the_scores(engine: Engine) -> None:
    found = replay(engine)
    kept = backtest.for_false_positives(found, found.thresholds, 0.01)
    limit = kept["toxic"].review
    assert limit is not None
    negative = found.weights * (1 - found.scores[:, 0])
    assert negative[found.scores[:, 0] >= limit].sum() / negative.sum() <= 0.01
    assert limit > 0.5


def other_version(at: AppTest) -> AppTest:
    """Open the tab of candidates."""
    at.session_state["back_tab"] = "Another version"
    return at.run()


def ask(at: AppTest, size: int) -> None:
    names = at.selectbox(key="candidate_version").options
    at.selectbox(key="candidate_version").set_value(next(each for each in names if CANDIDATE[:12] in each))
    at.number_input(key="sample_size").set_value(size)
    next(button for button in at.button if button.label == "Ask for it").click().run()
    assert not at.exception


def jobs_shown(at: AppTest) -> pd.DataFrame:
    return next(each.value for each in at.dataframe if "Scored" in each.value)


def test_a_candidate_is_asked_for_scored_and_compared(monitor: AppTest, engine: Engine) -> None:
    site(engine, days=1, number=300, budget=200)
    at = other_version(open_page(monitor, "back-test"))
    ask(at, 100)
    assert list(jobs_shown(at).loc[0, ["By", "State", "Scored", "Candidate"]]) == ["local", "waiting", 0.0, CANDIDATE]
    Worker(engine, policy(), lambda _: AllToxic(), "one", shown).work()
    at.run()
    assert not at.exception
    assert list(jobs_shown(at).loc[0, ["State", "Scored"]]) == ["done", 1.0]
    assert "100 texts drawn at random" in parsed_texts(at)
    assert "200 of 200 texts drawn for review" in parsed_texts(at)
    assert metrics(at)["Reviews a day"] == "300"  # it reviews everything
    frame = next(each.value for each in at.dataframe if "thresholds" in each.value)
    toxic = frame[frame["label"] == "toxic"].set_index(["figure", "thresholds"])
    assert toxic.loc[("Precision", "candidate"), "high"] < toxic.loc[("Precision", "in service"), "low"]
    assert toxic.loc[("Precision", "candidate"), "reviews"] > 100
    assert "0.0 missed positives" in toxic.loc[("Recall", "candidate"), "why not"]  # all are predicted


def test_a_candidates_figures_are_those_of_its_reviews(engine: Engine) -> None:
    site(engine, days=2, number=400, budget=400, labelled=1.0)
    now = clock.now()
    session = local_session(engine, now)
    request_backtest(engine, session, CANDIDATE, (now - WEEK, now), 500, now)
    Worker(engine, policy(), lambda _: AllToxic(), "one", shown).work()
    found = candidate.read(engine, session, jobs(engine, session, now)[0], now)
    assert found is not None
    assert (found.compared, found.items, found.unscored) == (500, 800, 0)
    with engine.connect() as connection:
        truth = [row["toxic"] for row in connection.scalars(select(ReviewItem.labels))]
    precision = found.replay.quality("toxic", 0.5).precision
    assert precision.value == pytest.approx(np.mean(truth))  # everything was drawn and labelled
    assert found.replay.quality("toxic", 0.8).precision.refusal == "nothing was predicted"
    lower = found.replay.thresholds | {"toxic": LabelThresholds(0.5, 0.6)}
    with pytest.raises(InvalidInputError, match="removals alone"):
        backtest.for_false_positives(found.replay, lower, 0.01)
    kept = backtest.for_reviews(found.replay, found.replay.thresholds, 0)
    assert backtest.outcome(found.replay, kept).reviews_per_day.value == 0


def test_volumes_are_those_of_all_traffic_per_day_that_has_some(engine: Engine) -> None:
    """Another version served on two of the three days since the site is there."""
    now = clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    earlier = [
        prediction(created_at=midnight - timedelta(days=day, hours=-k), version=CANDIDATE)
        for day in (2, 3)
        for k in range(15)
    ]
    with engine.begin() as connection:
        log.record_version(connection, version(version=CANDIDATE, name="candidate"))
        log.insert(connection, earlier, [])
    found = replay(engine, days=1, number=60, budget=60)
    assert found.per_day == pytest.approx((15 + 15 + 60) / 3)
    session = local_session(engine, now)
    request_backtest(engine, session, CANDIDATE, (now - WEEK, now), 100, now)
    Worker(engine, policy(), lambda _: AllToxic(), "one", shown).work()
    other = candidate.read(engine, session, jobs(engine, session, now)[0], now)
    assert other is not None
    assert other.replay.per_day == pytest.approx(found.per_day)


def test_a_job_is_cancelled_on_the_page(monitor: AppTest, engine: Engine) -> None:
    site(engine, days=1, number=50, budget=10)
    at = other_version(open_page(monitor, "back-test"))
    ask(at, 100)
    next(button for button in at.button if button.label.startswith("Cancel")).click().run()
    assert not at.exception
    assert jobs_shown(at).loc[0, "State"] == "cancelled"
    assert not [button for button in at.button if button.label.startswith("Cancel")]
    assert Worker(engine, policy(), lambda _: AllToxic(), "one", shown).work() is None


def test_the_jobs_are_read_once_for_a_page(monitor: AppTest, engine: Engine) -> None:
    site(engine, days=1, number=50, budget=10)
    at = other_version(open_page(monitor, "back-test"))
    ask(at, 100)
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    at.run()
    event.remove(Engine, "before_cursor_execute", note)
    assert len(jobs_shown(at)) == 1
    assert len([each for each in asked if "FROM jobs" in each]) == 1


def test_an_empty_database_says_what_to_do(monitor: AppTest, engine: Engine) -> None:
    at = open_page(monitor, "back-test")
    assert not at.exception
    said = parsed_texts(at)
    assert "No prediction was drawn in this range" in said
    assert "No version is recorded yet" in parsed_texts(other_version(at))


def test_steps_hold_what_is_in_force_and_never() -> None:
    found = backtest.steps(LabelThresholds(0.123, None))
    assert 0.123 in found
    assert 0.5 in found
    assert found[-1] == backtest.NEVER
    assert found == sorted(found)
