"""The moderator app's page over a real API with the tiny bundle."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.apps.pages import page
from tests.serve.server import Server, served, settings_in, tiny_model


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("api")
    settings = settings_in(folder)
    with served(settings, tiny_model(settings, folder)) as server:
        yield server


@pytest.fixture
def moderator(api: Server, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("MODERATION_API_URL", api.url)
    return page("moderator")
