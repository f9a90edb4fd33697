"""Versions that callers name: loaded once, few at a time, beside the one in service."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select

from moderation.db.models import Prediction
from moderation.errors import NotFoundError, OverloadedError, RegistryError
from moderation.registry.local import LocalRegistry
from serve.model import Model, ModelSource
from serve.pinned import MAX_LOADING, PinnedModels
from tests.bundles import build_tiny_bundle
from tests.serve.compat.asking import ANALYZE, SUGGEST, body, refused, send
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
    with served(settings, model, load_version=ModelSource(settings).load_pinned) as server:
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


class Registry:
    """Gives a model for every version but those that are away; counts what it was asked for."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.asked: list[str] = []
        self.problem: Callable[[str], None] = lambda _: None

    def load(self, version: str) -> Model:
        self.asked.append(version)
        time.sleep(0.01)
        self.problem(version)
        return replace(self._model, served=self._model.served.model_copy(update={"version": version.ljust(64, "0")}))


def run(steps: Callable[[PinnedModels], object], model: Model, registry: Registry, most: int = 2) -> None:
    async def all_steps() -> None:
        pinned = PinnedModels(lambda: model, registry.load, most)
        try:
            await steps(pinned)  # type: ignore[misc]
        finally:
            pinned.close()

    asyncio.run(all_steps())


def test_callers_share_a_load_and_the_one_used_last_stays(model: Model) -> None:
    registry = Registry(model)

    async def steps(pinned: PinnedModels) -> None:
        await asyncio.gather(*(pinned.find("aaaaaaaa") for _ in range(20)))
        await pinned.find("bbbbbbbb")
        await pinned.find("aaaaaaaa00")
        await pinned.find("cccccccc")  # in the place of b
        await pinned.find("aaaaaaaa")
        await pinned.find("bbbbbbbb")

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
                await pinned.find("aaaaaaaa")

    run(steps, model, registry)
    assert registry.asked == ["aaaaaaaa"]


def test_a_registry_that_fails_is_asked_again(model: Model) -> None:
    registry = Registry(model)

    def fail(version: str) -> None:
        raise RegistryError("away")

    registry.problem = fail

    async def steps(pinned: PinnedModels) -> None:
        with pytest.raises(RegistryError):
            await pinned.find("aaaaaaaa")
        registry.problem = lambda _: None
        assert (await pinned.find("aaaaaaaa")).served.version.startswith("aaaaaaaa")

    run(steps, model, registry)


def test_only_some_wait_to_be_loaded(model: Model) -> None:
    async def steps(pinned: PinnedModels) -> None:
        found = await asyncio.gather(*(pinned.find(f"{n:08x}") for n in range(MAX_LOADING + 1)), return_exceptions=True)
        assert [type(each) for each in found] == [Model] * MAX_LOADING + [OverloadedError]

    run(steps, model, Registry(model))


def test_no_versions_are_loaded_where_none_may_be(model: Model) -> None:
    registry = Registry(model)

    async def steps(pinned: PinnedModels) -> None:
        with pytest.raises(NotFoundError):
            await pinned.find("aaaaaaaa")

    run(steps, model, registry, most=0)
    assert registry.asked == []
