"""What a reload of the page keeps, in a real browser."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlalchemy import Engine

from apps.monitor.services.cookie import COOKIE
from moderation.db.database import connect, migrate
from moderation.review import accounts
from tests.apps.monitor.reviewing import PASSWORD, add, waiting
from tests.e2e.processes import System, running_app

pytestmark = pytest.mark.timeout(600)


def test_typed_text_half_given_labels_and_a_tried_threshold_survive_a_reload(tab: Page, system: System) -> None:
    tab.goto(system.moderator_url)
    box = tab.get_by_label("Comment", exact=True)
    box.fill("typed with care, and not sent")
    tab.reload()
    expect(box).to_have_value("typed with care, and not sent")

    box.fill("You are disgusting.")
    tab.keyboard.press("Control+Enter")
    tab.get_by_role("button", name="threat: does not fit").click()
    disputed = tab.get_by_role("button", name="threat: fits, you say")
    expect(disputed).to_be_visible()
    tab.reload()
    expect(disputed).to_be_visible()

    tab.get_by_role("tab", name="Many comments").click()
    tab.get_by_label("Comments, one per line").fill("Thank you, that helps.\nI will find you and kill you.")
    tab.get_by_role("button", name="Score these").click()
    tab.get_by_text("What if a threshold were another?").click()
    tab.get_by_role("slider").press("Home")
    expect(tab.get_by_text("1 of 2 decisions would change.")).to_be_visible()
    tab.reload()
    expect(tab.get_by_role("button", name="Download as CSV").last).to_be_visible()
    tab.get_by_text("What if a threshold were another?").click()
    expect(tab.get_by_text("1 of 2 decisions would change.")).to_be_visible()
    tab.get_by_role("tab", name="History").click()
    expect(tab.get_by_role("button", name="Download the history")).to_be_visible()


def test_two_tabs_remember_each_its_own(context: BrowserContext, system: System) -> None:
    first, second = context.new_page(), context.new_page()
    for tab, text in ((first, "in the first tab"), (second, "in the second tab")):
        tab.goto(system.moderator_url)
        tab.get_by_label("Comment", exact=True).fill(text)
    for tab, text in ((first, "in the first tab"), (second, "in the second tab")):
        tab.reload()
        expect(tab.get_by_label("Comment", exact=True)).to_have_value(text)
    another = context.new_page()
    another.goto(system.moderator_url)
    expect(another.get_by_label("Comment", exact=True)).to_have_value("")


@pytest.fixture
def reviewed(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path / 'moderation.db'}")
    migrate(engine)
    add(engine, "ann")
    waiting(engine, ["You are vermin."])
    return engine


def test_a_reviewer_stays_signed_in_with_the_draft_until_the_database_says_otherwise(
    context: BrowserContext, reviewed: Engine, tmp_path: Path
) -> None:
    tab = context.new_page()
    with running_app("monitor", tmp_path) as url:
        tab.goto(f"{url}/review-queue")
        sign_in(tab)
        expect(tab.get_by_role("heading", name="Review queue")).to_be_visible()  # the page that was asked for
        expect(tab.get_by_role("button", name="Skip")).to_be_visible()  # the keys are those of the buttons
        drawn(tab)
        tab.keyboard.press("4")
        chosen = tab.get_by_role("button", name="Submit: threat")
        expect(chosen).to_be_visible()
        (cookie,) = [each for each in context.cookies() if each["name"] == COOKIE]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert COOKIE not in tab.evaluate("document.cookie")
        tab.reload()
        expect(chosen).to_be_visible()
        second = context.new_page()
        second.goto(f"{url}/review-queue")
        expect(second.get_by_role("button", name="Submit: threat")).to_be_visible()

        tab.get_by_role("button", name="Sign out").click()
        expect(tab.get_by_label("Name")).to_be_visible()
        drawn(tab)
        assert COOKIE not in [each["name"] for each in context.cookies()]
        drawn(second)
        second.keyboard.press("5")  # signed out in the other tab
        expect(second.get_by_text("the session has ended")).to_be_visible()
        tab.reload()
        sign_in(tab)
        expect(chosen).to_be_visible()

        accounts.disable(reviewed, "ann", datetime.now(UTC), "cli:me")
        tab.reload()
        expect(tab.get_by_text("is disabled or has expired")).to_be_visible()
        expect(tab.get_by_text("vermin")).to_have_count(0)
    reviewed.dispose()


def test_what_was_chosen_on_a_page_is_there_after_another_page_and_a_reload(
    context: BrowserContext, reviewed: Engine, tmp_path: Path
) -> None:
    tab = context.new_page()
    with running_app("monitor", tmp_path) as url:
        tab.goto(url)
        sign_in(tab)
        year = tab.get_by_role("radio", name="1 year")
        tab.get_by_text("1 year", exact=True).click()
        expect(year).to_be_checked()
        drawn(tab)
        tab.get_by_role("link", name="Shadow").click()
        expect(tab.get_by_role("heading", name="Shadow")).to_be_visible()
        drawn(tab)
        tab.get_by_role("link", name="Overview").click()
        expect(year).to_be_checked()
        tab.reload()
        expect(year).to_be_checked()
    reviewed.dispose()


def drawn(tab: Page) -> None:
    """Wait until no run of the page is under way."""
    expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    tab.wait_for_timeout(500)  # what the browser remembers starts another one
    expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def sign_in(tab: Page) -> None:
    tab.get_by_label("Name").fill("ann")
    tab.get_by_label("Password").first.fill(PASSWORD)
    tab.keyboard.press("Enter")
    expect(tab.get_by_text(re.compile("^Signed in as"))).to_be_visible()
