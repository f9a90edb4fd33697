from datetime import timedelta

import pytest
from sqlalchemy import Engine, event, update
from streamlit.testing.v1 import AppTest

from apps.monitor.services import quality
from moderation import clock
from moderation.db.review_models import ReviewItem
from moderation.labels import LABELS
from moderation.review.access import local_session
from moderation.review.sample import LiveSample
from tests.apps.monitor.reviewed import site
from tests.apps.pages import charts, open_page, parsed_texts
from tests.moderation.db.records import VERSION


def sample(engine: Engine) -> LiveSample:
    now = clock.now()
    return quality.read(engine, local_session(engine, now), 4, now)


def test_figures_come_with_intervals_reviews_and_what_is_not_known(monitor: AppTest, engine: Engine) -> None:
    site(engine)
    at = open_page(monitor, "live-quality")
    assert not at.exception
    assert not at.error
    basis = {metric.label: metric.value for metric in at.metric}
    assert basis["Drawn for review"] == "240"
    assert int(basis["Labelled"]) + round(float(basis["Non-response"].split()[0]) * 2.4) == 240
    assert (basis["Waiting"], basis["Excluded traffic"]) == ("0", "0.0 %")
    frame = at.dataframe[0].value
    assert len(frame) == 6 * 7 + 1
    toxic = frame[(frame["label"] == "toxic") & (frame["figure"] == "Recall")].iloc[0]
    assert toxic["low"] < toxic["value"] < toxic["high"]
    assert toxic["reviews"] == int(basis["Labelled"])
    threat = frame[(frame["label"] == "threat") & (frame["figure"] == "Recall")].iloc[0]
    assert threat[["value", "low", "high"]].isna().all()
    assert "missed positives can be expected" in threat["why not"]
    said = parsed_texts(at)
    assert "not known yet" in said
    assert "Reviewers are taken to be right" in said
    assert "The exact match is never corrected" in said
    assert charts(at) == 2
    at.toggle(key="compare").set_value(True).run()
    assert not at.exception
    assert charts(at) == 3


def test_the_truth_lies_in_the_intervals_and_reviews_agree_with_calibrated_scores(engine: Engine) -> None:
    site(engine)
    found = quality.estimate(sample(engine))
    toxic = found.labels["toxic"]
    # Labels were drawn by the scores, Beta(0.35, 1.5): their mean is the prevalence.
    assert toxic.prevalence.low < 0.35 / 1.85 < toxic.prevalence.high
    assert 0.7 < toxic.auc.value < 1
    assert found.exact.low < found.exact.value < found.exact.high
    assert "toxic" not in " ".join(quality.alarms(found))


def test_scores_that_lie_raise_the_alarm(monitor: AppTest, engine: Engine) -> None:
    site(engine, labelled=1.0)
    with engine.begin() as connection:  # people find nothing toxic
        connection.execute(update(ReviewItem).values(labels=dict.fromkeys(LABELS, False)))
    at = open_page(monitor, "live-quality")
    assert any("Reviews contradict the scores: toxic: prevalence" in each.value for each in at.warning)


def test_it_can_be_cut_by_version_and_compared_by_week(monitor: AppTest, engine: Engine) -> None:
    site(engine)
    at = open_page(monitor, "live-quality")
    assert at.selectbox(key="quality_version").options == ["all", VERSION[:12]]
    at.selectbox(key="quality_version").select_index(1).run()
    assert not at.exception
    assert at.metric[0].value == "240"
    live = sample(engine)
    whole = quality.compared(live, "toxic", "prevalence", "version")
    assert list(whole["version"]) == [VERSION[:12]]
    weeks = quality.compared(live, "toxic", "prevalence", "week")
    assert weeks["reviews"].sum() == whole["reviews"].sum()


def test_nothing_drawn_says_what_to_do(monitor: AppTest, engine: Engine) -> None:
    at = open_page(monitor, "live-quality")
    assert not at.exception
    assert "`moderation worker` draws a sample" in at.info[0].value
    assert charts(at) == 0


def test_no_prediction_is_read(engine: Engine) -> None:
    site(engine)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *of: asked.append(of[2]))
    sample(engine)
    assert asked
    assert not [statement for statement in asked if "FROM predictions" in statement or "JOIN predictions" in statement]


@pytest.mark.parametrize("weeks", [1, 4])
def test_weeks_begin_on_monday(weeks: int) -> None:
    begun = quality.monday(clock.now())
    assert (begun.weekday(), begun.hour, begun.utcoffset()) == (0, 0, timedelta())
    assert quality.monday(begun - timedelta(seconds=1)) == begun - quality.WEEK
