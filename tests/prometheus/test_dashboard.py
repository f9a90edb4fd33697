"""Dashboard, rules and what is really answered at /metrics name the same figures."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from cli.worker_figures import WorkerFigures
from moderation import clock
from moderation.db.log import insert, record_version
from serve.watcher import Follower, Watcher
from tests.apps.monitor.test_drift_page import fill
from tests.moderation.db.records import VERSION, prediction, version
from tests.prometheus.rules import DASHBOARD, ROOT, alerts, dashboard_expressions, metrics_in
from tests.serve.keyed import access, bearer, make
from tests.serve.process import free_port
from tests.serve.server import served, settings_in, tiny_model

# Of no use to an operator beside what is shown: bytes that are reserved and not used.
NOT_SHOWN = {"process_virtual_memory_bytes"}
NEWER = "e" * 64
_NAME = re.compile(r"^# TYPE (\S+) ", re.MULTILINE)


def names(exposition: str) -> set[str]:
    """Return the metrics of /metrics, each histogram as its own name."""
    return {name for name in _NAME.findall(exposition) if not name.endswith("_created")}


def used() -> set[str]:
    expressions = [*dashboard_expressions(), *(rule["expr"] for rule in alerts().values())]
    return {name.removesuffix("_bucket") for each in expressions for name in metrics_in(each)}


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the API answers with keys and a candidate."""
    folder = tmp_path_factory.mktemp("exposed")
    settings = settings_in(folder)
    model = tiny_model(settings, folder)
    watcher = Watcher(model, shadow=Follower("candidate", model))
    with served(settings, model, watcher=watcher, access=lambda engine: access(settings, engine)) as server:
        admin = bearer(make(server.engine, "admin", "admin"))
        return names(server.http.get("/metrics", headers=admin).text)


def add_newer(engine: Engine) -> None:
    """Let another version give the last answer of yesterday."""
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    with engine.begin() as connection:
        record_version(connection, version(version=NEWER))
        insert(connection, [prediction(version=NEWER, created_at=midnight - timedelta(minutes=1))])


@pytest.fixture
def worker_exposed(engine: Engine) -> set[str]:
    """What a worker answers on its port, of a database where a label has drifted."""
    fill(engine, [0.2] * 21 + [0.8] * 10)
    add_newer(engine)
    figures, port = WorkerFigures(engine), free_port()
    figures.serve("127.0.0.1", port)
    figures.refresh()
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert f'moderation_drift_alarm{{label="toxic",version="{VERSION}"}} 1.0' in text
    assert f'moderation_drift_alarm{{label="toxic",version="{NEWER}"}} 0.0' in text  # beside it, during a rollout
    assert f'moderation_drift_watched{{label="threat",version="{VERSION}"}} 0.0' in text
    assert 'moderation_jobs{state="waiting"} 0.0' in text
    return names(text)


def test_whatever_is_answered_is_used_and_the_other_way_round(exposed: set[str], worker_exposed: set[str]) -> None:
    assert used() ^ (exposed | worker_exposed) == NOT_SHOWN


def test_the_dashboard_is_what_its_generator_writes(tmp_path: Path) -> None:
    script = ROOT / "docker" / "grafana" / "dashboard.py"
    copy = tmp_path / script.name
    copy.write_text(script.read_text())
    (tmp_path / "provisioning" / "dashboards").mkdir(parents=True)
    subprocess.run([sys.executable, str(copy)], check=True)
    assert (tmp_path / "provisioning" / "dashboards" / DASHBOARD.name).read_text() == DASHBOARD.read_text()


def test_no_drift_is_told_before_a_full_day(sqlite_url: str) -> None:
    from moderation.db.database import connect, migrate
    from moderation.jobs.drift import alarms

    engine = connect(sqlite_url)
    migrate(engine)
    assert alarms(engine, clock.now()) == {}
    engine.dispose()
