"""``explain`` through the real server with the tiny bundle, whose words have known weights."""

import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from moderation.client import ModerationClient
from moderation.db.models import Prediction
from moderation.settings import ApiSettings
from serve.model import Model
from tests.apps.hostile import HOSTILE
from tests.bundles import LABELS, WORDS
from tests.serve.keyed import make, served_with_keys
from tests.serve.server import Server, served, settings_in, tiny_model, wait_until

RATE_LEFT = "X-RateLimit-Remaining"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("keyed")
    settings = settings_in(folder)
    with served_with_keys(settings, tiny_model(settings, folder)) as server:
        yield server


def explained(api: httpx.Client, text: str, **more: object) -> dict:  # type: ignore[type-arg]
    response = api.post("/predict", json={"comment_text": text, "explain": True, **more})
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def test_each_word_is_given_with_its_weight_per_label(api: httpx.Client) -> None:
    text = "Thank you, damn  idiot 👍🏽"
    explanation = explained(api, text)["explanation"]
    words = [text[each["start"] : each["end"]] for each in explanation]
    assert words == ["Thank", "you", "damn", "idiot", "👍🏽"]
    for word, each in zip(words, explanation, strict=True):
        weights = WORDS.get(word.lower(), (0,) * len(LABELS))
        assert list(each["contributions"].values()) == pytest.approx(weights, abs=0.01)
    drives = {word: each["drives"] for word, each in zip(words, explanation, strict=True) if each["drives"]}
    assert drives == {"damn": ["obscene"], "idiot": ["toxic", "insult"]}


def test_scores_are_those_of_a_plain_request(api: httpx.Client) -> None:
    text = "They are vermin, kill them."
    plain = api.post("/predict", json={"comment_text": text}).json()
    assert "explanation" not in plain
    with_words = explained(api, text)
    assert with_words.keys() - plain.keys() == {"explanation"}
    assert with_words["scores"] == plain["scores"]
    assert with_words["decision"] == plain["decision"]


@pytest.mark.parametrize("text", ["idiot", *HOSTILE, "أنت idiot", "你好 damn 你"])
def test_every_text_is_explained_within_its_bounds(api: httpx.Client, text: str) -> None:
    explanation = explained(api, text)["explanation"]
    assert all(0 <= each["start"] < each["end"] <= len(text) for each in explanation)
    assert all(math.isfinite(value) for each in explanation for value in each["contributions"].values())


def test_only_the_comment_itself_is_logged_counted_and_cached(
    settings: ApiSettings, model: Model, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"state_dir": tmp_path, "registry_dir": tmp_path / "registry"})
    with served(settings, model) as server:
        explained(server.http, "You damn idiot, thank you.")
        wait_until(lambda: count(server) == 1)
        figures = server.http.get("/metrics").text
        assert sum(value("moderation_predictions_total", figures)) == 1
        # The text without a word was scored for the explanation only: asked for itself, it is no duplicate.
        server.http.post("/predict", json={"comment_text": "You idiot, thank you."})
        assert value("moderation_cached_predictions_total", server.http.get("/metrics").text) == [0]


def count(server: Server) -> int:
    with server.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(Prediction)).scalar_one()


def value(name: str, figures: str) -> list[float]:
    return [float(line.rpartition(" ")[2]) for line in figures.splitlines() if line.startswith(name)]


def test_words_are_charged_to_the_quota_as_comments(keyed: Server) -> None:
    key = make(keyed.engine, "words", "predict", quota_per_minute=10)
    headers = {"X-API-Key": key}
    body = {"comment_text": "four words are here", "explain": True}
    assert keyed.http.post("/predict", json=body, headers=headers).headers[RATE_LEFT] == "5"
    assert keyed.http.post("/predict", json=body, headers=headers).headers[RATE_LEFT] == "0"
    refused = keyed.http.post("/predict", json=body, headers=headers)
    assert refused.json()["code"] == "over_quota"

    body["comment_text"] = "word " * 10
    headers = {"X-API-Key": make(keyed.engine, "more-words", "predict", quota_per_minute=10)}
    assert keyed.http.post("/predict", json=body, headers=headers).json()["code"] == "too_large"


def test_server_that_never_has_room_for_the_words_refuses_them(model: Model, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, max_waiting_texts=5, max_batch_texts=5)
    with served(settings, model) as server:
        body = {"comment_text": "one two three four five", "explain": True}
        refused = server.http.post("/predict", json=body)  # it never has: 503 would say to try again
        assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
        assert "needs 12 scorings" in refused.json()["message"]
        assert server.http.post("/predict", json=body | {"explain": False}).status_code == 200


def test_client_asks_for_words(server: Server) -> None:
    with ModerationClient(server.url) as client:
        assert client.predict("damn").explanation is None
        explanation = client.predict("you idiot", explain=True).explanation
        assert explanation is not None
        assert [(each.start, each.end) for each in explanation] == [(0, 3), (4, 9)]


def test_batch_takes_no_explain(api: httpx.Client) -> None:
    response = api.post("/predict/batch", json={"comment_texts": ["hello"], "explain": True})
    assert response.status_code == 422
