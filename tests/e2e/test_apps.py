import csv
import io
import re
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect
from sqlalchemy import Select, select

from moderation.db.database import connect
from moderation.db.models import Feedback, Prediction
from moderation.registry.starter import STARTER_DIR
from tests.apps.hostile import FORMULA, HOSTILE, MARKDOWN, OVERRIDE, SCRIPT
from tests.e2e.processes import System, free_port, running_api, running_app, set_up

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

    expect(tab.get_by_role("button", name="insult: fits")).to_be_visible()
    tab.get_by_role("button", name="threat: does not fit").click()
    expect(tab.get_by_role("button", name="threat: fits, you say")).to_be_visible()
    tab.get_by_role("button", name="Send correction").click()
    expect(tab.get_by_text("It is recorded that you disagree on threat.")).to_be_visible()

    tab.goto(system.monitor_url)
    refresh_until(tab, cells(tab, "disagrees"))
    expect(cells(tab, "You are disgusting.")).to_have_count(0)  # whoever reviews reads it before the decision
    expect(cells(tab, "threat")).not_to_have_count(0)
    expect(metric(tab, "Feedback")).to_have_text(re.compile(r"^Feedback\s*1$"))
    expect(metric(tab, "Agreement")).to_contain_text(re.compile(r"(?<!\d)0 %"))


def test_double_click_sends_one_verdict(tab: Page, system: System) -> None:
    tab.goto(system.moderator_url)
    text = "Thank you for the double click."
    score(tab, text)
    agree_button(tab).dblclick()
    expect(tab.get_by_text("It is recorded that you agree.")).to_be_visible()
    receipt = tab.get_by_test_id("stCode").first.inner_text().strip()
    assert receipts(system, text) == [receipt]


def test_comment_is_moderated_by_keyboard_alone(tab: Page, system: System) -> None:
    tab.goto(system.moderator_url)
    box = tab.get_by_label("Comment", exact=True)
    expect(box).to_be_visible()
    while not box.evaluate("element => element === document.activeElement"):
        tab.keyboard.press("Tab")
    text = "You are a disgusting idiot, says the keyboard. 12ad"
    tab.keyboard.type(text)
    tab.keyboard.press("Control+Enter")
    expect(agree_button(tab)).to_be_visible()
    # Typed into the box, these were letters; outside of it they are keys.
    assert receipts(system, text) == []
    hidden = tab.get_by_label("Hidden text of 51 characters")
    expect(hidden).to_be_visible()
    tab.keyboard.press("Tab")
    tab.keyboard.press("v")
    expect(hidden).not_to_be_visible()
    expect(tab.locator("mark", has_text="idiot")).to_be_visible()
    tab.keyboard.press("5")
    expect(tab.get_by_role("button", name="insult: does not fit, you say")).to_be_visible()
    tab.keyboard.press("4")
    expect(tab.get_by_role("button", name="threat: fits, you say")).to_be_visible()
    tab.keyboard.press("4")
    expect(tab.get_by_role("button", name="threat: does not fit")).to_be_visible()
    tab.keyboard.press("d")
    expect(tab.get_by_text("It is recorded that you disagree on insult.")).to_be_visible()
    receipt = tab.get_by_test_id("stCode").first.inner_text().strip()
    assert receipts(system, text) == [receipt]


def test_pasted_comments_are_tried_with_another_threshold(tab: Page, system: System) -> None:
    tab.goto(system.moderator_url)
    tab.get_by_role("tab", name="Many comments").click()
    tab.get_by_label("Comments, one per line").fill("Thank you, that helps.\nI will find you and kill you.")
    tab.get_by_role("button", name="Score these").click()
    expect(metric(tab, "Remove")).to_have_text(re.compile(r"^Remove\s*1$"))
    tab.get_by_text("What if a threshold were another?").click()
    slider = tab.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    expect(tab.get_by_text("1 of 2 decisions would change.")).to_be_visible()
    tab.get_by_role("tab", name="History").click()
    expect(cells(tab, "1 allow, 1 remove")).to_have_count(1)


def test_file_is_scored_and_downloaded_without_formulas(tab: Page, system: System, tmp_path: Path) -> None:
    comments = ["You are disgusting.", "", *(f"Thank you, number {number}." for number in range(60))]
    rows = [[FORMULA, comment] for comment in comments]
    tab.goto(system.moderator_url)
    tab.get_by_role("tab", name="Many comments").click()
    file = {"name": "comments.csv", "mimeType": "text/csv", "buffer": as_csv(["=id", "comment"], *rows)}
    tab.locator("input[type=file]").set_input_files(file)
    tab.get_by_role("button", name="Score 62 rows").click()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download as CSV").click()
    assert download.value.suggested_filename == "comments-scored.csv"
    download.value.save_as(tmp_path / "scored.csv")

    with (tmp_path / "scored.csv").open(encoding="utf-8-sig", newline="") as written:
        header, *scored = csv.reader(written)
    assert header[:2] == ["'=id", "comment"]
    assert [row[:2] for row in scored] == [[f"'{FORMULA}", comment] for comment in comments]
    outcome = [dict(zip(header, row, strict=True)) for row in scored]
    assert outcome[0]["decision"] != "allow"
    assert (outcome[1]["decision"], outcome[1]["note"]) == ("", "no text")
    assert {row["decision"] for row in outcome[2:]} == {"allow"}


