"""The registry on W&B: the real SDK against the stand-in over HTTP, each answer from a process of its own."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from moderation.bundle import read_bundle
from moderation.errors import (
    BundleError,
    ConfigurationError,
    ModerationError,
    NotFoundError,
    RegistryError,
    UnavailableError,
)
from moderation.registry.cache import BundleCache
from moderation.registry.registry import Move
from moderation.registry.wandb import WandbRegistry
from tests.bundles import build_tiny_bundle
from tests.wandb_server import KEY, WandbServer

MOVE = Move(by="ada", reason="passed the gate")
BOUND_S = 60
"""No fault may hold us up for longer, however busy the machine."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, shared_wandb: WandbServer) -> Iterator[tuple[WandbRegistry, str]]:
    """A registry with the version that ``production`` points to; the tests that share it change nothing there."""
    folder = tmp_path_factory.mktemp("shared")
    registry = WandbRegistry("wandb-registry-model/faults", BundleCache(folder / "cache"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared_wandb.variables(folder / "home").items():
            patch.setenv(name, value)
        version = registry.publish(build_tiny_bundle(folder / "bundle"))
        registry.point("production", version, MOVE)
    yield registry, version
    registry.close()


@pytest.fixture
def first(shared: tuple[WandbRegistry, str]) -> str:
    """The version of ``production``."""
    return shared[1]


@pytest.fixture
def registry(shared: tuple[WandbRegistry, str], wandb_server: WandbServer, tmp_path: Path) -> WandbRegistry:
    """The registry with that version, and an empty cache."""
    shared[0].cache = BundleCache(tmp_path / "cache")
    return shared[0]


@pytest.fixture
def own_registry(wandb_server: WandbServer, tmp_path: Path) -> Iterator[WandbRegistry]:
    """A registry on a collection that nobody shares."""
    registry = WandbRegistry("wandb-registry-model/own", BundleCache(tmp_path / "cache"))
    yield registry
    registry.close()


def fails(registry: WandbRegistry, error: type[ModerationError], *words: str, version: str | None = None) -> None:
    begun = time.monotonic()
    with pytest.raises(error) as raised:
        registry.fetch(version) if version else registry.resolve("production")
    assert all(word in str(raised.value) for word in words), raised.value
    assert time.monotonic() - begun < BOUND_S
    assert "\n" not in str(raised.value)
    assert registry.cache.find(version or "0" * 64) is None


def test_bundles_are_published_named_moved_reported_and_traced(
    own_registry: WandbRegistry, wandb_server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = own_registry
    assert (registry.versions(), registry.aliases(), registry.events("production")) == ([], {}, [])
    old = registry.publish(build_tiny_bundle(tmp_path / "old"))
    first_move = registry.point("production", old, MOVE)
    new = registry.publish(build_tiny_bundle(tmp_path / "new", bias=-5.0))
    assert registry.publish(tmp_path / "new") == new  # again changes nothing
    assert registry.versions() == [old, new]
    with pytest.raises(RegistryError, match=f"moved from nothing to {old[:12]} meanwhile"):
        registry.point("production", new, MOVE, expected_previous=None)
    second_move = registry.point("production", new[:8], Move("bob", "better"), expected_previous=old)
    assert registry.resolve("production") == new
    assert registry.aliases() == {"production": new}
    assert read_bundle(registry.fetch(old[:12])).version == old
    assert registry.events("production") == [first_move, second_move]
    assert (first_move.moved_by, first_move.reason, first_move.previous) == ("ada", "passed the gate", None)
    assert (second_move.moved_by, second_move.version, second_move.previous) == ("bob", new, old)

    for text in ("first", "second"):
        folder = tmp_path / f"report-{text}"
        folder.mkdir()
        (folder / "report.json").write_text(f'"{text}"')
        (folder / "report.html").write_text(text)
        registry.keep_report(new, folder)
    assert registry.reports(old) == []
    assert [(report / "report.html").read_text() for report in registry.reports(new)] == ["first", "second"]
    logged_by, used_by = wandb_server.runs_of(new)
    assert logged_by["jobType"] == "publish"
    assert sorted(run["jobType"] for run in used_by) == ["alias-move", "gate", "gate"]

    registry.close()
    monkeypatch.setenv("WANDB_API_KEY", KEY)  # not an admin's
    with pytest.raises(RegistryError, match="refuses this key.*permission"):
        registry.point("production", old, MOVE)
    assert registry.resolve("production") == new


def test_what_is_not_there_is_named(registry: WandbRegistry, first: str) -> None:
    with pytest.raises(NotFoundError, match="no alias 'canary'"):
        registry.resolve("canary")
    with pytest.raises(NotFoundError, match="not in the registry"):
        registry.fetch("0" * 12)
    with pytest.raises(RegistryError, match="is not a name"):
        registry.resolve("no:name")


def test_a_wrong_key_or_none_is_said_and_not_repeated(
    registry: WandbRegistry, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.close()
    monkeypatch.setenv("WANDB_API_KEY", "b" * 40)
    fails(registry, RegistryError, "key")
    with pytest.raises(RegistryError) as raised:
        registry.resolve("production")
    assert "b" * 40 not in str(raised.value)
    registry.close()
    monkeypatch.delenv("WANDB_BASE_URL")
    fails(registry, ConfigurationError, "WANDB_BASE_URL")
    registry.close()


@pytest.mark.parametrize(
    ("action", "error", "word"),
    [("corrupt", BundleError, "damaged"), ("truncate", BundleError, "damaged"), ("cut", UnavailableError, "W&B")],
)
def test_a_damaged_download_is_refused_and_the_next_one_taken(
    registry: WandbRegistry,
    first: str,
    wandb_server: WandbServer,
    action: str,
    error: type[ModerationError],
    word: str,
) -> None:
    wandb_server.fault("GET /storage/content/", action)
    fails(registry, error, word, version=first)
    wandb_server.calm()
    assert read_bundle(registry.fetch(first)).version == first


def test_a_stalled_download_ends_at_its_deadline(
    registry: WandbRegistry, first: str, wandb_server: WandbServer
) -> None:
    impatient = WandbRegistry(registry.collection, registry.cache, transfer_s=8)
    wandb_server.fault("GET /storage/content/", "hang:120")
    fails(impatient, UnavailableError, "did not answer `fetch` within 8 s", version=first)
    wandb_server.calm()
    assert registry.fetch(first).is_dir()
    impatient.close()


def test_a_server_that_is_away_is_said_with_its_cause(
    registry: WandbRegistry, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.close()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    fails(registry, UnavailableError, "http://127.0.0.1:9", "refused")


def test_a_damaged_copy_in_the_cache_is_fetched_anew(registry: WandbRegistry, first: str) -> None:
    path = registry.fetch(first)
    (path / "README.md").write_text("changed")
    assert read_bundle(registry.fetch(first)).version == first


def test_the_stand_in_knows_every_field_that_the_sdk_asks_for(registry: WandbRegistry, first: str) -> None:
    # Over all that this session's tests did: a newer SDK that asks for more fails here, not in silence.
    registry.fetch(first)
    assert httpx.get(f"{os.environ['WANDB_BASE_URL']}/__fake/state", trust_env=False).json()["unknown_fields"] == {}
