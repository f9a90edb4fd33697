"""The whole system from docker/compose.yaml, Grafana left out: it answers, drains, and comes back from a backup."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.images.docker import Compose, callers_network, docker, load, networks_of, wait_for

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]
SERVICES = ("api", "moderator", "monitor", "worker", "prometheus")
SERVERS = {("api", 8001), ("api", 9101), ("postgres", 5432), ("worker", 9102), ("prometheus", 9090)}
SERVERS |= {("moderator", 8501), ("monitor", 8502)}
PRIVATE = {9101}
"""Ports that answer on the network with Prometheus alone."""
REACHED = {
    ("moderator", "api", 8001), ("monitor", "postgres", 5432), ("worker", "postgres", 5432), ("api", "postgres", 5432),
    ("worker", "prometheus", 9090), ("api", "prometheus", 9090), ("api", "moderator", 8501),
}  # fmt: skip
REACH = (Path(__file__).parent / "reach.py").read_text()
TABLES = "'predictions', 'feedback', 'api_keys', 'versions', 'rollups', 'alembic_version'"
COUNTS = (
    "SELECT string_agg(t || '=' || (xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM %I', t), "
    f"false, true, '')))[1]::text, ' ' ORDER BY t) FROM unnest(ARRAY[{TABLES}]) AS t"
)


def of_example(system: Compose) -> dict[str, object]:
    """Return what of compose.override.example.yaml needs nobody elsewhere: no account at W&B, no identity provider."""
    example = yaml.safe_load((system.folder / "compose.override.example.yaml").read_text())
    variables = {"MODERATION_STORE_TEXT", "MODERATION_TEXT_HASH_KEY_FILE", "MODERATION_CORS_ORIGINS"}
    services = {
        name: {
            "environment": {each: it["environment"][each] for each in variables & it["environment"].keys()},
            "secrets": ["text_hash_key"],
        }
        for name, it in example["services"].items()
        if name in ("api", "tools")
    }
    return {"services": services, "secrets": {"text_hash_key": example["secrets"]["text_hash_key"]}}


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    system = Compose(tmp_path_factory.mktemp("compose"))
    try:
        (system.folder / "compose.override.yaml").write_text(json.dumps(of_example(system)))
        system("up", "-d", *SERVICES)
        yield system
    finally:
        print(system("logs", "--tail", "30", check=False))
        system("down", "--volumes", "--timeout", "5", check=False)


@pytest.fixture(scope="module")
def http(compose: Compose) -> Iterator[httpx.Client]:
    """A caller with a key, once the API is ready."""
    key = compose("run", "--rm", "-T", "tools", "keys", "create", "caller", "--scope", "predict").strip()
    url = f"http://localhost:{compose.ports['API_PORT']}"
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30, trust_env=False) as client:
        wait_for(lambda: client.get("/ready").is_success)
        yield client


def test_the_api_answers_and_its_predictions_reach_the_database(compose: Compose, http: httpx.Client) -> None:
    answer = http.post("/predict", json={"comment_text": "You are disgusting."}).raise_for_status().json()
    assert answer["decision"] != "allow"
    wait_for(lambda: compose.sql(f"SELECT client FROM predictions WHERE id = '{answer['id']}'") == "caller")
    assert http.get("/metrics").status_code == 404  # on the private port only


def test_own_settings_are_laid_over_those_of_compose(compose: Compose, http: httpx.Client) -> None:
    origin = {"Origin": "https://www.example.org"}
    answer = http.post("/predict", json={"comment_text": "You are here."}, headers=origin).raise_for_status()
    assert answer.headers["access-control-allow-origin"] == origin["Origin"]
    row = f"FROM predictions WHERE id = '{answer.json()['id']}'"
    wait_for(lambda: compose.sql(f"SELECT text IS NULL AND text_hash IS NOT NULL {row}") == "t")


def test_compose_takes_the_whole_example(compose: Compose) -> None:
    files = ("-f", "compose.yaml", "-f", "compose.override.example.yaml")
    services = yaml.safe_load(compose(*files, "config"))["services"]
    assert services["monitor"]["environment"]["MODERATION_OIDC_CLIENT_ID"] == "moderation"
    assert "MODERATION_DATABASE_URL_FILE" in services["monitor"]["environment"]  # what compose.yaml says stays
    given = {each["source"] if isinstance(each, dict) else each for each in services["api"]["secrets"]}
    assert given == {"database_url_api", "text_hash_key", "wandb_api_key"}


def test_both_apps_and_prometheus_answer(compose: Compose, http: httpx.Client) -> None:
    for name in ("MODERATOR_PORT", "MONITOR_PORT"):
        url = f"http://localhost:{compose.ports[name]}/_stcore/health"
        assert wait_for(lambda url=url: httpx.get(url, trust_env=False)).text == "ok"
    url = f"http://localhost:{compose.ports['PROMETHEUS_PORT']}/api/v1/query"

    def up() -> bool:
        answer = httpx.get(url, params={"query": 'up{job="api"}'}, trust_env=False).json()
        return [each["value"][1] for each in answer["data"]["result"]] == ["1"]

    wait_for(up)


def test_the_moderator_apps_key_holds(compose: Compose, http: httpx.Client) -> None:
    key = (compose.folder / "secrets" / "moderator_api_key.txt").read_text().strip()
    assert http.post("/predict", json={"comment_text": "hello"}, headers={"X-API-Key": key}).is_success


def test_everyone_reaches_what_they_need_and_nothing_else(compose: Compose, http: httpx.Client) -> None:
    """By name, and by each address of each server: what keeps the latter apart is the engine, not a name."""
    networks = {service: networks_of(compose.id_of(service)) for service in ("postgres", *SERVICES)}
    for service in ("moderator", "monitor", "worker", "api"):
        expected, tried = set(), set()
        for server, port in sorted(SERVERS - {each for each in SERVERS if each[0] == service}):
            shared = networks[service].keys() & networks[server].keys()
            if port in PRIVATE:
                shared &= networks["prometheus"].keys()
            addresses = {networks[server][network] for network in shared}
            assert bool(addresses) == ((service, server, port) in REACHED), (service, server, port)
            expected |= {(address, port) for address in addresses | ({server} if addresses else set())}
            tried |= {(address, port) for address in (server, *networks[server].values())}
        command = ("exec", "-i", compose.id_of(service), "python", "-c", REACH)
        reached = json.loads(docker(*command, stdin=json.dumps(sorted(tried))).stdout)
        assert {tuple(each) for each in reached} == expected, service
        print(f"{service}: {len(tried)} addresses tried, {len(expected)} reached")


def test_memory_is_limited(compose: Compose, http: httpx.Client) -> None:
    for service in ("postgres", *SERVICES):
        assert int(docker("inspect", "-f", "{{.HostConfig.Memory}}", compose.id_of(service)).stdout) > 0


def test_every_process_has_its_own_account_and_no_more(compose: Compose, http: httpx.Client) -> None:
    found = compose.sql(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'moderation' AND usename <> 'postgres'"
    )
    assert {"api_1", "tools_1"} <= set(found.split())
    assert compose.sql("SELECT has_table_privilege('api_1', 'predictions', 'SELECT')") == "f"
    assert compose.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'monitor_1'") == "f"


def when_signalled(container: str, since: float) -> float:
    """Return when Docker sent SIGTERM to the container (time.time, s)."""
    chosen = ("--filter", f"container={container}", "--filter", "event=kill", "--format", "{{.TimeNano}}")
    events = docker("events", "--since", f"{since:.3f}", "--until", f"{time.time():.3f}", *chosen).stdout.split()
    return int(events[0]) / 1e9


def test_docker_stop_under_load_fails_no_request_that_was_sent_before(compose: Compose, http: httpx.Client) -> None:
    api = compose.id_of("api")
    with load(callers_network(api), "http://api:8001", http.headers["X-API-Key"]) as callers:
        stored = int(compose.sql("SELECT count(*) FROM predictions"))
        wait_for(lambda: int(compose.sql("SELECT count(*) FROM predictions")) > stored + 200)
        begun_at = time.time()
        compose("stop", "api")
        assert callers.stdout is not None
        seen = json.loads(callers.stdout.read())
    assert docker("inspect", "-f", "{{.State.ExitCode}}", api).stdout == "0\n"
    signalled_at = when_signalled(api, begun_at)
    before = [(ended_at, how) for sent_at, ended_at, how in seen["asked"] if sent_at < signalled_at]
    assert [how for _, how in before if how != 200] == []
    assert sum(ended_at > signalled_at for ended_at, _ in before) >= 3  # of six callers: they were in flight
    # Who comes later is answered still, or finds nobody: no answer breaks off.
    assert {how for sent_at, _, how in seen["asked"] if sent_at >= signalled_at} <= {200, "ConnectError"}
    compose("start", "api")
    wait_for(lambda: http.get("/ready").is_success)
    listed = ", ".join(f"'{each}'" for each in seen["ids"])
    wait_for(lambda: int(compose.sql(f"SELECT count(*) FROM predictions WHERE id IN ({listed})")) == len(seen["ids"]))


def test_backup_destroy_restore(compose: Compose, http: httpx.Client, tmp_path: Path) -> None:
    compose("stop", "api", "worker", "monitor")
    before = compose.sql(COUNTS)
    compose.dump(tmp_path / "moderation.dump")
    compose("rm", "--force", "--stop", "-v", "postgres")
    docker("volume", "rm", "moderation-test_postgres")
    compose("up", "-d", "postgres")
    wait_for(lambda: compose.sql("SELECT 1") == "1")
    assert compose.sql("SELECT to_regclass('predictions') IS NULL") == "t"
    compose.restore(tmp_path / "moderation.dump")
    assert compose.sql(COUNTS) == before
    compose("up", "-d", *SERVICES)
    wait_for(lambda: http.get("/ready").is_success)
    assert http.post("/predict", json={"comment_text": "after the restore"}).is_success
