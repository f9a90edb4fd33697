"""People at work in the monitor, on PostgreSQL: two review blind, a third settles what they differ on and exports."""

import csv
import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from sqlalchemy import Engine

from moderation.exports import read_export
from tests.apps.hostile import FORMULA, MARKDOWN, OVERRIDE, SCRIPT
from tests.apps.monitor.reviewing import PASSWORD, add, verdicts, waiting
from tests.e2e.processes import running_app

pytestmark = pytest.mark.timeout(600)

KIND = ["Thank you.", "See you tomorrow.", "The source says 1912.", SCRIPT, MARKDOWN, FORMULA, OVERRIDE]
UNKIND = ["You are vermin.", "Shut up, vermin.", "All of you are vermin, and you most."]
DISPUTED = UNKIND[0]


def test_two_review_blind_a_third_settles_a_conflict_and_exports(
    browser: Browser, postgres_engine: Engine, postgres_url: str, tmp_path: Path
) -> None:
    add(postgres_engine, "ann", "bob")
    add(postgres_engine, "root", role="admin")
    waiting(postgres_engine, [*KIND, *UNKIND], reviewers=2)
    with running_app("monitor", tmp_path, database_url=postgres_url) as url:
        asked: list[str] = []
        tab = signed_in(browser, url, "root", asked)
        assert precision(tab) == ("", "0 reviews; 5 are needed")
        tab.context.close()
        for name in ("ann", "bob"):
            tab = signed_in(browser, url, name, asked)
            go(tab, "Review queue")
            for done in range(10):
                review(tab, done, generous=name == "bob")
            expect(tab.get_by_text("Nothing waits for you now.")).to_be_visible()
            expect(tab).to_have_title("Moderation monitor")
            tab.context.close()
        assert Counter(each[0] for each in verdicts(postgres_engine)) == {"ann": 10, "bob": 10}

        tab = signed_in(browser, url, "root", asked)
        go(tab, "Adjudication")
        expect(tab.get_by_text(DISPUTED)).to_be_visible()
        expect(tab.get_by_text("none of them", exact=True)).to_be_visible()
        assert not [name for name in ("ann", "bob") if tab.get_by_test_id("stMain").get_by_text(name).count()]
        tab.keyboard.press("1")
        expect(tab.get_by_role("button", name="Submit: toxic")).to_be_visible()
        tab.keyboard.press("Enter")
        expect(tab.get_by_text("Nothing waits for you now.")).to_be_visible()

        value, why_not = precision(tab)
        assert (float(value), why_not) == (pytest.approx(len(UNKIND) / 10, abs=0.15), "")
        expect(metric(tab, "Labelled")).to_have_text(re.compile(r"^Labelled\s*10$"))
        go(tab, "Reviewers")
        expect(tab.get_by_test_id("stVegaLiteChart").first).to_be_visible()
        exported = export(tab, tmp_path)
        tab.context.close()
    assert {text: bool(row["toxic"]) for text, row in exported.items()} == {
        **dict.fromkeys(KIND, False),
        **dict.fromkeys(UNKIND, True),
    }
    assert [each for each in asked if not each.startswith(("data:", "blob:", url, url.replace("http", "ws")))] == []


def signed_in(browser: Browser, url: str, name: str, asked: list[str]) -> Page:
    context: BrowserContext = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    tab = context.new_page()
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    tab.goto(url)
    tab.get_by_label("Name").fill(name)
    tab.get_by_label("Password").first.fill(PASSWORD)
    tab.keyboard.press("Enter")
    expect(tab.get_by_text(f"Signed in as {name}")).to_be_visible()
    # A link that is clicked while the first page is being drawn can be followed, and left again for that page.
    expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    return tab


def go(tab: Page, page: str) -> None:
    tab.get_by_role("link", name=page).click()
    expect(tab.get_by_role("heading", name=page, exact=True)).to_be_visible()
    expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def review(tab: Page, done: int, generous: bool) -> None:
    """Label the text at hand by keyboard; the generous one lets one pass."""
    settled(tab, done)
    text = tab.get_by_test_id("stHtml").first.inner_text()
    if "vermin" in text and not (generous and text.strip() == DISPUTED):
        tab.keyboard.press("1")
        expect(tab.get_by_role("button", name="Submit: toxic")).to_be_visible()
    tab.keyboard.press("Enter")
    settled(tab, done + 1)


def settled(tab: Page, done: int) -> None:
    """Wait until so many are done and the page is drawn; until then parts of the last run stand beside the new ones."""
    expect(metric(tab, "Yours today")).to_have_text(re.compile(rf"^Yours today\s*{done}$"))
    expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def metric(tab: Page, name: str) -> Locator:
    return tab.get_by_test_id("stMetric").filter(has_text=name).first


def precision(tab: Page) -> tuple[str, str]:
    """Return the live precision of the label toxic, and why there is none."""
    go(tab, "Live quality")
    with tab.expect_download() as download:
        tab.locator(".st-key-csv-live-quality").get_by_role("button").click()
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = {(row["label"], row["figure"]): row for row in csv.DictReader(file)}
    found = rows["toxic", "Precision"]
    return found["value"], found["why not"]


def export(tab: Page, folder: Path) -> dict[str, dict[str, object]]:
    """Export the reviews, and return their rows by text."""
    go(tab, "Data")
    tab.get_by_role("button", name="Prepare the file").click()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download reviews-").click()
    content = Path(download.value.path()).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    assert read_export(folder / "reviews.jsonl").rows == 10
    rows = [json.loads(line) for line in (folder / "reviews.jsonl").read_text(encoding="utf-8").splitlines()]
    return {str(row["comment_text"]): row for row in rows}
