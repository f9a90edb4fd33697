import csv
import io
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect
from sqlalchemy import Select, select

from moderation.db.database import connect
from moderation.db.models import Feedback, Prediction
from tests.apps.hostile import FORMULA, MARKDOWN, OVERRIDE, SCRIPT
from tests.e2e.processes import System, running_app

# The first test also starts the system.
pytestmark = pytest.mark.timeout(600)

SHIPPED_WITHIN_S = 60


def test_comment_is_scored_disagreed_with_and_found_in_the_monitor(tab: Page, system: System) -> None:
    tab.goto(system.moderator_url)
    score(tab, "You are disgusting.")
    expect(tab.get_by_text("because of")).to_be_visible()
    bars = tab.get_by_test_id("stVegaLiteChart")
    expect(bars).to_contain_text("severe toxic")
    expect(bars).to_contain_text("remove from")

    tab.get_by_role("button", name="Disagree").click()
    labels = tab.get_by_test_id("stButtonGroup")
    expect(labels.get_by_role("button", name="insult", pressed=True)).to_be_visible()
    labels.get_by_role("button", name="threat").click()
    expect(labels.get_by_role("button", name="threat", pressed=True)).to_be_visible()
    tab.get_by_role("button", name="Send correction").click()
    expect(tab.get_by_text("It is recorded that you disagree.")).to_be_visible()

    tab.goto(system.monitor_url)
    refresh_until(tab, cells(tab, "disagrees"))
    expect(cells(tab, "You are disgusting.")).to_have_count(1)
    expect(cells(tab, "threat")).not_to_have_count(0)
    expect(metric(tab, "Feedback")).to_have_text(re.compile(r"^Feedback\s*1$"))
    expect(metric(tab, "Agreement")).to_contain_text(re.compile(r"(?<!\d)0 %"))


def test_double_click_sends_one_verdict(tab: Page, system: System) -> None:
    tab.goto(system.moderator_url)
    text = "Thank you for the double click."
    score(tab, text)
    tab.get_by_role("button", name="Agree", exact=True).dblclick()
    expect(tab.get_by_text("It is recorded that you agree.")).to_be_visible()
    receipt = tab.get_by_test_id("stCode").first.inner_text().strip()
    assert receipts(system, text) == [receipt]


def test_file_is_scored_and_downloaded_with_its_own_cells_unchanged(tab: Page, system: System, tmp_path: Path) -> None:
    comments = ["You are disgusting.", "", *(f"Thank you, number {number}." for number in range(60))]
    rows = [[FORMULA, comment] for comment in comments]
    upload = io.StringIO(newline="")
    csv.writer(upload).writerows([["=id", "comment"], *rows])
    tab.goto(system.moderator_url)
    tab.get_by_role("tab", name="A file of comments").click()
    file = {"name": "comments.csv", "mimeType": "text/csv", "buffer": upload.getvalue().encode()}
    tab.locator("input[type=file]").set_input_files(file)
    tab.get_by_role("button", name="Score 62 rows").click()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download as CSV").click()
    assert download.value.suggested_filename == "comments-scored.csv"
    download.value.save_as(tmp_path / "scored.csv")

    with (tmp_path / "scored.csv").open(encoding="utf-8", newline="") as written:
        header, *scored = csv.reader(written)
    assert header[:2] == ["=id", "comment"]
    assert [row[:2] for row in scored] == rows
    outcome = [dict(zip(header, row, strict=True)) for row in scored]
    assert outcome[0]["decision"] != "allow"
    assert (outcome[1]["decision"], outcome[1]["note"]) == ("", "no text")
    assert {row["decision"] for row in outcome[2:]} == {"allow"}


def test_every_row_is_scored_once_while_the_page_is_used_for_another_comment(tab: Page, system: System) -> None:
    comments = [f"Comment number {number} of a long file." for number in range(600)]
    tab.goto(system.moderator_url)
    tab.get_by_role("tab", name="A file of comments").click()
    file = {"name": "long.csv", "mimeType": "text/csv", "buffer": "\n".join(["text", *comments]).encode()}
    tab.locator("input[type=file]").set_input_files(file)
    tab.get_by_role("button", name="Score 600 rows").click()
    tab.get_by_role("tab", name="One comment").click()
    score(tab, "Thank you for your patience.")
    tab.get_by_role("tab", name="A file of comments").click()
    expect(tab.get_by_role("button", name="Download as CSV")).to_be_visible()
    assert sorted(logged(system, "long file")) == sorted(comments)


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_hostile_comment_runs_nothing_loads_nothing_and_fits(
    context: BrowserContext, system: System, width: int
) -> None:
    tab = context.new_page()
    tab.set_viewport_size({"width": width, "height": 900})
    elsewhere: list[str] = []
    own = tuple(url.removeprefix("http") for url in (system.moderator_url, system.monitor_url))
    tab.on("request", lambda request: None if own_or_inline(request.url, own) else elsewhere.append(request.url))
    tab.on("dialog", lambda dialog: (elsewhere.append(dialog.message), dialog.dismiss()))

    text = f"{width} {SCRIPT} {MARKDOWN} {OVERRIDE} {FORMULA}"
    tab.goto(system.moderator_url)
    score(tab, text)
    tab.get_by_text("Text as sent").first.click()
    expect(tab.get_by_test_id("stCode").filter(has_text="onerror=alert(1)")).to_be_visible()
    expect(tab).to_have_title("Comment moderation")
    assert fits(tab)

    tab.goto(system.monitor_url)
    refresh_until(tab, cells(tab, SCRIPT))
    expect(tab).to_have_title("Moderation monitor")
    assert fits(tab)
    assert elsewhere == []


