"""The API as a process of its own, with its registry on W&B (the stand-in, over HTTP)."""

from pathlib import Path

import httpx
import pytest

from moderation.db.database import connect, migrate
from moderation.registry.cache import BundleCache
from moderation.registry.registry import Move
from moderation.registry.wandb import WandbRegistry
from tests.bundles import build_tiny_bundle
from tests.serve.process import environment, running, start
from tests.serve.server import wait_until
from tests.wandb_server import KEY, WandbServer

COLLECTION = "wandb-registry-model/served"
MOVE = Move("test", "tried")


@pytest.fixture
def variables(tmp_path: Path, wandb_server: WandbServer) -> dict[str, str]:
    """The settings of an API that may read W&B but not move what is protected."""
    state = tmp_path / "state"
    engine = connect(f"sqlite:///{state / 'moderation.db'}")
    migrate(engine)
    engine.dispose()
    own = environment(
        state, REGISTRY="wandb", WANDB_COLLECTION=COLLECTION, ALIAS_POLL_S="0.5", WANDB_QUERY_S="60", THREADS="1"
    )
    return {**own, **wandb_server.variables(tmp_path / "api", KEY)}


def served(url: str) -> str:
    return str(httpx.get(f"{url}/version", trust_env=False).json()["version"])


def registry_part(url: str) -> str:
    return str(httpx.get(f"{url}/ready", trust_env=False).json()["parts"]["registry"])


@pytest.mark.timeout(400)
def test_the_api_starts_from_wandb_follows_its_alias_and_outlives_it(
    tmp_path: Path, wandb_server: WandbServer, variables: dict[str, str]
) -> None:
    registry = WandbRegistry(COLLECTION, BundleCache(tmp_path / "cache"))
    first = registry.publish(build_tiny_bundle(tmp_path / "first"))
    registry.point("production", first, MOVE)
    log = tmp_path / "api.log"
    with running(variables, log) as (url, _):
        assert served(url) == first
        second = registry.publish(build_tiny_bundle(tmp_path / "second", bias=-5.0))
        registry.point("production", second, MOVE)
        wait_until(lambda: served(url) == second, timeout_s=90)
        registry.close()
        wandb_server.fault("", "status:500")
        wait_until(lambda: "W&B" in registry_part(url), timeout_s=90)
        assert served(url) == second
    with running(variables, log) as (url, _):  # W&B is still away
        assert served(url) == second
        assert "last good copy" in registry_part(url)
        assert httpx.post(f"{url}/predict", json={"comment_text": "hello"}, trust_env=False).json()["version"] == second
        wandb_server.calm()
        wait_until(lambda: registry_part(url) == "ok", timeout_s=90)
    assert "starting with the last good copy" in log.read_text()
    assert KEY not in log.read_text()


@pytest.mark.full
@pytest.mark.parametrize(
    ("match", "action"),
    [
        ("GET /storage/content", "corrupt"),
        ("GET /storage/content", "truncate"),
        ("GET /storage/content", "hang:300"),
        ("graphql", "hang:300"),
        ("graphql", "reset"),
    ],
)
@pytest.mark.timeout(400)
def test_without_a_last_good_copy_the_start_fails_in_bounded_time(
    tmp_path: Path, wandb_server: WandbServer, variables: dict[str, str], match: str, action: str
) -> None:
    registry = WandbRegistry(COLLECTION, BundleCache(tmp_path / "cache"))
    version = registry.publish(build_tiny_bundle(tmp_path / "first"))
    registry.point("production", version, MOVE)
    registry.close()
    wandb_server.fault(match, action)
    limits = {"MODERATION_WANDB_QUERY_S": "30", "MODERATION_WANDB_TRANSFER_S": "30"}
    process = start({**variables, **limits})
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.strip().splitlines()[-1].startswith("error: ")
    assert KEY not in errors
