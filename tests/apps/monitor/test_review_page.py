from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import streamlit as st
import yaml
from sqlalchemy import Engine, select
from streamlit.testing.v1 import AppTest

from moderation.db.database import connect
from moderation.db.review_models import Review
from moderation.review import accounts
from moderation.review.access import sign_out
from tests.apps.hostile import HOSTILE, NUL, SCRIPT
from tests.apps.monitor.reviewing import (
    PASSWORD,
    add,
    boxes,
    enter,
    press,
    said,
    session_of,
    verdicts,
    waiting,
)
from tests.apps.pages import charts, open_page, page, parsed_texts
from tests.moderation.review.records import NEVER, policy

NOW = datetime.now(UTC)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One database will do: what the pages call is tested on both."""
    return sqlite_url


@pytest.fixture
def remote(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page as others than this machine reach it."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", database_url)
    yield page("monitor")
    st.cache_resource.clear()


def review_page(at: AppTest) -> AppTest:
    return open_page(at, "review-queue")


def draft(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        (found,) = connection.execute(select(Review.draft).where(Review.draft.is_not(None))).scalars()
    return [label for label, fits in found.items() if fits]


@pytest.mark.usefixtures("engine")
def test_before_the_first_draw_the_page_says_when_there_is_something_to_review(
    monitor: AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = policy(window_hours=6, delay_minutes=90).model_dump(mode="json", exclude_none=True)
    (tmp_path / "review.yaml").write_text(yaml.safe_dump(rules))
    monkeypatch.setenv("MODERATION_REVIEW_POLICY_PATH", str(tmp_path / "review.yaml"))
    words = "draws a sample of each window of 6 hours, 90 minutes after its end"
    at = review_page(monitor)
    assert not at.success
    assert words in at.info[0].value
    assert words in open_page(at, "live-quality").info[0].value


def test_text_comes_first_and_scores_after_the_verdict(monitor: AppTest, engine: Engine) -> None:
    waiting(engine, ["You are vermin."])
    at = review_page(monitor)
    assert not at.exception
    assert any("You are vermin." in each for each in boxes(at))
    assert charts(at) == 0
    press(at, "Toxic")
    press(at, "Insult")
    assert charts(at) == 0
    press(at, "Submit: toxic, insult")
    assert not at.exception
    assert verdicts(engine) == [("local", "labels", ["toxic", "insult"])]
    assert charts(at) == 1
    assert any("You said: **toxic, insult**" in each.value for each in at.markdown)
    assert any("The model said: **toxic**; decision: **review**" in each.value for each in at.markdown)
    assert "Nothing waits for you now." in at.success[0].value


def test_every_part_has_a_key_of_its_own(monitor: AppTest, engine: Engine) -> None:
    waiting(engine, ["text"])
    at = review_page(monitor)
    keys = {each.label: each.proto.shortcut for each in at.button if each.proto.shortcut}
    assert keys == {
        "Toxic": "1",
        "Severe toxic": "2",
        "Obscene": "3",
        "Threat": "4",
        "Insult": "5",
        "Identity hate": "6",
        "Submit: none of them": "enter",
        "Unsure": "u",
        "Needs context": "n",
        "Skip": "s",
    }


@pytest.mark.parametrize(
    ("label", "outcome"), [("Unsure", "unsure"), ("Needs context", "needs_context"), ("Skip", "skip")]
)
def test_not_knowing_can_be_said(monitor: AppTest, engine: Engine, label: str, outcome: str) -> None:
    waiting(engine, ["text"])
    at = press(review_page(monitor), label)
    assert not at.exception
    assert verdicts(engine) == [("local", outcome, None)]
    assert "The model said" not in parsed_texts(at)  # it may come back to this admin, or goes to somebody else


def test_a_choice_is_kept_at_once_and_found_after_signing_in_again(remote: AppTest, engine: Engine) -> None:
    add(engine, "ann")
    waiting(engine, ["text"])
    at = review_page(enter(remote.run(), "ann"))
    press(at, "Threat")
    assert draft(engine) == ["threat"]
    again = review_page(enter(page("monitor").run(), "ann"))
    assert [each.label for each in again.button if each.label.startswith("Submit")] == ["Submit: threat"]


def test_an_ended_session_leads_to_sign_in_and_the_last_choice_is_not_lost(remote: AppTest, engine: Engine) -> None:
    add(engine, "ann")
    waiting(engine, ["text"])
    at = review_page(enter(remote.run(), "ann"))
    sign_out(engine, at.session_state["session"], NOW)
    press(at, "Threat")
    assert not at.exception
    assert "the session has ended" in at.text[0].value
    enter(at, "ann")
    assert [each.label for each in at.button if each.label.startswith("Submit")] == ["Submit: threat"]
    assert draft(engine) == ["threat"]


def test_a_reviewer_removed_in_mid_session_reads_nothing_more(remote: AppTest, engine: Engine) -> None:
    add(engine, "ann")
    waiting(engine, ["You are vermin."])
    at = review_page(enter(remote.run(), "ann"))
    accounts.disable(engine, "ann", NOW, "cli:me")
    press(at, "Submit: none of them")
    assert not at.exception
    assert "disabled" in at.text[0].value
    assert boxes(at) == []
    assert verdicts(engine) == []


def test_the_next_reviewer_in_the_same_tab_sees_nothing_of_the_last_one(remote: AppTest, engine: Engine) -> None:
    add(engine, "ann", "bob")
    waiting(engine, ["text"], reviewers=2)
    at = review_page(enter(remote.run(), "ann"))
    press(at, "Submit: none of them")
    press(at, "Sign out")
    review_page(enter(at, "bob"))
    assert not any("Your last review" in each.value for each in at.subheader)
    assert any("**bob**, reviewer" in each.value for each in at.caption)


def test_adjudication_shows_the_verdicts_without_names(monitor: AppTest, engine: Engine) -> None:
    add(engine, "ann", "bob")
    waiting(engine, ["text"], reviewers=2)
    said(engine, session_of(engine, "ann"), toxic=True)
    said(engine, session_of(engine, "bob"), toxic=False)
    add(engine, "eve", role="admin")
    at = open_page(enter(monitor.run(), "eve"), "adjudication")
    assert not at.exception
    shown = parsed_texts(at)
    assert "- A: **toxic**" in shown or "- B: **toxic**" in shown
    assert "**none of them**" in shown
    assert "ann" not in shown.replace("and", "")
    assert "bob" not in shown
    press(at, "Toxic")
    press(at, "Submit: toxic")
    assert verdicts(engine)[-1] == ("eve", "labels", ["toxic"])


def test_hostile_texts_are_shown_as_texts(monitor: AppTest, engine: Engine) -> None:
    waiting(engine, HOSTILE)
    at = review_page(monitor)
    seen = []
    for _ in HOSTILE:
        seen.append(boxes(at)[0])
        press(at, "Submit: none of them")
        assert not at.exception
    assert not any("<script" in each or "<img" in each for each in seen)
    assert any("&lt;script&gt;" in each for each in seen)
    assert any("U+202E right-to-left override" in each for each in seen)
    for text in HOSTILE:
        assert text.replace(NUL, "\ufffd") not in parsed_texts(at)
    assert SCRIPT not in parsed_texts(at)


def test_a_wrong_password_says_no_more_than_that(remote: AppTest, engine: Engine) -> None:
    add(engine, "ann")
    at = enter(remote.run(), "ann", "wrong")
    assert at.error[0].value == "name and password do not fit"
    assert at.text_input[0].value == "ann"
    enter(at, "ann", PASSWORD)
    assert not at.text_input
    assert not at.error


@pytest.mark.parametrize(
    ("role", "offered"),
    [
        ("viewer", {"overview", "lineage"}),
        ("reviewer", {"overview", "lineage", "review-queue", "adjudication", "reviewers"}),
        ("admin", {"overview", "lineage", "review-queue", "adjudication", "reviewers", "data"}),
    ],
)
def test_pages_are_offered_by_role(remote: AppTest, engine: Engine, role: str, offered: set[str]) -> None:
    add(engine, "ann", role=role)
    at = enter(remote.run(), "ann")
    paths = {each["url_pathname"] or "overview" for each in at._registered_pages.values()}
    assert paths >= offered
    assert offered >= paths & {"review-queue", "adjudication", "reviewers", "data"}


def test_on_this_machine_alone_nobody_signs_in_and_the_page_says_so(monitor: AppTest, engine: Engine) -> None:
    at = monitor.run()
    assert any("signed in as the local admin" in each.value for each in at.caption)
    add(engine, "ann")
    fresh = page("monitor").run()
    assert len(fresh.text_input) == 2


def test_who_is_signed_in_can_leave_while_the_database_is_away(
    remote: AppTest, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(engine, "ann")
    at = enter(remote.run(), "ann")
    monkeypatch.setenv("MODERATION_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    assert "does not answer" in at.run().error[0].value
    press(at, "Sign out")
    assert "does not answer" in at.error[0].value
    assert not [each for each in at.button if each.label == "Sign out"]
    monkeypatch.undo()
    monkeypatch.setenv("MODERATION_DATABASE_URL", engine.url.render_as_string())
    assert [each.label for each in at.run().text_input] == ["Name", "Password"]


def test_a_database_that_goes_away_keeps_what_was_chosen(engine: Engine) -> None:
    from apps.monitor.services.desk import ReviewDesk

    add(engine, "ann")
    waiting(engine, ["text"])
    away = connect("postgresql://nobody@127.0.0.1:9/none")
    desk = ReviewDesk(session_of(engine, "ann"), policy(), adjudicates=False, chance=NEVER)
    desk.look(engine)
    assert desk.task is not None
    task = desk.task
    desk.toggle(away, task.review_id, "threat")
    assert desk.problem is not None
    desk.submit(away, task.review_id, "labels")
    assert desk.task == task
    assert desk.chosen == {"threat"}
    desk.look(engine)
    assert draft(engine) == ["threat"]
    desk.submit(engine, task.review_id, "labels")
    desk.submit(engine, task.review_id, "skip")  # a double click
    assert verdicts(engine) == [("ann", "labels", ["threat"])]
    away.dispose()