def test_every_row_is_scored_once_while_the_page_is_used_for_another_comment(tab: Page, system: System) -> None:
    comments = [f"Comment number {number} of a long file." for number in range(600)]
    tab.goto(system.moderator_url)
    tab.get_by_role("tab", name="Many comments").click()
    file = {"name": "long.csv", "mimeType": "text/csv", "buffer": "\n".join(["text", *comments]).encode()}
    tab.locator("input[type=file]").set_input_files(file)
    tab.get_by_role("button", name="Score 600 rows").click()
    tab.get_by_role("tab", name="One comment").click()
    score(tab, "Thank you for your patience.")
    tab.get_by_role("tab", name="Many comments").click()
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
    tab.get_by_role("button", name="Show texts").click()
    expect(tab.get_by_text("U+202E right-to-left override")).to_be_visible()
    tab.get_by_text("Text as sent").first.click()
    expect(tab.get_by_test_id("stCode").filter(has_text="onerror=alert(1)")).to_be_visible()
    expect(tab).to_have_title("Comment moderation")
    assert fits(tab)

    file = {
        "name": "=a.csv",
        "mimeType": "text/csv",
        "buffer": as_csv([SCRIPT, MARKDOWN], *([each, text] for each in HOSTILE)),
    }
    tab.get_by_role("tab", name="Many comments").click()
    tab.locator("input[type=file]").set_input_files(file)
    column = tab.get_by_label("Column with the comments")
    column.click()
    tab.get_by_role("option").filter(has_text="big **bold**").click()
    tab.get_by_role("button", name=f"Score {len(HOSTILE)} rows").click()
    expect(cells(tab, "onerror=alert(1)")).not_to_have_count(0)
    expect(tab).to_have_title("Comment moderation")
    assert fits(tab)
    tab.get_by_role("tab", name="History").click()
    expect(cells(tab, "onerror=alert(1)")).not_to_have_count(0)
    assert fits(tab)

    tab.goto(system.monitor_url)
    refresh_until(tab, metric(tab, "Predictions"))
    expect(cells(tab, "onerror")).to_have_count(
        0
    )  # whoever reviews sees no texts here; those that see them: test_people
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


def test_no_program_drives_the_pages(system: System) -> None:
    for url in (system.moderator_url, system.monitor_url):
        described = httpx.get(f"{url}/_stcore/agent/openapi.json", trust_env=False).json()
        assert described["info"]["x-streamlit-agent-api"] == "disabled"
        asked = httpx.post(f"{url}/_stcore/agent/interact", json={}, trust_env=False)
        assert not asked.is_success
        assert "not_available" in asked.text


def test_typed_comment_survives_an_api_that_is_away(tab: Page, tmp_path: Path) -> None:
    with running_app("moderator", tmp_path, api_url="http://127.0.0.1:9") as url:
        tab.goto(url)
        tab.get_by_label("Comment", exact=True).fill("typed with care")
        tab.get_by_role("button", name="Score", exact=True).click()
        expect(tab.get_by_text("The API at http://127.0.0.1:9 does not answer.")).to_be_visible()
        expect(tab.get_by_label("Comment", exact=True)).to_have_value("typed with care")


def test_upload_over_the_limit_is_refused_at_once_and_says_so(tab: Page, tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    file.write_bytes(b"text\n" + b"hello\n" * (51 * 2**20 // 6))
    with running_app("moderator", tmp_path, api_url="http://127.0.0.1:9") as url:
        tab.goto(url)
        tab.get_by_role("tab", name="Many comments").click()
        tab.locator("input[type=file]").set_input_files(file)
        expect(tab.get_by_text("File must be 50.0MB or smaller.")).to_be_visible()


@pytest.mark.full
def test_job_stops_where_the_api_goes_away_and_goes_on_when_it_is_back(tab: Page, tmp_path: Path) -> None:
    set_up(tmp_path, STARTER_DIR)
    port = free_port()
    comments = [f"Comment number {number} of an interrupted file." for number in range(400)]
    with running_app("moderator", tmp_path, api_url=f"http://127.0.0.1:{port}") as url:
        with running_api(tmp_path, port):
            tab.goto(url)
            tab.get_by_role("tab", name="Many comments").click()
            tab.get_by_label("Comments, one per line").fill("\n".join(comments))
            tab.get_by_role("button", name="Score these").click()
            expect(tab.get_by_text(re.compile(r"^[1-9]\d+ of 400 rows"))).to_be_visible()
        expect(tab.get_by_text("does not answer.")).to_be_visible()
        with running_api(tmp_path, port):
            tab.get_by_role("button", name="Go on").click()
            expect(tab.get_by_role("button", name="Stop")).to_be_visible()
            expect(tab.get_by_text("does not answer.")).to_have_count(0)
            expect(tab.get_by_text("400 of 400 rows", exact=True)).to_be_visible()


def score(tab: Page, text: str) -> None:
    tab.get_by_label("Comment", exact=True).fill(text)
    tab.get_by_role("button", name="Score", exact=True).click()
    expect(agree_button(tab)).to_be_visible()


def agree_button(tab: Page) -> Locator:
    """The button's name goes on with its key."""
    return tab.get_by_role("button", name=re.compile("^Agree"))


def as_csv(*rows: Sequence[str]) -> bytes:
    output = io.StringIO(newline="")
    csv.writer(output).writerows(rows)
    return output.getvalue().encode()


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
