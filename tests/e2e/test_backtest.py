"""From a back-test in the browser to a training step on what people said, with real processes on PostgreSQL."""

import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page, expect
from sqlalchemy import Engine, func, select, update

from moderation.bundle import read_bundle
from moderation.db.log import VersionRecord, insert, record_version
from moderation.db.review_models import BacktestScore, Job, Review, ReviewItem
from moderation.exports import file_digest
from moderation.jobs.queue import jobs, request_backtest
from moderation.labels import LABELS
from moderation.registry.local import LocalRegistry
from moderation.review.access import Session, local_session
from moderation.review.data import export_archive
from moderation.review.draw import draw
from tests.bundles import build_tiny_bundle
from tests.e2e.processes import ROOT, running_app
from tests.moderation.db.records import VERSION, prediction, version
from tests.moderation.review.records import policy

pytestmark = pytest.mark.timeout(900)
NOW = datetime.now(UTC)
START = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
WORDS = ("thank you", "see the talk page", "what an idiot", "damn it", "kind regards")
NUMBER = 3_000


def environment(url: str, state_dir: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MODERATION_")}
    return {**inherited, "MODERATION_STATE_DIR": str(state_dir), "MODERATION_DATABASE_URL": url, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def candidate(postgres_engine: Engine, tmp_path: Path) -> str:
    """A published bundle that is recorded as a version, and a day of traffic whose sample people labelled."""
    registry = LocalRegistry(tmp_path / "registry")
    published = registry.publish(build_tiny_bundle(tmp_path / "tiny"))
    manifest = read_bundle(registry.fetch(published), LABELS).manifest
    limits: dict[str, dict[str, float | None]] = {label: {"review": 0.5, "remove": 0.95} for label in LABELS}
    texts = [f"comment {number}: {WORDS[number % len(WORDS)]}" for number in range(NUMBER)]
    rows = [
        prediction(created_at=START + timedelta(seconds=k), text=text, scores=dict.fromkeys(LABELS, 0.1 + (k % 7) / 10))
        for k, text in enumerate(texts)
    ]
    with postgres_engine.begin() as connection:
        record_version(connection, version())
        record_version(connection, VersionRecord(published, NOW, manifest.name, list(LABELS), limits, {}))
        insert(connection, rows)
    draw(postgres_engine, policy(daily_budget=300), NOW)
    unkind = {row.id for number, row in enumerate(rows) if number % len(WORDS) in (2, 3)}
    with postgres_engine.begin() as connection:
        for item in connection.execute(select(ReviewItem.__table__)).all():
            labels = dict.fromkeys(LABELS, False) | {"toxic": item.prediction_id in unkind}
            done: dict[str, object] = {"state": "done", "labels": labels, "closed_at": NOW - timedelta(minutes=5)}
            connection.execute(update(ReviewItem).where(ReviewItem.id == item.id).values(done))
            said = {
                "reviewer": "ann",
                "submitted_at": NOW - timedelta(minutes=5),
                "outcome": "labels",
                "labels": labels,
            }
            connection.execute(update(Review).where(Review.item_id == item.id).values(said))
    return published


@contextmanager
def working(url: str, state_dir: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker as a process of its own, which is gone afterwards."""
    argv = [sys.executable, "-m", "cli", "worker", "--poll-s", "0.2"]
    with (state_dir / "worker.log").open("ab") as log:
        process = subprocess.Popen(argv, cwd=ROOT, env=environment(url, state_dir), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(engine: Engine, session: Session, condition: str) -> None:
    """Wait until a job ``condition`` holds."""
    give_up = time.monotonic() + 240
    while True:
        found = jobs(engine, session, datetime.now(UTC))
        if all({"begun": job.done > 0, "over": job.state not in ("waiting", "running")}[condition] for job in found):
            return
        assert time.monotonic() < give_up, found
        time.sleep(0.02)


def test_a_worker_that_is_killed_is_followed_without_double_work(
    postgres_engine: Engine, postgres_url: str, candidate: str, tmp_path: Path
) -> None:
    session = local_session(postgres_engine, NOW)
    request_backtest(postgres_engine, session, candidate, (START, NOW), NUMBER, NOW)
    with working(postgres_url, tmp_path) as process:
        until(postgres_engine, session, "begun")
        process.send_signal(signal.SIGKILL)
        process.wait()
    (job,) = jobs(postgres_engine, session, NOW)
    assert job.state == "running"
    with postgres_engine.begin() as connection:
        # What has scores gets a mark, which scoring it again would remove; and the minute of the lease is over.
        first = connection.execute(update(BacktestScore).where(BacktestScore.scored).values(score_toxic=-1.0)).rowcount
        connection.execute(update(Job).values(leased_until=START))
    assert 0 < first < NUMBER
    with working(postgres_url, tmp_path), working(postgres_url, tmp_path):
        until(postgres_engine, session, "over")
    (job,) = jobs(postgres_engine, session, NOW)
    assert (job.state, job.done, job.error) == ("done", NUMBER, None)
    with postgres_engine.connect() as connection:
        rows = select(func.count()).select_from(BacktestScore)
        assert connection.scalar(rows) == NUMBER
        assert connection.scalar(rows.where(BacktestScore.score_toxic == -1)) == first
        assert connection.scalar(rows.where(~BacktestScore.scored)) == 0
    said = (tmp_path / "worker.log").read_text(errors="replace")
    assert not [words for words in WORDS if words in said]


def test_two_workers_share_jobs_and_a_broken_bundle_ends_its_own(
    postgres_engine: Engine, postgres_url: str, candidate: str, tmp_path: Path
) -> None:
    registry = LocalRegistry(tmp_path / "registry")
    broken = registry.publish(build_tiny_bundle(tmp_path / "broken", bias=-3.0))
    weights = next(registry.fetch(broken).glob("*.onnx"))
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-9])
    session = local_session(postgres_engine, NOW)
    for wanted in (candidate, broken, candidate, candidate):
        request_backtest(postgres_engine, session, wanted, (START, NOW), 200, NOW)
    with working(postgres_url, tmp_path), working(postgres_url, tmp_path):
        until(postgres_engine, session, "over")
    found = jobs(postgres_engine, session, NOW)
    assert sorted(job.state for job in found) == ["done", "done", "done", "failed"]
    (failed,) = [job for job in found if job.state == "failed"]
    assert failed.arguments["version"] == broken
    assert weights.name in str(failed.error)
    assert [job.attempts for job in found] == [1] * 4
    with postgres_engine.connect() as connection:
        counts = dict(
            connection.execute(select(BacktestScore.job_id, func.count()).group_by(BacktestScore.job_id)).all()
        )
    assert counts == {job.id: job.total for job in found if job.state == "done"}


def test_a_back_test_and_a_training_step_on_the_exported_reviews(
    tab: Page, postgres_engine: Engine, postgres_url: str, candidate: str, tmp_path: Path
) -> None:
    with running_app("monitor", tmp_path, database_url=postgres_url) as url:
        tab.goto(f"{url}/back-test")
        # A click while the page is drawn for the first time may be drawn over.
        expect(tab.get_by_role("tab", name="Another version")).to_be_visible()
        expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        tab.get_by_role("tab", name="Another version").click()
        tab.get_by_label("Candidate", exact=True).click()
        tab.get_by_role("option", name=re.compile(candidate[:12])).click()
        tab.get_by_label("Texts to score").fill("500")
        tab.get_by_role("button", name="Ask for it").click()
        expect(tab.get_by_role("button", name=re.compile("^Cancel"))).to_be_visible()
        with working(postgres_url, tmp_path):
            expect(tab.get_by_text("500 texts drawn at random")).to_be_visible()
        expect(tab.get_by_text("300 of 300 texts drawn for review")).to_be_visible()
        expect(tab.get_by_text("Recall per label, with 95 % intervals").first).to_be_visible()
        expect(tab.get_by_test_id("stException")).to_have_count(0)

        tab.get_by_role("link", name="Data").click()
        tab.get_by_role("button", name="Prepare the file").click()
        with tab.expect_download() as download:
            tab.get_by_role("button", name="Download reviews-").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            archive.extractall(tmp_path / "exported")
    file = tmp_path / "exported" / "reviews.jsonl"
    # A step leaves a model that may rank worse than chance, of which no bundle is made: it ends there, and says why.
    done, run = train(file, tmp_path, steps=1)
    assert done.returncode == 0 or "ranks this label worse than chance" in done.stderr, done.stderr
    assert losses_of(run)
    assert all(map(math.isfinite, losses_of(run)))
    card = json.loads((run / "tracking" / "dataset" / "card.json").read_text())
    (export,) = [source["export"] for source in card["sources"] if source["layout"] == "reviews"]
    assert (export["sha256"], export["versions"]) == (file_digest(file), {VERSION: 300})


@pytest.mark.full
def test_a_bundle_that_was_trained_on_reviews_names_the_export(
    postgres_engine: Engine, candidate: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    archive = export_archive(postgres_engine, local_session(postgres_engine, now), "reviews", START, now, now)
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        content.extractall(tmp_path)
    done, run = train(tmp_path / "reviews.jsonl", tmp_path, steps=150)
    assert done.returncode == 0, done.stderr
    (export,) = read_bundle(run / "bundle", LABELS).manifest.provenance.exports
    assert (export.sha256, export.versions) == (file_digest(tmp_path / "reviews.jsonl"), {VERSION: 300})


def train(exported: Path, folder: Path, steps: int) -> tuple["subprocess.CompletedProcess[str]", Path]:
    """Train the tiny encoder on our comments and the reviews; return the process and the run's folder."""
    config = yaml.safe_load((ROOT / "configs" / "train" / "tiny.yaml").read_text())
    reviews = {"layout": "reviews", "path": str(exported), "licence": "ours", "split": "train"}
    config["data"]["sources"].append(reviews)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config | {"output_dir": str(folder / "runs"), "baseline": False}))
    options = [f"fit.max_steps={steps}", f"fit.interval={min(steps, 24)}", "tracking.mode=disabled"]
    done = subprocess.run(
        [sys.executable, "-m", "train", str(folder / "tiny.yaml"), "--set", *options],
        cwd=ROOT,
        env={**environment(f"sqlite:///{folder}/unused.db", folder), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done, folder / "runs" / "tiny"


def losses_of(run: Path) -> list[float]:
    """Return every loss of the run, of training and of validation."""
    (state,) = (run / "checkpoints").glob("*/trainer_state.json")
    history = json.loads(state.read_text())["log_history"]
    return [value for row in history for name, value in row.items() if name.endswith("loss")]
