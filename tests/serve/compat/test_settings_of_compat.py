"""What a deployment and a request can choose on Perspective's routes."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from moderation.bundle import read_bundle
from moderation.labels import LABELS
from moderation.perspective import PerspectiveScorer
from moderation.perspective_scale import AttributeScale, PerspectiveScale
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from serve.model import Model, TextScores
from tests.cli.scaled import build_scaled_bundle
from tests.serve.compat.asking import body, refused, score, send
from tests.serve.server import Score, Server, current_model, served, settings_in, tiny_model, with_scoring

SCALE = PerspectiveScale(
    method="by hand",
    sources={},
    rows=1,
    git_commit="0" * 40,
    attributes={"toxic": AttributeScale(probabilities=[0.0, 0.02, 1.0], scores=[0.0, 0.6, 1.0])},
)
TEXT = "Good morning to all of you here"


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("scaled")
    settings = settings_in(folder, perspective_strict=True, public_url="https://moderation.example.org/api")
    with served(settings, replace(tiny_model(settings, folder), perspective=PerspectiveScorer(SCALE))) as server:
        yield server


def summaries(server: Server, path: str = "", headers: dict[str, str] | None = None) -> tuple[dict[str, float], str]:
    content = body(f"{TEXT}. {TEXT}", "TOXICITY", "INSULT", spanAnnotations=True)
    response = send(server, content, f"/v1alpha1/comments:analyze{path}", headers=headers or {})
    found = response.json()["attributeScores"]
    for each in found.values():  # on one scale, the whole and its parts
        assert {span["score"]["value"] for span in each["spanScores"]} == {each["summaryScore"]["value"]}
    return {name: each["summaryScore"]["value"] for name, each in found.items()}, response.headers[
        "x-moderation-calibration"
    ]


def test_scores_are_on_perspectives_scale_as_far_as_the_bundle_has_one(scaled: Server) -> None:
    plain = score(scaled, TEXT, "toxic")
    found, calibration = summaries(scaled)
    assert found == {"TOXICITY": SCALE.to_perspective("toxic", plain), "INSULT": score(scaled, TEXT, "insult")}
    assert found["TOXICITY"] > 10 * plain
    assert calibration == f"probability-{scaled.model.calibration}+perspective-{SCALE.id}"


def test_with_indices_the_words_of_the_whole_and_of_each_sentence_count(tmp_path: Path) -> None:
    bundle = build_scaled_bundle(tmp_path / "bundle")
    settings = settings_in(tmp_path)
    registry = LocalRegistry(settings.resolved_registry_dir())
    registry.point(settings.alias, registry.publish(bundle), Move("test", "with indices"))
    scorer = PerspectiveScorer.load(read_bundle(bundle))
    assert scorer is not None
    sentences = ["Good morning to all of you here.", "What a fine and pleasant garden!"]
    with served(settings, current_model(settings)) as server:

        def expected(text: str) -> float:
            return scorer.scores(text, {label: score(server, text, label) for label in LABELS})["toxic"]

        found = send(server, body(" ".join(sentences), "TOXICITY", spanAnnotations=True)).json()["attributeScores"]
        spans = [span["score"]["value"] for span in found["TOXICITY"]["spanScores"]]
        assert spans == [expected(sentence) for sentence in sentences]
        assert found["TOXICITY"]["summaryScore"]["value"] == expected(" ".join(sentences))
        assert len({*spans, found["TOXICITY"]["summaryScore"]["value"]}) == 3  # our scores of the three are the same


@pytest.mark.parametrize(("path", "headers"), [("?scale=probability", {}), ("", {"X-Moderation-Scale": "probability"})])
def test_plain_probabilities_can_be_asked_for(scaled: Server, path: str, headers: dict[str, str]) -> None:
    found, calibration = summaries(scaled, path, headers)
    assert found["TOXICITY"] == score(scaled, TEXT, "toxic")
    assert calibration == f"probability-{scaled.model.calibration}"


def test_another_scale_is_refused(scaled: Server) -> None:
    found = refused(send(scaled, body(), "/v1alpha1/comments:analyze?scale=percent"))
    assert found[1] == "scale is 'percent'; expected perspective or probability"


def test_strict_servers_refuse_what_cannot_be_scored_beside_what_can(scaled: Server) -> None:
    found = refused(send(scaled, body(TEXT, "TOXICITY", "SPAM")))
    assert found[1:] == (
        "Attribute SPAM does not support request languages: en",
        "INVALID_ARGUMENT",
        "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
    )
    assert send(scaled, body(TEXT, "TOXICITY", "SPAM", dropUnsupportedAttributes=True)).status_code == 200


def test_strict_servers_refuse_a_text_without_letters_unless_its_language_is_named(scaled: Server) -> None:
    found = refused(send(scaled, body("12345 😀")))
    assert found == (400, "Unable to detect language", "INVALID_ARGUMENT", "LANGUAGE_DETECTION_FAILED")
    assert send(scaled, body("12345 😀", languages=["en"])).status_code == 200
    assert send(scaled, body("ok")).status_code == 200


def test_the_description_names_the_url_that_callers_know(scaled: Server) -> None:
    document = scaled.http.get("/$discovery/rest?version=v1alpha1").json()
    assert document["rootUrl"] == "https://moderation.example.org/api/"


def check_failure(server: Server, status: int, name: str) -> None:
    """See what both kinds of clients are told of a failure of ours."""
    response = send(server, body())
    found = response.json()["error"]
    assert (response.status_code, found["code"], found["status"]) == (status, status, name)
    assert (int(response.headers.get("retry-after", 0)) >= 1) is (status != 500)
    other = server.http.post("/v1/moderations", json={"input": "hello"})
    assert other.status_code == status
    assert set(other.json()["error"]) == {"message", "type", "param", "code"}
    assert other.json()["error"]["type"] == "server_error"


def test_a_fault_has_their_shape(model: Model, tmp_path: Path) -> None:
    def fail(_: Score, texts: Sequence[str]) -> list[TextScores]:
        raise RuntimeError("a fault")

    with served(settings_in(tmp_path), with_scoring(model, fail)) as server:
        check_failure(server, 500, "INTERNAL")


def test_late_and_no_room_have_their_shape_and_say_when_to_come_back(model: Model, tmp_path: Path) -> None:
    go_on, scoring = threading.Event(), threading.Event()

    def wait(score: Score, texts: Sequence[str]) -> list[TextScores]:
        scoring.set()
        go_on.wait(30)
        return score(texts)

    settings = settings_in(tmp_path, deadline_s=0.5, max_waiting_texts=1, max_batch_texts=1)
    with served(settings, with_scoring(model, wait)) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(send, server, body())
        assert scoring.wait(10)
        check_failure(server, 503, "UNAVAILABLE")
        late = waiting.result()
        assert refused(late)[0::2] == (504, "DEADLINE_EXCEEDED")
        assert int(late.headers["retry-after"]) >= 1
        go_on.set()
