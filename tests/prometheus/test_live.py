"""Prometheus scrapes running servers and a worker, and each alert fires because its condition is brought about."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from moderation.db import keys
from moderation.db.database import connect, migrate
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from serve.model import Model, TextScores
from serve.watcher import Follower, Watcher
from tests.apps.monitor.test_drift_page import fill
from tests.bundles import build_tiny_bundle
from tests.chaos.disk import SmallDisk
from tests.postgres import Cluster, binaries, own_cluster
from tests.prometheus.rules import alerts, dashboard_expressions
from tests.prometheus.server import Prometheus
from tests.prometheus.server import running as prometheus_over
from tests.serve.keyed import bearer
from tests.serve.process import ROOT, environment, free_port, running
from tests.serve.server import Score, Server, served, settings_in, tiny_model, tiny_registry, wait_until, with_scoring

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
MOVE = Move("test", "tried")
BREAK, SLOW, REFUSE = "break", "slow", "refuse"
"""Texts on which the odd server's model or database does so."""
REFUSES = (
    "CREATE TRIGGER refuses BEFORE INSERT ON predictions WHEN NEW.text = 'refuse' "
    "BEGIN SELECT RAISE(ABORT, 'refused'); END"
)
SOONER = {
    "KeysOld": {"> 3600": "> 8"},  # they are read every 5 s
    "OutboxBehind": {"> 300": "> 2"},
    "NoPredictions": {"[30m]": "[5s]", "> 1000": "> 20"},
}
"""What would take longer than a test may."""
MOST_ROWS = 60
SPARE_BYTES = 2**29


def nearly_full(folder: Path) -> dict[str, dict[str, str]]:
    """Return when the disk fills: 512 MiB from now, however full this machine's is."""
    found = shutil.disk_usage(folder)
    return {"DiskFills": {"< 0.1": f"< {(found.free - SPARE_BYTES) / found.total}"}}


def odd(model: Model) -> Model:
    def around(score: Score, texts: Sequence[str]) -> list[TextScores]:
        if BREAK in texts:
            raise ValueError(BREAK)
        if SLOW in texts:
            time.sleep(1.5)
        return score(texts)

    return with_scoring(model, around)


def weak(model: Model) -> Model:
    """A candidate that takes its time, and breaks."""

    def around(score: Score, texts: Sequence[str]) -> list[TextScores]:
        time.sleep(0.05)
        if "weak" in texts[0]:
            raise ValueError(BREAK)
        return score(texts)

    other = replace(model, served=model.served.model_copy(update={"version": "b" * 64}))
    return with_scoring(other, around)


@contextmanager
def odd_server(folder: Path) -> Iterator[Server]:
    """A server with an odd model, a weak candidate and a database that refuses a text."""
    folder.mkdir()
    settings = settings_in(folder, shadow_share=1.0)
    model = tiny_model(settings, folder)
    watcher = Watcher(odd(model), shadow=Follower("candidate", weak(model)))
    with served(settings, model, watcher=watcher) as server:
        with server.engine.begin() as connection:
            connection.exec_driver_sql(REFUSES)
        yield server


@dataclass
class System:
    """A server with keys on PostgreSQL, a worker, and how to start them."""

    folder: Path
    postgres: Cluster
    variables: dict[str, str]
    key: str = ""

    @property
    def targets(self) -> dict[str, str]:
        return {job: f"127.0.0.1:{self.variables[f'MODERATION_{name}_PORT']}"
                for job, name in (("api", "PRIVATE"), ("worker", "WORKER"))}  # fmt: skip

    def prepare(self) -> LocalRegistry:
        """Fill the database with a label that drifts, make a key, publish a version; return the registry."""
        engine = connect(self.postgres.url)
        migrate(engine)
        fill(engine, [0.2] * 21 + [0.8] * 10)
        with engine.begin() as connection:
            self.key = keys.create(connection, "caller", ("predict",))
        engine.dispose()
        registry = LocalRegistry(self.folder / "registry")
        tiny_registry(settings_in(self.folder, registry_dir=self.folder / "registry"), self.folder)
        return registry

    def ask(self, *texts: str) -> int:
        url = f"http://127.0.0.1:{self.variables['MODERATION_API_PORT']}/predict/batch"
        body = {"comment_texts": texts}
        return httpx.post(url, json=body, headers=bearer(self.key), trust_env=False, timeout=30).status_code

    @contextmanager
    def worker(self) -> Iterator[None]:
        with (self.folder / "worker.log").open("wb") as log:
            command = [sys.executable, "-m", "cli", "worker", "--poll-s", "0.2"]
            process = subprocess.Popen(command, cwd=ROOT, env=self.variables, stdout=log, stderr=log)
            try:
                yield
            finally:
                process.terminate()
                process.wait(30)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with own_cluster(binaries()) as postgres:
        own = {"DATABASE_URL": postgres.url, "AUTH": "on", "REGISTRY_DIR": str(tmp_path / "registry"),
               "SHADOW_ALIAS": "candidate", "ALIAS_POLL_S": "0.2", "MAX_OUTBOX_ROWS": str(MOST_ROWS),
               "MAX_BATCH_TEXTS": "20", "PRIVATE_PORT": str(free_port()), "WORKER_PORT": str(free_port())}  # fmt: skip
        yield System(tmp_path, postgres, environment(tmp_path / "state", **own))


