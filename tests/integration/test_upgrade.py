"""The release before the newest schema is upgraded under load, as docs/upgrade.md says: nothing answered is lost."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, func, select, text

from moderation.db.database import connect, require_current
from moderation.db.models import Prediction, Rollup
from tests.moderation.db.test_newer_schema import release_after
from tests.serve.process import environment, is_ready
from tests.serve.server import wait_until

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = "moderation/db/migrations/versions"


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree from before the newest migration came to this branch."""
    log = ("git", "log", "--first-parent", "-m", "--diff-filter=A", "--format=%H", "--max-count=1", "--", VERSIONS)
    added = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert added, "needs the history of git: fetch it whole"
    tree = tmp_path_factory.mktemp("previous")
    archive = subprocess.run(("git", "archive", f"{added}^"), cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(("tar", "-x", "-C", str(tree)), input=archive, check=True)
    return tree


class Callers:
    """Ask until told otherwise, and keep what came of each request."""

    def __init__(self, url: str) -> None:
        self.asked: list[tuple[float, int | str]] = []
        self.ids: list[str] = []
        self.over = threading.Event()
        self._url = url

    def ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as http:
            while not self.over.is_set():
                sent_at = time.monotonic()
                try:
                    answer = http.post(
                        "/predict/batch", json={"comment_texts": [f"at {sent_at}", "You fool.", "Hello"]}
                    )
                except httpx.TransportError as error:
                    self.asked.append((sent_at, type(error).__name__))
                    time.sleep(0.1)
                    continue
                self.asked.append((sent_at, answer.status_code))
                self.ids += [each["id"] for each in answer.json().get("predictions", [])]


@contextmanager
def calling(url: str) -> Iterator[Callers]:
    callers = Callers(url)
    threads = [threading.Thread(target=callers.ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        callers.over.set()
        for thread in threads:
            thread.join()


@contextmanager
def serving(tree: Path, variables: dict[str, str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("ab") as file:
        process = subprocess.Popen((sys.executable, "-m", "serve"), cwd=tree, env=variables, stdout=file, stderr=file)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{variables['MODERATION_API_PORT']}", trust_env=False) as http:
            wait_until(lambda: process.poll() is not None or is_ready(http), timeout_s=90)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def command(tree: Path, variables: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    started = (sys.executable, "-m", "cli", *arguments)
    return subprocess.run(started, cwd=tree, env=variables, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_new_schema_under_load_loses_nothing_that_was_answered(
    previous: Path, postgres_url: str, tmp_path: Path
) -> None:
    variables = environment(tmp_path / "state", DATABASE_URL=postgres_url, POLICY_PATH="configs/policy.yaml")
    variables["PYTHONPATH"] = ""
    for step in (("migrate",), ("registry", "seed")):
        assert command(previous, variables, *step).returncode == 0
    engine, log = connect(postgres_url), tmp_path / "log"
    url = f"http://127.0.0.1:{variables['MODERATION_API_PORT']}"
    with serving(previous, variables, log) as old, calling(url) as callers:
        wait_until(lambda: len(callers.ids) > 300)
        behind = command(ROOT, variables, "keys", "list")
        assert "this release needs" in behind.stderr
        assert "run `moderation migrate`" in behind.stderr
        migrated = command(ROOT, variables, "migrate")
        assert migrated.returncode == 0, migrated.stderr
        at_migration = len(callers.ids)
        wait_until(lambda: len(callers.ids) > at_migration + 300)  # the old release serves on
        stopped_at = time.monotonic()
        old.send_signal(signal.SIGTERM)
        assert old.wait(60) == 0
        # Back is possible as far as the newest migration says.
        again = command(previous, variables, "keys", "list")
        assert (again.returncode == 0) is (int(oldest(engine)) <= int(own_revision(previous))), again.stderr
        at_switch = len(callers.ids)
        with serving(ROOT, variables, log):
            wait_until(lambda: len(callers.ids) > at_switch + 300)
            callers.over.set()
            wait_until(lambda: stored(engine, callers.ids) == len(callers.ids))
    require_current(engine)
    assert {status for sent_at, status in callers.asked if sent_at < stopped_at} == {200}
    assert {status for _, status in callers.asked if isinstance(status, int)} == {200}
    with engine.connect() as connection:
        rows = connection.scalar(select(func.count()).select_from(Prediction))
        counted = connection.scalar(select(func.sum(Rollup.predictions)).where(Rollup.period_s == 60))
    assert rows == counted == len(callers.ids)
    engine.dispose()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_going_back_after_a_migration_under_load_loses_nothing_that_was_answered(
    postgres_url: str, tmp_path: Path
) -> None:
    variables = environment(tmp_path / "state", DATABASE_URL=postgres_url, POLICY_PATH="configs/policy.yaml")
    variables["PYTHONPATH"] = ""
    newer = tmp_path / "newer"
    for name in ("serve", "cli", "configs", "models"):
        shutil.copytree(ROOT / name, newer / name, ignore=shutil.ignore_patterns("__pycache__"))
    release_after(newer, f'oldest = "{own_revision(ROOT)}"')
    assert command(ROOT, variables, "migrate").returncode == 0
    assert command(ROOT, variables, "registry", "seed").returncode == 0
    engine, log = connect(postgres_url), tmp_path / "log"
    url = f"http://127.0.0.1:{variables['MODERATION_API_PORT']}"
    assert command(newer, variables, "migrate").returncode == 0
    with serving(newer, variables, log) as new, calling(url) as callers:
        wait_until(lambda: len(callers.ids) > 300)
        new.send_signal(signal.SIGTERM)
        assert new.wait(60) == 0
        at_switch = len(callers.ids)
        migrated = command(ROOT, variables, "migrate")
        assert migrated.stdout.endswith("a newer release's schema, on which this one works\n"), migrated.stderr
        assert command(ROOT, variables, "roles", "--apply").returncode == 0
        with serving(ROOT, variables, log):
            wait_until(lambda: len(callers.ids) > at_switch + 300)
            callers.over.set()
            wait_until(lambda: stored(engine, callers.ids) == len(callers.ids))
    assert {status for _, status in callers.asked if isinstance(status, int)} == {200}
    engine.dispose()


def oldest(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT oldest FROM alembic_version")))


def own_revision(tree: Path) -> str:
    return max(path.name[1:5] for path in (tree / VERSIONS).glob("m*.py"))


def stored(engine: Engine, ids: list[str]) -> int | None:
    with engine.connect() as connection:
        return connection.scalar(
            text("SELECT count(*) FROM predictions WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": ids}
        )
