"""The pictures of the monitor's figures: a real process over three weeks of made-up scores."""

from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page

from moderation import clock
from moderation.db.database import connect, migrate
from moderation.db.log import record_version
from moderation.db.promotion import record_moves, record_verdicts
from moderation.lineage.graph import Verdict
from moderation.registry.registry import AliasEvent
from tests.apps.monitor.reviewed import CANDIDATE, site
from tests.e2e.camera import WIDTHS, open_tab, take
from tests.e2e.processes import running_app
from tests.moderation.db.records import VERSION, version

PAGES = {
    "live-quality": "Reviews against",
    "back-test": "Recall per label",
    "drift": "The last 7 days",
    "shadow": "Disagreements",
    "lineage": "Moves of aliases",
}
"""Each page's path, and what stands on it when it is drawn."""

PROVENANCE = {
    "dataset": "jigsaw-toxic-comment",
    "dataset_digest": "d1" * 32,
    "git_commit": "9a" * 20,
    "seed": 7,
    "created_at": "2026-03-01T12:00:00Z",
    "config": {
        "name": "starter",
        "data": {"sources": [{"layout": "jigsaw", "path": "train.csv", "licence": "CC0-1.0"}]},
    },
}


def take_all(browser: Browser, state_dir: Path, folder: Path) -> None:
    """Take every picture of figures, at every width."""
    state_dir.mkdir()
    fill(f"sqlite:///{state_dir / 'moderation.db'}")
    with running_app("monitor", state_dir) as url:
        for kind, width in WIDTHS.items():
            tab = open_tab(browser, width)
            take_figures(tab, url, folder, kind)
            tab.close()


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
    verdict = Verdict(VERSION, now - timedelta(days=6), CANDIDATE, True, [], "d" * 64, "e" * 64)
    told = version(first_seen_at=now - timedelta(days=30), provenance=PROVENANCE)
    with engine.begin() as connection:
        record_version(connection, told)
        record_verdicts(connection, [verdict])
        record_moves(connection, moves)
    engine.dispose()


def take_figures(tab: Page, url: str, folder: Path, kind: str) -> None:
    """Open each page and take its picture."""
    tab.goto(url)
    tab.get_by_text("30 days", exact=True).click()
    tab.get_by_text("Versions in service").first.wait_for()
    take(tab, folder / f"monitor-overview-{kind}.png")
    for name, said in PAGES.items():
        tab.goto(f"{url}/{name}")
        tab.get_by_text(said).first.wait_for()
        take(tab, folder / f"monitor-{name}-{kind}.png")
