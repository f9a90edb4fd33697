"""A running server follows its alias; through the real app, registry and database."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, select

from moderation.bundle import read_bundle
from moderation.db.database import connect, migrate
from moderation.db.models import Version
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from serve.model import ModelSource
from serve.process import prepared
from serve.watcher import Follower, Watcher
from tests.bundles import build_tiny_bundle
from tests.serve.fakes import UnsteadyLog
from tests.serve.process import free_port
from tests.serve.server import (
    current_model,
    listening,
    served,
    settings_in,
    tiny_model,
    tiny_registry,
    wait_until,
    with_scoring,
)

MOVE = Move("test", "tried")


@dataclass(frozen=True)
class Followed:
    """A server that looks at its alias many times a second."""

    http: httpx.Client
    registry: LocalRegistry
    first: str
    folder: Path
    database_url: str

    def publish(self, bias: float) -> str:
        return self.registry.publish(build_tiny_bundle(self.folder / f"bundle{bias}", bias=bias))

    def version(self) -> str:
        return str(self.http.get("/version").json()["version"])

    def figures(self) -> str:
        return self.http.get("/metrics").text


@contextmanager
def following(folder: Path, **values: object) -> Iterator[Followed]:
    settings = settings_in(folder, **{"api_port": free_port(), "alias_poll_s": 0.05, **values})
    first = tiny_registry(settings, folder)
    url = settings.resolved_database_url()
    engine = connect(url)
    migrate(engine)
    engine.dispose()
    with prepared(settings) as (app, _), listening(app) as api, httpx.Client(base_url=api, trust_env=False) as http:
        yield Followed(http, LocalRegistry(settings.resolved_registry_dir()), first, folder, url)


def test_a_moved_alias_is_served_and_no_request_is_dropped(tmp_path: Path) -> None:
    with following(tmp_path) as server, ThreadPoolExecutor(3) as pool:
        over = threading.Event()

        def ask() -> set[tuple[str, float]]:
            found = set()
            while not over.is_set():
                batch = {"comment_texts": ["disgusting", "hello", "disgusting"]}
                answered = server.http.post("/predict/batch", json=batch).raise_for_status().json()["predictions"]
                assert len({answer["version"] for answer in answered}) == 1  # a request has one version
                found |= {(answer["version"], round(answer["scores"]["toxic"], 4)) for answer in answered[::2]}
            return found

        callers = [pool.submit(ask) for _ in range(3)]
        second = server.publish(-5.0)
        server.registry.point("production", second, MOVE)
        try:
            wait_until(lambda: server.version() == second)
            server.registry.point("production", server.first, MOVE)  # and back
            wait_until(lambda: server.version() == server.first)
        finally:
            over.set()
        found = set.union(*(caller.result() for caller in callers))
        assert len(found) == len({version for version, _ in found}) == 2  # each version its own score
        assert "moderation_version_changes_total 2.0" in server.figures()
        (served_now,) = [line for line in server.figures().splitlines() if line.startswith("moderation_model_info{")]
        assert f'version="{server.first}"' in served_now
    engine = connect(server.database_url)
    with engine.connect() as connection:
        assert set(connection.execute(select(Version.version)).scalars()) == {server.first, second}
    engine.dispose()


def spoil_weights(bundle: Path) -> None:
    (bundle / "model.int8.onnx").write_bytes(b"spoiled")


def edit_manifest(bundle: Path) -> None:
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"threshold": 0.5', '"threshold": 0.9'))
    read_bundle(bundle)  # whole in itself, but another version


@pytest.mark.parametrize("damage", [spoil_weights, edit_manifest])
def test_a_version_that_is_not_fit_is_refused_once_and_the_old_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    with following(tmp_path) as server:
        bad = server.publish(-5.0)
        damage(server.registry.fetch(bad))
        server.registry.point("production", bad, MOVE)
        wait_until(lambda: "moderation_refused_versions_total 1.0" in server.figures())
        ready = server.http.get("/ready")
        assert ready.status_code == 200
        assert f"version {bad} is refused" in ready.json()["parts"]["registry"]
        assert server.version() == server.first
        assert server.http.post("/predict", json={"comment_text": "hello"}).json()["version"] == server.first
        good = server.publish(-6.0)
        server.registry.point("production", good, MOVE)
        wait_until(lambda: server.version() == good)
        assert server.http.get("/ready").json()["parts"]["registry"] == "ok"
    assert len([message for message in caplog.messages if f"version {bad} is refused" in message]) == 1


def test_a_registry_that_is_away_changes_nothing_and_is_said(tmp_path: Path) -> None:
    with following(tmp_path) as server:
        aliases = server.registry.path / "aliases"
        shutil.move(aliases, tmp_path / "elsewhere")
        wait_until(lambda: "has no alias" in server.http.get("/ready").json()["parts"]["registry"])
        assert "moderation_registry_up 0.0" in server.figures()
        assert server.http.post("/predict", json={"comment_text": "hello"}).status_code == 200
        shutil.move(tmp_path / "elsewhere", aliases)
        wait_until(lambda: "moderation_registry_up 1.0" in server.figures())


def test_a_request_that_waits_ends_on_the_version_it_began_with(tmp_path: Path) -> None:
    gate = threading.Event()
    settings = settings_in(tmp_path)
    old = tiny_model(settings, tmp_path)
    slow = with_scoring(old, lambda score, texts: (gate.wait(20), score(texts))[1])
    registry = LocalRegistry(settings.resolved_registry_dir())
    registry.point("production", registry.publish(build_tiny_bundle(tmp_path / "new", bias=-5.0)), MOVE)
    new = current_model(settings)
    watcher = Watcher(slow)
    with served(settings, slow, watcher=watcher) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.http.post, "/predict", json={"comment_text": "hello"})
        wait_until(lambda: "moderation_waiting_texts 1.0" in server.http.get("/metrics").text)
        watcher.production.model = new
        answer = server.http.post("/predict", json={"comment_text": "hello"}).json()
        assert not waiting.done()
        gate.set()
        assert (answer["version"], waiting.result().json()["version"]) == (new.served.version, old.served.version)


def test_a_corrupt_version_published_under_load_answers_nobody_and_every_answer_is_right(tmp_path: Path) -> None:
    with following(tmp_path) as server, ThreadPoolExecutor(3) as pool:
        right = server.http.post("/predict", json={"comment_text": "disgusting"}).json()["scores"]
        over = threading.Event()

        def ask() -> int:
            count = 0
            while not over.is_set():
                text = {"comment_text": "disgusting"}
                answer = server.http.post("/predict", json=text).raise_for_status().json()
                assert (answer["version"], answer["scores"]) == (server.first, right)
                count += 1
            return count

        callers = [pool.submit(ask) for _ in range(3)]
        bad = server.publish(-5.0)
        weights = server.registry.fetch(bad) / "model.int8.onnx"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
        server.registry.point("production", bad, MOVE)
        try:
            wait_until(lambda: "moderation_refused_versions_total 1.0" in server.figures())
        finally:
            over.set()
        assert all(caller.result() > 0 for caller in callers)


def test_reload_looks_at_once_and_says_what_is_served(tmp_path: Path) -> None:
    with following(tmp_path, alias_poll_s=3600) as server:
        unchanged = server.http.post("/admin/reload").raise_for_status().json()
        assert unchanged == {"version": server.first, "changed": False, "problem": None, "shadow_version": None}
        second = server.publish(-5.0)
        server.registry.point("production", second, MOVE)
        assert server.version() == server.first
        changed = server.http.post("/admin/reload").json()
        assert (changed["version"], changed["changed"]) == (second, True)
        assert server.http.post("/predict", json={"comment_text": "hello"}).json()["version"] == second


def test_reload_says_why_the_newest_is_not_served_and_tries_again_once_it_is_mended(tmp_path: Path) -> None:
    with following(tmp_path, alias_poll_s=3600) as server:
        second = server.publish(-5.0)
        weights = server.registry.fetch(second) / "model.int8.onnx"
        whole = weights.read_bytes()
        weights.write_bytes(b"spoiled")
        server.registry.point("production", second, MOVE)
        refused = server.http.post("/admin/reload").json()
        assert (refused["version"], refused["changed"]) == (server.first, False)
        assert f"version {second} is refused" in refused["problem"]
        weights.write_bytes(whole)
        assert server.http.post("/admin/reload").json()["version"] == second


def test_a_candidate_is_followed_besides_and_its_absence_is_no_fault(tmp_path: Path) -> None:
    with following(tmp_path, shadow_alias="candidate", shadow_share=0) as server:

        def part() -> str:
            ready = server.http.get("/ready")
            assert ready.status_code == 200
            return str(ready.json()["parts"]["shadow"])

        wait_until(lambda: "candidate" in part())
        assert server.http.get("/ready").json()["parts"]["registry"] == "ok"
        server.registry.point("candidate", server.first, MOVE)
        wait_until(lambda: part() == "the candidate is what answers")
        second = server.publish(-5.0)
        server.registry.point("candidate", second, MOVE)
        wait_until(lambda: part() == "ok")
        assert server.http.post("/admin/reload").json()["shadow_version"] == second
        assert server.version() == server.first
        assert "moderation_shadow_up 1.0" in server.figures()


def test_the_candidate_gives_way_while_the_outbox_is_half_full(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, max_outbox_rows=4, max_batch_texts=4, shadow_share=1)
    model = tiny_model(settings, tmp_path)
    follower = Follower("candidate", replace(model, served=model.served.model_copy(update={"version": "b" * 64})))
    logs: list[UnsteadyLog] = []

    def unsteady(engine: Engine) -> UnsteadyLog:
        logs.append(UnsteadyLog(engine))
        logs[0].away = True
        return logs[0]

    with served(settings, model, log=unsteady, watcher=Watcher(model, shadow=follower)) as server:
        batch = {"comment_texts": ["hello", "damn", "thanks"]}
        assert server.http.post("/predict/batch", json=batch).status_code == 200
        time.sleep(0.3)  # ten times as long as the candidate would need
        assert server.outbox.pending() == 3
        assert server.http.post("/predict", json={"comment_text": "hello"}).status_code == 200
        logs[0].away = False
        wait_until(lambda: "moderation_shadow_scored_total 4.0" in server.http.get("/metrics").text)


class HangingSource:
    """A registry that does not answer until it is let go."""

    def __init__(self, version: str) -> None:
        self.answers = threading.Event()
        self._version = version

    def resolve(self, alias: str) -> str:
        assert self.answers.wait(20)
        return self._version


def test_a_registry_that_hangs_holds_a_reload_up_for_a_bounded_time(tmp_path: Path) -> None:
    model = tiny_model(settings_in(tmp_path), tmp_path)
    source = HangingSource(model.served.version)
    watcher = Watcher(model, source, poll_s=3600)  # type: ignore[arg-type]
    watcher.start(lambda _: None)
    assert not watcher.look_now(timeout_s=0.2)
    source.answers.set()
    assert watcher.look_now(timeout_s=20)
    watcher.close()


def test_a_version_that_was_refused_is_said_to_be_so_whenever_the_alias_points_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    good = tiny_registry(settings, tmp_path)
    registry, source = LocalRegistry(settings.resolved_registry_dir()), ModelSource(settings)
    bad = registry.publish(build_tiny_bundle(tmp_path / "bad", bias=-5.0))
    spoil_weights(registry.fetch(bad))
    follower = Follower("production", current_model(settings))
    for try_again_s in (600.0, 0.0, 0.0, 0.0):  # at the third time it is loaded anew
        monkeypatch.setattr("serve.watcher.TRY_AGAIN_S", try_again_s)
        registry.point("production", bad, MOVE)
        assert not follower.look(source)
        assert str(follower.problem).startswith(f"version {bad} is refused, {good} stays: ")
        if try_again_s == 0:
            follower._refused = {version: (0.0, error) for version, (_, error) in follower._refused.items()}
        registry.point("production", good, MOVE)
        assert not follower.look(source)
        assert follower.problem is None
    assert follower.refusals == 1
    assert len([message for message in caplog.messages if f"version {bad} is refused" in message]) == 4
