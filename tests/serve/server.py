"""The app in a real uvicorn server on a free port, around small real parts."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from moderation.db.database import connect, migrate
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from moderation.settings import ApiSettings
from serve.app import create_app
from serve.auth import Access
from serve.batcher import Work
from serve.model import Model, ModelSource, TextScores
from serve.outbox import Outbox
from serve.prediction_log import PredictionLog
from serve.protocol import protocol
from serve.watcher import Watcher
from tests.bundles import build_tiny_bundle

Score = Callable[[Sequence[str]], list[TextScores]]
POLICY = Path(__file__).resolve().parents[2] / "configs" / "policy.yaml"


@dataclass(frozen=True)
class Server:
    """A running server and what lies behind it."""

    url: str
    http: httpx.Client
    engine: Engine
    outbox: Outbox
    model: Model


def settings_in(folder: Path, **values: object) -> ApiSettings:
    usual = {"state_dir": folder / "state", "policy_path": POLICY, "threads": 2}
    return ApiSettings.model_validate(usual | values)


def tiny_registry(settings: ApiSettings, folder: Path) -> str:
    """Publish the tiny bundle as ``production`` where ``settings`` look for it; return its version."""
    registry = LocalRegistry(settings.resolved_registry_dir())
    version = registry.publish(build_tiny_bundle(folder / "tiny"))
    registry.point("production", version, Move("test", "set up"))
    return version


@contextmanager
def served(
    settings: ApiSettings,
    model: Model,
    log: Callable[[Engine], PredictionLog] = PredictionLog,
    watcher: Watcher | None = None,
    max_connections: int = 100,
    port: int = 0,
    access: Callable[[Engine], Access] | None = None,
    **options: Any,
) -> Iterator[Server]:
    """Run the app with a migrated SQLite database; ``log`` may wrap it, ``access`` ask for keys.

    ``options`` go to `create_app`.
    """
    engine = connect(settings.resolved_database_url())
    migrate(engine)
    outbox = Outbox(settings.state_dir / "outbox.db", settings.max_outbox_rows)
    try:
        app = create_app(
            settings,
            watcher=watcher or Watcher(model),
            outbox=outbox,
            log=log(engine),
            access=access and access(engine),
            **options,
        )
        with (
            listening(app, max_connections, port) as url,
            httpx.Client(base_url=url, timeout=30, trust_env=False) as http,
        ):
            yield Server(url, http, engine, outbox, model)
    finally:
        outbox.close()
        engine.dispose()


@contextmanager
def listening(app: FastAPI, max_connections: int = 100, port: int = 0) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="on",
            http=protocol(max_connections, app.state.metrics.refused, head_timeout_s=1),
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def tiny_model(settings: ApiSettings, folder: Path) -> Model:
    tiny_registry(settings, folder)
    return current_model(settings)


def current_model(settings: ApiSettings) -> Model:
    source = ModelSource(settings)
    return source.load(source.resolve(settings.alias), settings.alias)


def with_scoring(model: Model, around: Callable[[Score, Sequence[str]], list[TextScores]]) -> Model:
    """Return ``model`` with its inference wrapped: ``around`` gets the real function and the texts."""
    return replace(
        model,
        tokenize=lambda texts: [Work(len(text), text) for text in texts],
        infer=lambda texts: around(model.score, texts),
    )


def wait_until(condition: Callable[[], object], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not so after {timeout_s} s")
        time.sleep(0.02)
