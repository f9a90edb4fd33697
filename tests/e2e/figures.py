"""Takes the pictures of the monitor's figures in docs/: ``python -m tests.e2e.figures docs/img``.

A real process over three weeks of made-up scores; each page at desktop and at phone width.
"""

import argparse
import tempfile
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from moderation import clock
from moderation.db.database import connect, migrate
from moderation.db.promotion import record_moves
from moderation.registry.registry import AliasEvent
from tests.apps.monitor.reviewed import CANDIDATE, site
from tests.browser import LAUNCH_ARGS, chromium
from tests.e2e.processes import running_app
from tests.e2e.screenshots import WIDTHS, take
from tests.moderation.db.records import VERSION

PAGES = {
    "live-quality": "Reviews against",
    "back-test": "Recall per label",
    "drift": "The last 7 days",
    "shadow": "Disagreements",
}
"""Each page's path, and what stands on it when it is drawn."""


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description="Take pictures of the monitor's figures.")
    parser.add_argument("folder", type=Path, help="where to write monitor-PAGE-WIDTH.png")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        state_dir = Path(name)
        fill(f"sqlite:///{state_dir / 'moderation.db'}")
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(LAUNCH_ARGS))
        with running_app("monitor", state_dir) as url:
            for kind, width in WIDTHS.items():
                tab = browser.new_page(viewport={"width": width, "height": 900})
                take_figures(tab, url, folder, kind)
                tab.close()
        browser.close()


def fill(url: str) -> None:
    """Make three weeks of traffic with its sample, a candidate and two moves of an alias."""
    engine = connect(url)
    migrate(engine)
    site(engine, days=24, number=500, budget=150)
    now = clock.now()
    moves = [
        AliasEvent("production", CANDIDATE, None, now - timedelta(days=30), "ann", "first"),
        AliasEvent("production", VERSION, CANDIDATE, now - timedelta(days=5), "ann", "gate report passed"),
    ]
    with engine.begin() as connection:
        record_moves(connection, moves)
    engine.dispose()


def take_figures(tab: Page, url: str, folder: Path, kind: str) -> None:
    """Open each page and take its picture."""
    tab.set_default_timeout(120_000)
    tab.goto(url)
    tab.get_by_text("30 days", exact=True).click()
    tab.get_by_text("Versions in service").first.wait_for()
    take(tab, folder / f"monitor-overview-{kind}.png")
    for name, said in PAGES.items():
        tab.goto(f"{url}/{name}")
        tab.get_by_text(said).first.wait_for()
        take(tab, folder / f"monitor-{name}-{kind}.png")


if __name__ == "__main__":
    main()
