"""docker/compose.yaml: who shares a network with whom, and what holds for every service; tests/images starts it."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from moderation.settings import ApiSettings, MonitorSettings, Settings, WorkerSettings, load

DOCKER = Path(__file__).resolve().parents[2] / "docker"
OWN = ("api", "api-2", "balancer", "moderator", "monitor", "worker", "tools", "migrate", "roles", "seed")
PAIRS = {
    ("api", "moderator"), ("api", "postgres"), ("api", "prometheus"), ("monitor", "postgres"), ("postgres", "worker"),
    ("prometheus", "worker"), ("grafana", "prometheus"), ("alertmanager", "prometheus"),
    ("api", "api-2"), ("api", "balancer"), ("api-2", "balancer"), ("api-2", "moderator"), ("balancer", "moderator"),
    ("api-2", "postgres"), ("api-2", "prometheus"), ("postgres", "tools"),
    ("migrate", "postgres"), ("postgres", "roles"), ("postgres", "seed"),
}  # fmt: skip
# They share a network with each other besides, and none of them answers anybody but Prometheus.
TOOLS = {"worker", "tools", "migrate", "roles", "seed"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    return found


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.override.example.yaml").read_text())
    return found


def test_only_those_who_talk_share_a_network(services: dict[str, Any]) -> None:
    base = sorted(name for name in services if not name.endswith(("-dev", "-gpu")))
    shared = {(a, b) for a, b in combinations(base, 2) if {*services[a]["networks"]} & {*services[b]["networks"]}}
    assert {pair for pair in shared if not TOOLS.issuperset(pair)} == PAIRS


@pytest.mark.parametrize("variant", ["api-gpu", "api-dev", "moderator-dev", "monitor-dev"])
def test_a_variant_reaches_what_its_original_does_and_never_runs_beside_it(
    services: dict[str, Any], variant: str
) -> None:
    original = services[variant.partition("-")[0]]
    assert services[variant]["networks"] == original["networks"]
    assert services[variant]["ports"] == original["ports"]
    assert not {*services[variant]["profiles"]} & {*original["profiles"]}


def test_every_service_has_bounded_memory_and_logs(services: dict[str, Any]) -> None:
    assert [name for name, it in services.items() if "mem_limit" not in it] == []
    assert [name for name, it in services.items() if "max-size" not in it["logging"]["options"]] == []


@pytest.mark.parametrize("name", OWN)
def test_our_processes_have_no_rights_and_write_to_their_volumes_only(services: dict[str, Any], name: str) -> None:
    assert services[name]["read_only"]
    assert services[name]["cap_drop"] == ["ALL"]
    assert services[name]["security_opt"] == ["no-new-privileges:true"]


def test_a_database_elsewhere_is_told_to_every_process_that_uses_one(services: dict[str, Any]) -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!override", lambda loader, node: loader.construct_mapping(node))
    text = (DOCKER / "compose.external-database.yaml").read_text()
    told = {name for name, it in yaml.load(text, Loader)["services"].items() if "database_ca" in it.get("secrets", ())}
    using = {name for name, it in services.items() if any("database_url" in each for each in it.get("secrets", ()))}
    assert told == {name for name in using if not name.endswith("-dev")}


def test_the_example_of_own_settings_gives_secrets_to_services_that_there_are(
    services: dict[str, Any], example: dict[str, Any]
) -> None:
    assert example["services"].keys() <= services.keys()
    for name, it in example["services"].items():
        read = {value for variable, value in it["environment"].items() if variable.endswith("_FILE")}
        assert read == {f"/run/secrets/{secret}" for secret in it["secrets"]}, name
    given = {secret for it in example["services"].values() for secret in it["secrets"]}
    assert example["secrets"] == {secret: {"file": f"./secrets/{secret}.txt"} for secret in given}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("api", ApiSettings),
        ("api-gpu", ApiSettings),
        ("tools", ApiSettings),
        ("worker", WorkerSettings),
        ("monitor", MonitorSettings),
    ],
)
def test_processes_take_the_example_laid_over_compose(
    services: dict[str, Any],
    example: dict[str, Any],
    name: str,
    settings: type[Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef")
    changed = example["services"][name]["environment"]
    for variable, value in (services[name]["environment"] | changed).items():
        monkeypatch.setenv(variable, str(tmp_path / "secret") if variable.endswith("_FILE") else value)
    read = load(settings).model_dump()
    assert all(value == changed.get(f"MODERATION_{field.upper()}", value) for field, value in read.items())
    defaults = settings.model_construct().model_dump()
    moved = {f"MODERATION_{field.upper()}" for field in read if read[field] != defaults[field]}
    ours = {variable.removesuffix("_FILE") for variable in changed if not variable.startswith("WANDB_")}
    assert ours <= moved


def test_alerts_go_to_a_receiver_that_there_is() -> None:
    found = yaml.safe_load((DOCKER / "prometheus/alertmanager.yml").read_text())
    receivers = {each["name"] for each in found["receivers"]}
    assert {found["route"]["receiver"], *(each["receiver"] for each in found["route"]["routes"])} <= receivers
    rules = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())["groups"]
    assert {rule["labels"]["severity"] for group in rules for rule in group["rules"]} == {"page", "ticket"}