def test_each_alert_fires_once_its_condition_is_there(system: System) -> None:
    seen: set[str] = set()

    def fires(*names: str) -> None:
        prometheus.wait(lambda firing: set(names) <= firing)
        seen.update(names)

    registry = system.prepare()
    first = registry.resolve("production")
    second = registry.publish(build_tiny_bundle(system.folder / "second", bias=-5.0))
    broken = registry.publish(build_tiny_bundle(system.folder / "broken", bias=5.0))
    (next((registry.fetch(broken)).glob("*.onnx"))).write_bytes(b"broken")
    log = system.folder / "api.log"
    with ExitStack() as stack:
        disk = SmallDisk(system.folder / "state", mounted=False)
        alien = stack.enter_context(odd_server(system.folder / "odd"))
        odd_target = httpx.URL(alien.url).netloc.decode()
        targets = {"api": [system.targets["api"], odd_target], "worker": [system.targets["worker"]]}
        prometheus = stack.enter_context(prometheus_over(system.folder, targets, SOONER | nearly_full(system.folder)))
        fires("ApiAway", "WorkerAway")

        with system.worker(), running(system.variables, log) as (_, api):
            fires("Drift", "CandidateAway")
            registry.point("candidate", second, MOVE)
            prometheus.wait(lambda firing: firing == {"Drift"})

            show_on_dashboard(prometheus, system, alien)
            act_oddly(alien)
            fires("SlowAnswers", "FailedAnswers", "RowsRefused", "CandidateFails", "CandidateLeftOut")
            fires("NoPredictions")
            registry.point("production", broken, MOVE)
            fires("VersionRefused", "RegistryAway")
            registry.point("production", first, MOVE)

            system.postgres.stop()
            statuses = [system.ask(*(f"text {number}" for number in range(20))) for _ in range(30)]
            assert set(statuses) == {200, 503}
            fires("DatabaseAway", "WorkerFails", "OutboxFills", "OutboxBehind", "Overloaded", "KeysOld")
            system.postgres.start()
            prometheus.wait(lambda firing: "DatabaseAway" not in firing)

            with (system.folder / "ballast").open("wb") as ballast:
                os.posix_fallocate(ballast.fileno(), 0, 2 * SPARE_BYTES)
                fires("DiskFills")
            disk.fill(api.pid)
            wait_until(lambda: system.ask("no room for this") == 503)
            fires("OutboxBroken")
            disk.free(api.pid)
            prometheus.wait(lambda firing: "OutboxBroken" not in firing)
        for _ in range(3):
            with running(system.variables, log):
                prometheus.wait(lambda firing: "ApiAway" not in firing)
        fires("ApiRestarts")
    assert seen == set(alerts())


def show_on_dashboard(prometheus: Prometheus, system: System, alien: Server) -> None:
    """Ask for something of everything, and find data for every expression of the dashboard."""
    expressions = [each.replace("$__rate_interval", "1m") for each in dashboard_expressions()]

    def without_data() -> list[str]:
        assert system.ask("hello", "hello") == 200
        for text in ("hello", "hello", "fine"):
            alien.http.post("/predict", json={"comment_text": text}).raise_for_status()
        found = {each: prometheus.query(each) for each in expressions}
        return [each for each, result in found.items() if not any(_is_number(one) for one in result)]

    wait_until(lambda: not without_data(), timeout_s=60)


def act_oddly(alien: Server) -> None:
    for text in (BREAK, BREAK, SLOW, SLOW, REFUSE, "weak"):
        alien.http.post("/predict", json={"comment_text": text})
    for number in range(20):
        texts = [f"weak text {number} {each}" for each in range(50)]
        alien.http.post("/predict/batch", json={"comment_texts": texts}).raise_for_status()


def _is_number(sample: dict[str, object]) -> bool:
    value = sample["value"]
    return isinstance(value, list) and value[1] != "NaN"
