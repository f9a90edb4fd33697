"""The registry on W&B: the real SDK against the stand-in over HTTP, each answer from a process of its own."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture
def registry(wandb_server: WandbServer, tmp_path: Path) -> Iterator[WandbRegistry]:
    """A registry on a collection of its own."""
    name = "".join(letter for letter in tmp_path.name if letter.isalnum())
    registry = WandbRegistry(f"wandb-registry-model/{name}", BundleCache(tmp_path / "cache"))
    yield registry
    registry.close()


@pytest.fixture
def published(registry: WandbRegistry, tmp_path: Path) -> str:
    """The version that ``production`` points to; the cache is empty."""
    version = registry.publish(build_tiny_bundle(tmp_path / "first"))
    registry.point("production", version, MOVE)
    shutil.rmtree(registry.cache.path)
    return version


def fails(registry: WandbRegistry, error: type[ModerationError], *words: str, version: str | None = None) -> None:
    begun = time.monotonic()
    with pytest.raises(error) as raised:
        registry.fetch(version) if version else registry.resolve("production")
    assert all(word in str(raised.value) for word in words), raised.value
    assert time.monotonic() - begun < BOUND_S
    assert "\n" not in str(raised.value)
    assert registry.cache.find(version or "0" * 64) is None


def test_bundles_are_published_named_found_and_fetched_whole(
    registry: WandbRegistry, published: str, tmp_path: Path
) -> None:
    second = registry.publish(build_tiny_bundle(tmp_path / "second", bias=-5.0))
    assert registry.publish(tmp_path / "second") == second  # again changes nothing
    assert registry.versions() == [published, second]
    first_move = registry.events("production")[0]
    move = registry.point("production", second[:8], Move("bob", "better"))
    assert registry.resolve("production") == second
    assert registry.aliases() == {"production": second}
    assert read_bundle(registry.fetch(published[:12])).version == published
    assert registry.events("production") == [first_move, move]
    assert (first_move.moved_by, first_move.reason, first_move.previous) == ("ada", "passed the gate", None)
    assert (move.moved_by, move.version, move.previous) == ("bob", second, published)


def test_gate_reports_and_lineage_are_kept_with_the_version(
    registry: WandbRegistry, published: str, tmp_path: Path
) -> None:
    assert registry.reports(published) == []
    for text in ("first", "second"):
        folder = tmp_path / f"report-{text}"
        folder.mkdir()
        (folder / "report.json").write_text(f'"{text}"')
        (folder / "report.html").write_text(text)
        registry.keep_report(published, folder)
    reports = registry.reports(published)
    assert [(report / "report.html").read_text() for report in reports] == ["first", "second"]
    lineage = registry.lineage(published)
    assert lineage["version"] == published
    assert lineage["run"]["job_type"] == "publish"  # type: ignore[index]
    assert sorted(user["job_type"] for user in lineage["used_by"]) == ["alias-move", "gate", "gate"]  # type: ignore[attr-defined]


def test_what_is_not_there_is_named(registry: WandbRegistry, published: str) -> None:
    with pytest.raises(NotFoundError, match="no alias 'canary'"):
        registry.resolve("canary")
    with pytest.raises(NotFoundError, match="not in the registry"):
        registry.fetch("0" * 12)
    with pytest.raises(RegistryError, match="is not a name"):
        registry.resolve("no:name")


def test_a_protected_alias_needs_an_admin(
    registry: WandbRegistry, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = registry.publish(build_tiny_bundle(tmp_path / "second", bias=-5.0))
    registry.close()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert registry.resolve("production") == published
    with pytest.raises(RegistryError, match="permission"):
        registry.point("production", second, MOVE)
    assert registry.resolve("production") == published


def test_a_wrong_key_or_none_is_said_and_not_repeated(
    registry: WandbRegistry, published: str, monkeypatch: pytest.MonkeyPatch
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


@pytest.mark.parametrize(
    ("action", "error", "word"),
    [("corrupt", BundleError, "damaged"), ("truncate", BundleError, "damaged"), ("cut", UnavailableError, "W&B")],
)
def test_a_damaged_download_is_refused_and_the_next_one_taken(
    registry: WandbRegistry,
    published: str,
    wandb_server: WandbServer,
    action: str,
    error: type[ModerationError],
    word: str,
) -> None:
    wandb_server.fault("GET /storage/content/", action)
    fails(registry, error, word, version=published)
    wandb_server.calm()
    assert read_bundle(registry.fetch(published)).version == published


def test_a_stalled_download_ends_at_its_deadline(
    registry: WandbRegistry, published: str, wandb_server: WandbServer
) -> None:
    impatient = WandbRegistry(registry.collection, registry.cache, transfer_s=8)
    wandb_server.fault("GET /storage/content/", "hang:120")
    fails(impatient, UnavailableError, "did not answer `fetch` within 8 s", version=published)
    wandb_server.calm()
    assert impatient.fetch(published).is_dir()  # a new process, although the old one hangs
    impatient.close()


def test_a_server_that_is_away_is_said_with_its_cause(
    registry: WandbRegistry, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.close()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    fails(registry, UnavailableError, "http://127.0.0.1:9", "refused")


def test_a_damaged_copy_in_the_cache_is_fetched_anew(registry: WandbRegistry, published: str) -> None:
    path = registry.fetch(published)
    (path / "README.md").write_text("changed")
    assert read_bundle(registry.fetch(published)).version == published


def test_the_stand_in_knows_every_field_that_the_sdk_asks_for(
    registry: WandbRegistry, published: str, wandb_server: WandbServer
) -> None:
    registry.fetch(published)
    registry.events("production")
    assert wandb_server.state()["unknown_fields"] == {}
