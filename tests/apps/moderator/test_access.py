"""The app before an API that asks for keys: what a person reads, and that the key is sent and shown nowhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from moderation.settings import ModeratorSettings
from tests.apps.pages import page, parsed_texts
from tests.serve.keyed import make, served_with_keys
from tests.serve.server import Server, settings_in, tiny_model


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("keyed")
    settings = settings_in(folder)
    with served_with_keys(settings, tiny_model(settings, folder)) as server:
        yield server


def scored(server: Server, key: str | None, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("MODERATION_API_URL", server.url)
    if key is not None:
        monkeypatch.setenv("MODERATION_API_KEY", key)
    at = page("moderator").run()
    at.text_area(key="comment_text").set_value("thank you")
    button = next(each for each in at.button if each.label == "Score")
    return button.click().run()


def test_with_a_key_the_app_works_and_never_shows_it(keyed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make(keyed.engine, "app", "predict", "feedback")
    at = scored(keyed, key, monkeypatch)
    assert not at.error
    assert "Allow" in at.subheader[0].value
    secret = key.rpartition("_")[2]
    assert secret not in parsed_texts(at) + " ".join(code.value for code in at.code)
    assert secret not in repr(ModeratorSettings())


@pytest.mark.parametrize(
    ("scopes", "quota", "words"),
    [
        (None, None, "does not know this app's key"),
        (("admin",), None, "the scopes predict and feedback"),
        (("predict",), 1, "quota of this app's key is used up"),
    ],
)
def test_what_is_refused_says_what_to_do(
    keyed: Server,
    monkeypatch: pytest.MonkeyPatch,
    scopes: tuple[str, ...] | None,
    quota: int | None,
    words: str,
) -> None:
    key = None if scopes is None else make(keyed.engine, f"app-{scopes[0]}", *scopes, quota_per_minute=quota)
    at = scored(keyed, key, monkeypatch)
    if quota is not None:
        button = next(each for each in at.button if each.label == "Score")
        at = button.click().run() if not at.error else at
    assert not at.exception
    assert words in at.error[0].value
