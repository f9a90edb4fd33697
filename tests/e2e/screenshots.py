"""Takes the pictures of both apps in docs/: ``python -m tests.e2e.screenshots docs/img``.

Real processes, the starter model, comments and reviewers of our own; each view at desktop and at phone width.
"""

import argparse
import re
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from moderation.db.database import connect, migrate
from moderation.registry.starter import STARTER_DIR
from tests.apps.monitor.reviewing import PASSWORD
from tests.browser import LAUNCH_ARGS, chromium
from tests.e2e import figures
from tests.e2e.camera import WIDTHS, open_tab, take
from tests.e2e.processes import running_api, running_app, set_up
from tests.e2e.week import a_week

TEXT = "You are a disgusting idiot, and nobody asked you. Thank you for the link, though."
TEXTS = (
    TEXT,
    "Thank you, that helps.",
    "I will find you and kill you.",
    "This is the worst edit that I have seen.",
    "You people should not be allowed to write here.",
    "What a stupid thing to say.",
    "The source says 1912, not 1921.",
    "Shut up, you damn fool.",
)


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description="Take pictures of both apps.")
    parser.add_argument("folder", type=Path, help="where to write APP-VIEW-WIDTH.png")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        state_dir = Path(name)
        set_up(state_dir, STARTER_DIR)
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(LAUNCH_ARGS))
        with running_api(state_dir) as api_url, running_app("moderator", state_dir, api_url) as url:
            for kind, width in WIDTHS.items():
                tab = open_tab(browser, width)
                tab.goto(url)
                take_all(tab, folder, kind)
                tab.close()
        take_monitor(browser, state_dir / "monitor", folder)
        figures.take_all(browser, state_dir / "figures", folder)
        browser.close()


def take_all(tab: Page, folder: Path, kind: str) -> None:
    """Use each view as a moderator does, and take its picture."""
    tab.get_by_label("Comment", exact=True).fill(TEXT)
    tab.keyboard.press("Control+Enter")
    tab.get_by_role("button", name=re.compile("^Agree")).wait_for()
    tab.keyboard.press("Tab")
    take(tab, folder / f"moderator-hidden-{kind}.png")
    tab.get_by_role("button", name="Show texts").click()
    tab.get_by_role("button", name=re.compile("^insult")).click()
    tab.get_by_role("button", name=re.compile("^Send correction")).wait_for()
    take(tab, folder / f"moderator-comment-{kind}.png")
    tab.get_by_role("tab", name="Many comments").click()
    tab.get_by_label("Comments, one per line").fill("\n".join(TEXTS))
    tab.get_by_role("button", name="Score these").click()
    tab.get_by_role("button", name="Download as CSV").wait_for()
    tab.get_by_text("What if a threshold were another?").click()
    slider = tab.get_by_role("slider")
    slider.wait_for()
    slider.focus()
    for _ in range(35):
        tab.keyboard.press("ArrowLeft")
    tab.get_by_text("of 8 decisions would change").wait_for()
    take(tab, folder / f"moderator-many-{kind}.png")
    tab.get_by_role("tab", name="History").click()
    tab.get_by_role("button", name="Download the history").wait_for()
    take(tab, folder / f"moderator-history-{kind}.png")


def take_monitor(browser: Browser, state_dir: Path, folder: Path) -> None:
    """Take the pictures of the pages where people work, after a week of it."""
    state_dir.mkdir()
    engine = connect(f"sqlite:///{state_dir / 'moderation.db'}")
    migrate(engine)
    a_week(engine)
    engine.dispose()
    with running_app("monitor", state_dir) as url:
        for kind, width in WIDTHS.items():
            tab = open_tab(browser, width)
            tab.goto(url)
            tab.get_by_label("Name").wait_for()
            take(tab, folder / f"monitor-sign-in-{kind}.png")
            tab.get_by_label("Name").fill("root")
            tab.get_by_label("Password").first.fill(PASSWORD)
            tab.keyboard.press("Enter")
            tab.get_by_text("Signed in as").first.wait_for(state="attached")
            for name in ("Review queue", "Adjudication", "Reviewers", "Data"):
                open_monitor_page(tab, name, width)
                if name == "Review queue":
                    tab.keyboard.press("Enter")
                    tab.get_by_text("Your last review").wait_for()
                    tab.keyboard.press("1")
                    tab.get_by_role("button", name="Submit: toxic").wait_for()
                if name == "Data":
                    tab.get_by_role("tab", name="Audit log").click()
                    tab.get_by_role("button", name="Download as CSV").wait_for()
                take(tab, folder / f"monitor-{name.lower().replace(' ', '-')}-{kind}.png")
            tab.close()


def open_monitor_page(tab: Page, name: str, width: int) -> None:
    """Follow the link in the sidebar, which lies beside the page on a desktop only, and make the window ``width``."""
    tab.set_viewport_size({"width": WIDTHS["desktop"], "height": 900})
    if tab.get_by_test_id("stExpandSidebarButton").is_visible():
        tab.get_by_test_id("stExpandSidebarButton").click()
    tab.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
    tab.get_by_role("heading", name=name, exact=True).wait_for()
    expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=60_000)
    if name == "Review queue":
        tab.get_by_role("button", name="Unsure").wait_for()
    if width < WIDTHS["desktop"]:
        tab.get_by_test_id("stSidebarHeader").hover()
        tab.get_by_test_id("stSidebarCollapseButton").get_by_role("button").click()
    tab.set_viewport_size({"width": width, "height": 900})


if __name__ == "__main__":
    main()
