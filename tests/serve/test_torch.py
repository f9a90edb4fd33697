"""The API with the torch backend, on the CPU of the tests, and with a model that wants several texts per call."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from moderation.settings import ApiSettings
from serve.model import Model, TextScores
from tests.encoders import encoder_bundle
from tests.serve.server import Score, current_model, served, settings_in, with_scoring


def test_the_api_serves_with_torch_and_says_on_what(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, backend="torch")
    registry = LocalRegistry(settings.resolved_registry_dir())
    version = registry.publish(encoder_bundle(tmp_path / "bundle", "roberta", "first", safetensors=True))
    registry.point("production", version, Move("test", "set up"))
    with served(settings, current_model(settings)) as server:
        stated = server.http.get("/version").json()
        assert (stated["backend"], stated["device"]) == ("torch", "cpu")
        texts = ["w4 w5 w6", "w7 " * 40, "w50", "w9"]
        batch = server.http.post("/predict/batch", json={"comment_texts": texts}).json()["predictions"]
        for text, expected in zip(texts, batch, strict=True):
            alone = server.http.post("/predict", json={"comment_text": text}).json()
            assert alone["scores"] == pytest.approx(expected["scores"], abs=1e-3)


def test_texts_of_several_requests_share_the_calls_of_a_model_that_wants_many_tokens(
    settings: ApiSettings, model: Model
) -> None:
    calls: list[int] = []

    def count(score: Score, texts: Sequence[str]) -> list[TextScores]:
        calls.append(len(texts))
        return score(texts)

    wants_many = replace(with_scoring(model, count), call_tokens=10_000)
    with served(settings, wants_many) as server, ThreadPoolExecutor(8) as pool:

        def ask(number: int) -> list[dict[str, float]]:
            texts = [f"you idiot {number} {index}" for index in range(40)]
            answer = server.http.post("/predict/batch", json={"comment_texts": texts})
            return [prediction["scores"] for prediction in answer.json()["predictions"]]

        answers = list(pool.map(ask, range(8)))
    expected = model.score(["you idiot"])[0].scores
    assert all(scores == pytest.approx(expected) for answer in answers for scores in answer)
    assert sum(calls) == 320
    assert max(calls) > 10
