"""The API as a process of its own, with its registry on W&B (the stand-in, over HTTP)."""

import time
from collections.abc import Iterator
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
FAULTY = "wandb-registry-model/served-with-faults"
MOVE = Move("test", "tried")
WRONG_KEY = "b" * 40
CONTENT = "GET /storage/content"
BOUND_S = 60
"""No fault may hold the start up for longer, however busy the machine; those that hang would for 300 s."""


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


@pytest.fixture(scope="module")
def versions(
    tmp_path_factory: pytest.TempPathFactory, shared_wandb: WandbServer
) -> Iterator[tuple[WandbRegistry, str, str]]:
    """A registry with an older version and the one that ``production`` points to; the tests change nothing there."""
    folder = tmp_path_factory.mktemp("faulty")
    registry = WandbRegistry(FAULTY, BundleCache(folder / "cache"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared_wandb.variables(folder / "home").items():
            patch.setenv(name, value)
        older = registry.publish(build_tiny_bundle(folder / "older"))
        newer = registry.publish(build_tiny_bundle(folder / "newer", bias=-5.0))
        registry.point("production", newer, MOVE)
    yield registry, older, newer
    registry.close()


@pytest.fixture
def cold(variables: dict[str, str], versions: tuple[WandbRegistry, str, str]) -> dict[str, str]:
    """The settings of an impatient API that has never served."""
    limits = {"MODERATION_WANDB_QUERY_S": "12", "MODERATION_WANDB_TRANSFER_S": "8"}
    return {**variables, **limits, "MODERATION_WANDB_COLLECTION": FAULTY}


@pytest.fixture
def warm(cold: dict[str, str], versions: tuple[WandbRegistry, str, str]) -> dict[str, str]:
    """The settings of an impatient API that has served the older version as each alias."""
    registry, older, _ = versions
    cache = BundleCache(Path(cold["MODERATION_STATE_DIR"]) / "wandb")
    with cache.staging() as staging:
        for path in registry.cache.path.joinpath("versions", older).iterdir():
            (staging / path.name).write_bytes(path.read_bytes())
        cache.add(staging, older)
    for alias in ("production", "canary"):
        cache.remember(alias, older)
    return cold


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


SLOW = pytest.mark.full
# What goes wrong, at which requests, with which settings; and the cause that must be said.
FAULTS = [
    pytest.param(CONTENT, "corrupt", {}, "arrived damaged", id="corrupted"),
    pytest.param(CONTENT, "truncate", {}, "arrived damaged", id="truncated", marks=SLOW),
    pytest.param("", "none", {"MODERATION_ALIAS": "canary"}, f"W&B has no alias 'canary' in {FAULTY}", id="no-alias"),
    pytest.param("", "none", {"WANDB_API_KEY": WRONG_KEY}, "W&B refuses this key (WANDB_API_KEY)", id="wrong-key"),
    pytest.param("", "none", {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "127.0.0.1:9 cannot be reached", id="away"),
    pytest.param(CONTENT, "hang:300", {}, "W&B did not answer `fetch` within 8 s", id="stalled", marks=SLOW),
    pytest.param("graphql", "hang:300", {}, "W&B did not answer `resolve` within 12 s", id="silent", marks=SLOW),
    pytest.param("graphql", "reset", {}, "connection reset by peer", id="reset", marks=SLOW),
    pytest.param("graphql", "status:500", {}, "HTTP 500", id="broken", marks=SLOW),
]


@pytest.mark.parametrize(("match", "action", "settings", "cause"), FAULTS)
def test_without_a_last_good_copy_the_start_fails_in_bounded_time_and_says_why(
    wandb_server: WandbServer, cold: dict[str, str], match: str, action: str, settings: dict[str, str], cause: str
) -> None:
    if action != "none":
        wandb_server.fault(match, action)
    begun = time.monotonic()
    process = start({**cold, **settings})
    _, errors = process.communicate(timeout=120)
    assert time.monotonic() - begun < BOUND_S
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert cause in last
    assert ("refuses this key" in last) == (settings == {"WANDB_API_KEY": WRONG_KEY})
    assert KEY not in errors
    assert WRONG_KEY not in errors


@pytest.mark.parametrize(("match", "action", "settings", "cause"), FAULTS)
def test_with_a_last_good_copy_it_is_served_in_bounded_time_and_ready_says_why(
    tmp_path: Path,
    wandb_server: WandbServer,
    warm: dict[str, str],
    versions: tuple[WandbRegistry, str, str],
    match: str,
    action: str,
    settings: dict[str, str],
    cause: str,
) -> None:
    _, older, newer = versions
    if action != "none":
        wandb_server.fault(match, action)
    begun, log = time.monotonic(), tmp_path / "api.log"
    with running({**warm, **settings, "MODERATION_ALIAS_POLL_S": "30"}, log) as (url, _):
        assert time.monotonic() - begun < BOUND_S
        assert served(url) == older != newer
        said = registry_part(url)
        assert "last good copy" in said
        assert cause in said
        answer = httpx.post(f"{url}/predict", json={"comment_text": "hello"}, trust_env=False).json()
        assert answer["version"] == older
    assert KEY not in log.read_text()
    assert WRONG_KEY not in log.read_text()


def test_a_version_that_arrives_damaged_is_refused_while_the_old_one_serves(
    tmp_path: Path, wandb_server: WandbServer, warm: dict[str, str], versions: tuple[WandbRegistry, str, str]
) -> None:
    _, older, newer = versions
    wandb_server.fault(CONTENT, "corrupt")
    with running(warm, tmp_path / "api.log") as (url, _):
        wait_until(lambda: f"version {newer} is refused" in registry_part(url), timeout_s=BOUND_S)
        assert "arrived damaged" in registry_part(url)
        assert served(url) == older
