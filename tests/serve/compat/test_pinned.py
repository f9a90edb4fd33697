"""Versions that callers name: loaded once, few at a time, beside the one in service."""

import asyncio
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from moderation.db.database import connect
from moderation.db.log import VersionRecord
from moderation.db.models import Prediction, Rollup
from moderation.errors import NotFoundError, OverloadedError, RegistryError, UnavailableError
from moderation.registry.local import LocalRegistry
from serve import process
from serve.model import Model, ModelSource
from serve.pinned import MAX_LOADING, PinnedModels, Versions
from serve.watcher import Watcher
from tests.bundles import build_tiny_bundle
from tests.serve.compat.asking import ANALYZE, SUGGEST, body, refused, send
from tests.serve.keyed import make, served_with_keys
from tests.serve.server import Server, served, settings_in, tiny_model, wait_until

TEXT = "You are disgusting."


@dataclass(frozen=True)
class Old:
    """A server, and the version of its registry that is not in service."""

    server: Server
    version: str


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    folder = tmp_path_factory.mktemp("pinned")
    settings = settings_in(folder)
    model = tiny_model(settings, folder)
    other = build_tiny_bundle(folder / "old", name="old", bias=-3.0)
    version = LocalRegistry(settings.resolved_registry_dir()).publish(other)
    source = ModelSource(settings)
    with served(settings, model, versions=Versions(source.match, source.load_pinned)) as server:
        yield Old(server, version)


@pytest.mark.parametrize("digits", [8, 12, 64])
def test_a_pinned_version_answers_under_the_name_that_was_asked(old: Old, digits: int) -> None:
    name = f"TOXICITY@{old.version[:digits]}"
    response = send(old.server, body(TEXT, "TOXICITY", name, "INSULT@3"))
    found = {key: value["summaryScore"]["value"] for key, value in response.json()["attributeScores"].items()}
    current = old.server.http.post("/predict", json={"comment_text": TEXT}).json()["scores"]
    assert list(found) == ["TOXICITY", name, "INSULT@3"]
    assert (found["TOXICITY"], found["INSULT@3"]) == (current["toxic"], current["insult"])
    assert found[name] == pytest.approx(1 / (1 + 2.718281828 ** -(7 - 3.0)), abs=1e-4)
    assert response.headers["x-moderation-version"] == f"{old.server.model.served.version}, {old.version}"


def test_a_pinned_version_is_logged_as_what_answered(old: Old) -> None:
    headers = {"X-Request-Id": "asked-for-old"}
    assert send(old.server, body(TEXT, f"THREAT@{old.version[:8]}"), headers=headers).status_code == 200

    def versions() -> list[str]:
        query = select(Prediction.version).where(Prediction.request_id == "asked-for-old")
        with old.server.engine.connect() as connection:
            return list(connection.scalars(query))

    wait_until(versions)
    assert versions() == [old.version]


def test_pinning_what_is_in_service_is_answered_by_it(old: Old) -> None:
    response = send(old.server, body(TEXT, f"TOXICITY@{old.server.model.served.version[:10]}"))
    assert response.headers["x-moderation-version"] == old.server.model.served.version


@pytest.mark.parametrize("version", ["00000000", "f" * 64])
def test_a_version_that_nobody_has_is_refused(old: Old, version: str) -> None:
    found = refused(send(old.server, body(TEXT, f"TOXICITY@{version}")))
    assert found == (400, f"Unknown requested attribute: TOXICITY@{version}", "INVALID_ARGUMENT", "INVALID_REQUEST")


def test_a_suggestion_may_name_a_version(old: Old) -> None:
    said = {"comment": {"text": TEXT}, "attributeScores": {"TOXICITY@5": {"summaryScore": {"value": 1}}}}
    assert send(old.server, said, SUGGEST).status_code == 200
    assert send(old.server, body(), ANALYZE).status_code == 200


def test_two_ways_to_name_a_version_are_one_version(old: Old) -> None:
    short, long = f"TOXICITY@{old.version[:8]}", f"INSULT@{old.version}"
    response = send(old.server, body(TEXT, short, long), headers={"X-Request-Id": "named-twice"})
    assert list(response.json()["attributeScores"]) == [short, long]
    assert response.headers["x-moderation-version"] == old.version

    def logged() -> list[str]:
        with old.server.engine.connect() as connection:
            return list(connection.scalars(select(Prediction.id).where(Prediction.request_id == "named-twice")))

    wait_until(logged)
    assert len(logged()) == 1


def test_a_request_names_no_more_versions_than_are_kept(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, pinned_versions=1)
    model = tiny_model(settings, tmp_path)
    registry, source = LocalRegistry(settings.resolved_registry_dir()), ModelSource(settings)
    a, b = (registry.publish(build_tiny_bundle(tmp_path / name, name=name)) for name in "ab")
    loaded: list[str] = []

    def load(version: str) -> Model:
        loaded.append(version)
        return source.load_pinned(version)

    with served(settings, model, versions=Versions(source.match, load)) as server:
        names = [f"TOXICITY@{version[:12]}" for version in (a, b, model.served.version)]
        assert (
            refused(send(server, body(TEXT, *names)))[1] == "More than 1 versions are requested beside the current one"
        )
        assert loaded == [a]
        assert send(server, body(TEXT, names[0], names[2])).status_code == 200


