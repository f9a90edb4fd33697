"""Several server processes on one database behave as one service: keys, quotas, and what a restart knows."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from moderation.db.database import connect, migrate
from moderation.db.keys import database_time
from tests.serve.keyed import bearer, make
from tests.serve.process import ROOT, environment, free_port, running
from tests.serve.server import settings_in, tiny_registry, wait_until

HELLO = {"comment_text": "hello"}
QUOTA = 120


@pytest.fixture
def owner(postgres_url: str) -> Iterator[Engine]:
    engine = connect(postgres_url)
    migrate(engine)
    yield engine
    engine.dispose()


@contextmanager
def replicas(folder: Path, database_url: str, count: int, **variables: str) -> Iterator[list[str]]:
    """Run servers with state folders of their own; yield their URLs."""
    with ExitStack() as stack:
        urls = []
        for number in range(count):
            own = folder / f"replica-{number}"
            tiny_registry(settings_in(own), own)
            settings = environment(own / "state", DATABASE_URL=database_url, AUTH="on", **variables)
            url, _ = stack.enter_context(running(settings, folder / f"log-{number}"))
            urls.append(url)
        yield urls


def moderation(database_url: str, *arguments: str) -> str:
    variables = {**os.environ, "MODERATION_DATABASE_URL": database_url}
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def status(url: str, token: str, path: str = "/predict") -> int:
    return httpx.post(f"{url}{path}", json=HELLO, headers=bearer(token), trust_env=False).status_code


def test_a_quota_holds_over_two_servers_and_a_revoked_key_stops_on_both_within_30_s(
    owner: Engine, postgres_url: str, tmp_path: Path
) -> None:
    with replicas(tmp_path, postgres_url, 2, REPLICAS="2") as urls:
        token = moderation(
            postgres_url, "keys", "create", "site", "--scope", "predict", "--quota-per-minute", str(QUOTA)
        )
        assert [status(url, token, "/feedback") for url in urls] == [403, 403]  # known at once, on both
        granted = in_one_minute(owner, urls, token)
        assert granted[429] > 0
        # docs/access.md; a machine so busy that a lease takes a second is as good as one without its database
        alone = any("quotas are not leased" in path.read_text() for path in tmp_path.glob("log-*"))
        assert QUOTA - 2 * QUOTA // 10 <= granted[200] <= (3 * QUOTA if alone else QUOTA)

        moderation(postgres_url, "keys", "revoke", "site")
        begun = time.monotonic()
        wait_until(lambda: [status(url, token) for url in urls] == [401, 401])
        assert time.monotonic() - begun < 30


def in_one_minute(owner: Engine, urls: list[str], token: str) -> Counter[int]:
    """Ask both servers at once, until both refuse, within one minute of the database; count the statuses."""
    while True:
        with owner.connect() as connection:
            now = database_time(connection)
        if now.second <= 40:
            break
        time.sleep(61 - now.second)
    found: Counter[int] = Counter()
    counts = threading.Lock()

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, headers=bearer(token), trust_env=False) as http:
            refusals = 0
            while refusals < 5 and datetime.now(UTC).second < 58:
                answer = http.post("/predict", json=HELLO).status_code
                refusals += answer == 429
                with counts:
                    found[answer] += 1

    threads = [threading.Thread(target=ask, args=(url,)) for url in urls * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_server_restarted_without_its_database_knows_the_keys_and_loses_nothing(tmp_path: Path) -> None:
    """SQLite's file is taken away and brought back, as a database server would be."""
    database, hidden = tmp_path / "database" / "moderation.db", tmp_path / "hidden.db"
    engine = connect(f"sqlite:///{database}")
    migrate(engine)
    token = make(engine, "site", "predict", "admin")
    engine.dispose()
    tiny_registry(settings_in(tmp_path), tmp_path)
    variables = environment(tmp_path / "state", DATABASE_URL=f"sqlite:///{database}", AUTH="on", ALIAS_POLL_S="0.5")
    with running(variables, tmp_path / "log") as (url, process):
        assert status(url, token) == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    database.replace(hidden)
    database.mkdir()
    with running(variables, tmp_path / "log") as (url, _):
        assert status(url, token) == 200
        assert status(url, f"mod_{'0' * 12}_{'0' * 64}") == 401
        parts = httpx.get(f"{url}/ready", headers=bearer(token), trust_env=False).json()["parts"]
        assert parts["keys"].startswith("cannot be read, those of 20")
        database.rmdir()
        hidden.replace(database)
        engine = connect(f"sqlite:///{database}")

        def predictions() -> int:
            with engine.connect() as connection:
                return int(connection.exec_driver_sql("SELECT count(*) FROM predictions").scalar_one())

        wait_until(lambda: predictions() == 2)
        wait_until(lambda: httpx.get(f"{url}/ready", trust_env=False).json()["parts"]["keys"] == "ok")
        engine.dispose()


def test_metrics_and_admin_live_on_the_private_port_and_sigterm_ends_both(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    tiny_registry(settings, tmp_path)
    engine = connect(settings.resolved_database_url())
    migrate(engine)
    token = make(engine, "ops", "admin", "predict")
    engine.dispose()
    port = str(free_port())
    variables = environment(tmp_path / "state", AUTH="on", PRIVATE_PORT=port)
    with running(variables, tmp_path / "log") as (url, process):
        private = url.rpartition(":")[0] + f":{port}"
        with httpx.Client(headers=bearer(token), trust_env=False) as http:
            assert http.get(f"{private}/metrics").status_code == 200
            assert http.get(f"{private}/version").status_code == 200
            assert http.get(f"{private}/health").status_code == http.get(f"{url}/health").status_code == 200
            for hidden in (f"{url}/metrics", f"{url}/admin/reload", f"{private}/", f"{private}/docs"):
                assert http.get(hidden).status_code == 404, hidden
            assert http.post(f"{private}/predict", json=HELLO).status_code == 404
            assert http.post(f"{url}/predict", json=HELLO).status_code == 200
            for asked in (f"{url}/nothing?key={token}", f"{url}/{token}?key={token}"):
                assert http.post(asked).status_code == 404
            rebound = http.get(f"{private}/metrics", headers={"Host": "evil.example"})
            foreign = http.get(f"{private}/metrics", headers={"Origin": "https://evil.example"})
            assert (rebound.status_code, foreign.status_code) == (403, 403)
        assert httpx.get(f"{private}/metrics", trust_env=False).status_code == 200
        assert httpx.post(f"{private}/admin/reload", trust_env=False).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    log = (tmp_path / "log").read_text()
    assert "ERROR" not in log
    assert token.rpartition("_")[2] not in log
    assert '"client": "ops"' in log


def test_a_server_without_any_key_starts_and_says_so(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    tiny_registry(settings, tmp_path)
    engine = connect(settings.resolved_database_url())
    migrate(engine)
    engine.dispose()
    # Beyond loopback keys are wanted without being asked for.
    with running(environment(tmp_path / "state", API_HOST="0.0.0.0"), tmp_path / "log") as (url, _):
        assert httpx.post(f"{url}/predict", json=HELLO, trust_env=False).status_code == 401
    assert "moderation keys create" in (tmp_path / "log").read_text()