@pytest.mark.parametrize(("host", "answered"), [("127.0.0.1", True), ("rebound.example", False)])
def test_page_is_read_under_a_name_of_this_machine_only(system: System, host: str, answered: bool) -> None:
    """A web page may point its own name to 127.0.0.1; what the apps show travels over the WebSocket."""
    for url in (system.moderator_url, system.monitor_url):
        address = f"{host}:{urlsplit(url).port}"
        upgrade = {
            "Host": address,
            "Origin": f"http://{address}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            "Sec-WebSocket-Protocol": "streamlit",
        }
        with httpx.stream("GET", f"{url}/_stcore/stream", headers=upgrade, trust_env=False) as response:
            assert response.status_code == (101 if answered else 403)


def test_typed_comment_survives_an_api_that_is_away(tab: Page, tmp_path: Path) -> None:
    with running_app("moderator", tmp_path, api_url="http://127.0.0.1:9") as url:
        tab.goto(url)
        tab.get_by_label("Comment", exact=True).fill("typed with care")
        tab.get_by_role("button", name="Score", exact=True).click()
        expect(tab.get_by_text("The API at http://127.0.0.1:9 does not answer.")).to_be_visible()
        expect(tab.get_by_label("Comment", exact=True)).to_have_value("typed with care")


def score(tab: Page, text: str) -> None:
    tab.get_by_label("Comment", exact=True).fill(text)
    tab.get_by_role("button", name="Score", exact=True).click()
    expect(tab.get_by_role("button", name="Agree", exact=True)).to_be_visible()


def cells(tab: Page, text: str) -> Locator:
    """Cells of the tables; they are drawn on a canvas and repeated in the page for screen readers."""
    return tab.get_by_test_id("stDataFrame").locator("td").filter(has_text=text)


def metric(tab: Page, label: str) -> Locator:
    return tab.get_by_test_id("stMetric").filter(has_text=label)


def refresh_until(tab: Page, found: Locator) -> None:
    """Refresh until ``found`` is on the page: rows reach the database some time after the answer."""
    deadline = time.monotonic() + SHIPPED_WITHIN_S
    while True:
        # Another click would stop a run that is under way.
        expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        if found.count() or time.monotonic() > deadline:
            return expect(found).not_to_have_count(0)
        tab.get_by_role("button", name="Refresh", exact=True).click()
        tab.wait_for_timeout(500)


def own_or_inline(url: str, own: tuple[str, ...]) -> bool:
    return url.startswith(("data:", "blob:", *(f"{scheme}{address}" for scheme in ("http", "ws") for address in own)))


def fits(tab: Page) -> bool:
    """Whether nothing sticks out to the right of the window."""
    return bool(tab.get_by_test_id("stMain").evaluate("main => main.scrollWidth <= main.clientWidth"))


def receipts(system: System, text: str) -> list[str]:
    """Return the feedback on the comment ``text`` in the database."""
    shipped(system)
    about = Prediction.id == Feedback.prediction_id
    return rows(system, select(Feedback.id).join(Prediction, about).where(Prediction.text == text))


def logged(system: System, part: str) -> list[str]:
    """Return the comments in the database that hold ``part``."""
    shipped(system)
    return rows(system, select(Prediction.text).where(Prediction.text.contains(part)))


def shipped(system: System) -> None:
    """Wait until every row has left the API's outbox for the database."""
    deadline = time.monotonic() + SHIPPED_WITHIN_S
    while "moderation_outbox_rows 0.0" not in httpx.get(f"{system.api_url}/metrics", trust_env=False).text:
        assert time.monotonic() < deadline, "rows stay in the outbox"
        time.sleep(0.1)


def rows(system: System, query: Select[tuple[str]]) -> list[str]:
    engine = connect(f"sqlite:///{system.state_dir / 'moderation.db'}")
    with engine.connect() as connection:
        found = list(connection.execute(query).scalars())
    engine.dispose()
    return found