def test_a_version_is_recorded_before_it_answers_and_its_first_prediction_is_classified(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    model = tiny_model(settings, tmp_path)
    version = LocalRegistry(settings.resolved_registry_dir()).publish(build_tiny_bundle(tmp_path / "old", name="old"))
    source, engine = ModelSource(settings), connect(settings.resolved_database_url())
    watcher = Watcher(model, record=partial(process.record_in, engine))
    versions = Versions(source.match, partial(process.load_pinned, source, watcher))
    with served(settings, model, watcher=watcher, versions=versions) as server:
        assert send(server, body(TEXT, f"TOXICITY@{version[:8]}")).status_code == 200

        def counted() -> list[tuple[int, int]]:
            query = select(Rollup.predictions, Rollup.classified).where(Rollup.version == version)
            with server.engine.connect() as connection:
                return [tuple(row) for row in connection.execute(query)]

        wait_until(counted)
        assert set(counted()) == {(1, 1)}
    engine.dispose()


def test_models_are_not_held_by_a_database_that_is_away(model: Model) -> None:
    told: list[str] = []

    def fail(record: VersionRecord) -> None:
        told.append(record.version)
        raise UnavailableError("away")

    watcher, dropped = Watcher(model, record=fail), replace(model)
    kept = weakref.ref(dropped)
    for _ in range(3):
        assert not watcher.record(dropped.record())
    del dropped
    assert kept() is None
    assert told == [model.served.version] * 3
    assert list(watcher.unrecorded) == [model.served.version]


def test_a_load_is_charged_and_an_exhausted_key_loads_nothing(tmp_path: Path, model: Model) -> None:
    registry = Registry(model)
    with served_with_keys(settings_in(tmp_path), model, versions=Versions(registry.match, registry.load)) as server:
        key = make(server.engine, "newsroom", quota_per_minute=3)

        def ask(version: str) -> httpx.Response:
            return send(server, body(TEXT, f"TOXICITY@{version}"), f"{ANALYZE}?key={key}")

        assert ask("aaaaaaaa").headers["x-ratelimit-remaining"] == "1"
        assert ask("aaaaaaaa").headers["x-ratelimit-remaining"] == "0"
        assert ask("bbbbbbbb").status_code == 429
    assert registry.asked == ["aaaaaaaa"]


class Registry:
    """Gives a model for every version but those that are away; notes which it loaded."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.asked: list[str] = []
        self.problem: Callable[[str], None] = lambda _: None

    def match(self, beginning: str) -> str:
        time.sleep(0.01)
        return beginning.ljust(64, "0")

    def load(self, version: str) -> Model:
        self.asked.append(version[:8])
        time.sleep(0.01)
        self.problem(version)
        return replace(self._model, served=self._model.served.model_copy(update={"version": version}))


async def find(pinned: PinnedModels, beginning: str) -> Model:
    return await pinned.load(await pinned.match(beginning))


def run(steps: Callable[[PinnedModels], object], model: Model, registry: Registry, most: int = 2) -> None:
    async def all_steps() -> None:
        pinned = PinnedModels(lambda: model, Versions(registry.match, registry.load), most)
        try:
            await steps(pinned)  # type: ignore[misc]
        finally:
            pinned.close()

    asyncio.run(all_steps())


def test_callers_share_a_load_and_the_one_used_last_stays(model: Model) -> None:
    registry = Registry(model)

    async def steps(pinned: PinnedModels) -> None:
        await asyncio.gather(*(find(pinned, "aaaaaaaa" + "0" * (n % 3)) for n in range(9)))
        await find(pinned, "bbbbbbbb")
        await find(pinned, "aaaaaaaa00")
        await find(pinned, "cccccccc")  # in the place of b
        await find(pinned, "aaaaaaaa")
        await find(pinned, "bbbbbbbb")

    run(steps, model, registry)
    assert registry.asked == ["aaaaaaaa", "bbbbbbbb", "cccccccc", "bbbbbbbb"]


def test_the_registry_is_not_asked_again_at_once_for_what_it_does_not_have(model: Model) -> None:
    registry = Registry(model)

    def nothing(version: str) -> None:
        raise NotFoundError(version)

    registry.problem = nothing

    async def steps(pinned: PinnedModels) -> None:
        for _ in range(3):
            with pytest.raises(NotFoundError):
                await find(pinned, "aaaaaaaa")

    run(steps, model, registry)
    assert registry.asked == ["aaaaaaaa"]


def test_a_registry_that_fails_is_asked_again(model: Model) -> None:
    registry = Registry(model)

    def fail(version: str) -> None:
        raise RegistryError("away")

    registry.problem = fail

    async def steps(pinned: PinnedModels) -> None:
        with pytest.raises(RegistryError):
            await find(pinned, "aaaaaaaa")
        registry.problem = lambda _: None
        assert (await find(pinned, "aaaaaaaa")).served.version.startswith("aaaaaaaa")

    run(steps, model, registry)


def test_only_some_wait_to_be_loaded(model: Model) -> None:
    async def steps(pinned: PinnedModels) -> None:
        found = await asyncio.gather(
            *(find(pinned, f"{n:08x}") for n in range(MAX_LOADING + 1)), return_exceptions=True
        )
        assert [type(each) for each in found] == [Model] * MAX_LOADING + [OverloadedError]

    run(steps, model, Registry(model))


def test_no_versions_are_loaded_where_none_may_be(model: Model) -> None:
    registry = Registry(model)

    async def steps(pinned: PinnedModels) -> None:
        with pytest.raises(NotFoundError):
            await find(pinned, "aaaaaaaa")

    run(steps, model, registry, most=0)
    assert registry.asked == []
