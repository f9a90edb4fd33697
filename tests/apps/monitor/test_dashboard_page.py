from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import Engine, update
from streamlit.testing.v1 import AppTest

from apps.monitor.services.frames import newest_frame
from apps.monitor.services.snapshot import TIME_RANGES, take_snapshot
from moderation import clock
from moderation.db.database import connect, migrate
from moderation.db.log import insert
from moderation.db.queries import LoggedPrediction
from moderation.db.review_models import Reviewer
from moderation.review.access import Role, Session, local_session, sign_out
from tests.apps.hostile import HOSTILE, NUL
from tests.apps.monitor.records import VERSION, feedback, fill, prediction
from tests.apps.monitor.reviewing import add, enter, session_of
from tests.apps.pages import TIMEOUT_S, charts, page, parsed_texts
from tests.moderation.db.records import failure


def figures(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def look_back(at: AppTest, length: str) -> AppTest:
    return at.segmented_control(key="range").set_value(length).run()


def seen_by_a_viewer(at: AppTest, engine: Engine) -> AppTest:
    add(engine, "vic", role="viewer")
    return enter(at.run(), "vic")


def test_empty_database_says_what_to_do(monitor: AppTest, engine: Engine) -> None:
    at = monitor.run()
    assert not at.exception
    assert not at.error
    assert "No predictions yet. Start the API with `make up`" in at.info[0].value
    assert "curl" in at.code[0].value
    assert charts(at) == 0


def test_predictions_and_feedback_are_shown_in_figures_charts_and_tables(monitor: AppTest, engine: Engine) -> None:
    judged = prediction("You are vermin.", decision="review", toxic=0.6)
    right = prediction("Thank you.")
    wrong_labels = {"toxic": False, "identity_hate": True}
    fill(engine, [judged, right, prediction("hi")], [feedback(judged, False, wrong_labels), feedback(right, True)])
    at = monitor.run()
    assert not at.exception
    assert figures(at) == {
        "Predictions": "3",
        "Latency, p95": "12.5 ms",
        "Acted on": "33 %",
        "From the cache": "0 %",
        "Errors": "0",
        "Feedback": "2",
        "Agreement": "50 %",
    }
    assert charts(at) == 7  # volume, decisions, cache, latency, classes, agreement, corrections; no parts
    newest, versions = at.dataframe[0].value, at.dataframe[1].value
    row = newest[newest["Prediction"] == judged.id].iloc[0]
    assert list(row[["Decision", "Because of", "Feedback", "Corrected labels"]]) == [
        "review",
        "toxic",
        "disagrees",
        "identity hate",
    ]
    assert list(versions.loc[0, ["Name", "Predictions", "Version"]]) == ["tiny", 3, VERSION]


def test_errors_are_drawn_over_time_also_while_nothing_is_answered(monitor: AppTest, engine: Engine) -> None:
    at = monitor.run()
    assert not [each.value for each in at.subheader if each.value == "Errors over time"]
    now = clock.now()
    with engine.begin() as connection:
        insert(connection, failures=[failure(created_at=now, status=status) for status in (422, 429, 500, 503)])
    at.run()
    assert not at.exception
    assert "No predictions yet" in at.info[0].value
    assert charts(at) == 1
    fill(engine, [prediction()])
    at.run()
    assert figures(at)["Errors"] == "6"
    assert charts(at) == 6


def test_agreement_is_given_with_its_interval_and_said_to_be_no_accuracy(monitor: AppTest, engine: Engine) -> None:
    rows = [prediction() for _ in range(10)]
    fill(engine, rows, [feedback(row, agree=number < 8) for number, row in enumerate(rows)])
    at = monitor.run()
    assert any("8 of 10 agree: 80 %** (95 % interval 49 % to 94 %)" in each.value for each in at.markdown)
    assert any("no measure of the model's accuracy" in each.value for each in at.caption)


def test_only_predictions_with_feedback_on_request(monitor: AppTest, engine: Engine) -> None:
    judged, other = prediction("judged"), prediction("not judged")
    fill(engine, [judged, other], [feedback(judged, True)])
    at = monitor.run()
    assert set(at.dataframe[0].value["Prediction"]) == {judged.id, other.id}
    at.toggle(key="only_judged").set_value(True).run()
    assert list(at.dataframe[0].value["Prediction"]) == [judged.id]


@pytest.mark.parametrize("role", ["viewer", "reviewer", "admin"])
def test_who_may_review_sees_no_text_beside_what_was_decided_of_it(
    monitor: AppTest, engine: Engine, role: Role
) -> None:
    fill(engine, [prediction("You are vermin.", decision="remove")])
    add(engine, "ann", role=role)
    at = enter(monitor.run(), "ann")
    assert not at.exception
    assert list(at.dataframe[0].value["Decision"]) == ["remove"]
    shown = "".join(str(each.value.to_dict()) for each in at.dataframe)
    assert ("You are vermin." in shown) == (role == "viewer")
    assert any("whoever reviews reads those before" in each.value for each in at.caption) == (role != "viewer")


def test_the_role_of_this_moment_says_who_sees_texts(monitor: AppTest, engine: Engine) -> None:
    fill(engine, [prediction("You are vermin.")])
    add(engine, "ann", role="viewer")
    session = session_of(engine, "ann")
    with engine.begin() as connection:
        connection.execute(update(Reviewer).values(role="reviewer"))
    found = take_snapshot(engine, session, TIME_RANGES[0], clock.now())
    assert session.role == "viewer"
    assert [each.prediction.text for each in found.newest] == [None]


def test_range_without_predictions_names_the_newest_and_a_longer_range_shows_them(
    monitor: AppTest, engine: Engine
) -> None:
    fill(engine, [prediction(ago=timedelta(hours=3)), prediction(ago=timedelta(days=20))])
    at = monitor.run()
    assert "No predictions in this range. The newest is from" in at.info[0].value
    assert figures(look_back(at, "1 day"))["Predictions"] == "1"
    assert figures(look_back(at, "1 week"))["Predictions"] == "1"
    assert figures(look_back(at, "30 days"))["Predictions"] == "2"


def test_hostile_comments_are_data_only(monitor: AppTest, engine: Engine) -> None:
    fill(engine, [prediction(text) for text in HOSTILE])
    at = seen_by_a_viewer(monitor, engine)
    assert not at.exception
    stored = [text.replace("\x00", "\ufffd") for text in HOSTILE]
    assert set(at.dataframe[0].value["Comment"]) == set(stored)
    assert NUL not in stored
    for text in stored:
        assert text not in parsed_texts(at)


def test_comment_that_was_not_stored_is_said_to_be_so(monitor: AppTest, engine: Engine) -> None:
    fill(engine, [prediction(text=None)])
    assert list(seen_by_a_viewer(monitor, engine).dataframe[0].value["Comment"]) == ["(not stored)"]


def test_page_refreshes_by_itself_only_when_asked(monitor: AppTest, engine: Engine) -> None:
    at = monitor.run()
    assert at.segmented_control(key="refresh").value == "1 min"
    at.segmented_control(key="refresh").set_value("Off").run()
    assert not at.exception


def test_database_behind_is_one_clear_line(monitor: AppTest, database_url: str) -> None:
    at = monitor.run()
    assert not at.exception
    assert len(at.error) == 1
    assert "run `moderation migrate`" in at.text[0].value


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://nobody:secret@127.0.0.1:9/none", "cannot use database postgresql://nobody@127.0.0.1:9/none"),
        ("mysql://127.0.0.1/none", "works with sqlite and postgresql"),
    ],
)
def test_database_away_is_one_clear_line_without_the_password(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_DATABASE_URL", url)
    at = page("monitor").run()
    st.cache_resource.clear()
    assert not at.exception
    assert said in at.text[0].value
    assert "secret" not in at.text[0].value + at.error[0].value


def test_database_that_goes_away_is_said_at_the_next_refresh(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_DATABASE_URL", sqlite_url)
    engine = connect(sqlite_url)
    migrate(engine)
    engine.dispose()
    at = page("monitor").run()
    assert not at.error
    st.cache_resource.clear()
    for file in tmp_path.glob("moderation.db*"):
        file.write_bytes(b"this is no database" * 100)
    at.run()
    st.cache_resource.clear()
    assert not at.exception
    assert "does not answer" in at.error[0].value
    assert "cannot use database" in at.text[0].value


def _refreshes_once(url: str, session: "Session") -> None:  # a script of its own, which knows no name of this file
    import streamlit as st

    from apps.monitor.services.snapshot import TIME_RANGES
    from apps.monitor.views.connection import engine_for
    from apps.monitor.views.dashboard import _refreshing

    if st.session_state.setdefault("runs", 0):
        st.text("the page was asked for again")
        return
    st.session_state["runs"] = 1
    _refreshing(engine_for(url), session, TIME_RANGES[0])


def test_an_overview_that_refreshes_by_itself_shows_nothing_to_who_is_shut_out(
    monitor: AppTest,
    engine: Engine,
    database_url: str,
) -> None:
    fill(engine, [prediction("You are vermin.")])
    session = local_session(engine, clock.now())
    seen = {}
    for ended in (False, True):
        if ended:
            sign_out(engine, session, clock.now())
        at = AppTest.from_function(_refreshes_once, kwargs={"url": database_url, "session": session}).run(
            timeout=TIMEOUT_S
        )
        assert not at.exception
        seen[ended] = (len(at.dataframe) > 0, [text.value for text in at.text])
    assert seen == {False: (True, []), True: (False, ["the page was asked for again"])}


@pytest.mark.parametrize(
    ("agree", "origin", "words"),
    [
        (True, None, "agrees"),
        (False, None, "disagrees"),
        (True, {"suggested": {"TOXICITY": 1.0}}, "suggests the same"),
        (False, {"suggested": {"TOXICITY": 1.0}}, "suggests otherwise"),
    ],
)
def test_the_newest_say_what_is_a_verdict_and_what_a_suggestion(
    agree: bool, origin: dict[str, Any] | None, words: str
) -> None:
    logged = LoggedPrediction(prediction(), replace(feedback(prediction(), agree), origin=origin))
    assert newest_frame([logged], texts=False)["Feedback"].tolist() == [words]
