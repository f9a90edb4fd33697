"""Fixtures of the server's tests."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from moderation.db.database import connect, migrate
from moderation.settings import ApiSettings
from serve.model import Model
from tests.serve.server import Server, served, settings_in, tiny_model


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """A migrated SQLite database."""
    engine = connect(sqlite_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that one module's tests share."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def settings(folder: Path) -> ApiSettings:
    """Settings with small limits."""
    return settings_in(folder, max_text_bytes=65_536, max_batch_texts=50, max_body_bytes=1_000_000)


@pytest.fixture(scope="module")
def model(settings: ApiSettings, folder: Path) -> Model:
    """The tiny bundle, loaded from a registry with the repository's policy."""
    return tiny_model(settings, folder)


@pytest.fixture(scope="module")
def server(settings: ApiSettings, model: Model) -> Iterator[Server]:
    """One server for a module's tests."""
    with served(settings, model, body_timeout_s=1) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> httpx.Client:
    """A client of that server."""
    return server.http
