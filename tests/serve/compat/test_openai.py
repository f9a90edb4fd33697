"""OpenAI's moderation route, as its SDK asks."""

from typing import Any

import pytest

from moderation.labels import LABELS
from serve.compat.openai.moderations import CATEGORIES
from tests.serve.server import Server

TEXT = "You are disgusting."
LABELS_OF = {
    "harassment": ("insult",),
    "harassment/threatening": ("insult", "threat"),
    "hate": ("identity_hate",),
    "hate/threatening": ("identity_hate", "threat"),
    "violence": ("threat",),
}


def moderate(server: Server, **content: Any) -> dict[str, Any]:
    response = server.http.post("/v1/moderations", json=content)
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (TEXT, [TEXT]),
        ([TEXT, "thank you"], [TEXT, "thank you"]),
        ([{"type": "text", "text": TEXT}, {"type": "text", "text": "damn"}], [TEXT, "damn"]),
    ],
)
def test_each_string_gets_a_result_in_order(server: Server, given: object, texts: list[str]) -> None:
    answer = moderate(server, input=given, model="omni-moderation-latest")
    assert set(answer) == {"id", "model", "results"}
    assert answer["id"].startswith("modr-")
    expected = [server.http.post("/predict", json={"comment_text": text}).json()["scores"] for text in texts]
    assert len(answer["results"]) == len(texts)
    for result, scores in zip(answer["results"], expected, strict=True):
        assert set(result) == {"flagged", "categories", "category_scores", "category_applied_input_types"}
        assert {label: result["category_scores"][label] for label in LABELS} == scores
        for category, labels in LABELS_OF.items():
            assert result["category_scores"][category] == min(scores[label] for label in labels)


@pytest.mark.parametrize("body", [b'{"input": "cut \\ud83d"}', b'\xef\xbb\xbf{"input": "mark"}'])
def test_half_an_emoji_and_a_byte_order_mark_are_taken(server: Server, body: bytes) -> None:
    response = server.http.post("/v1/moderations", content=body)
    assert response.status_code == 200, response.text
    assert len(response.json()["results"]) == 1


def test_categories_are_decided_by_our_thresholds(server: Server) -> None:
    threat = moderate(server, input="kill the idiot vermin")["results"][0]
    present = {name for name, is_there in threat["categories"].items() if is_there}
    assert {"harassment", "harassment/threatening", "hate", "hate/threatening", "violence", "toxic"} <= present
    friendly = moderate(server, input="thank you")["results"][0]
    assert friendly["flagged"] is False
    assert not any(friendly["categories"].values())
    assert threat["flagged"] is True


def test_what_cannot_be_scored_is_not_said_to_be_clean(server: Server) -> None:
    result = moderate(server, input=TEXT)["results"][0]
    for part in ("categories", "category_scores", "category_applied_input_types"):
        assert set(result[part]) == {*CATEGORIES, *LABELS}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"input": []}, 400),
        ({"input": ""}, 400),
        ({"input": ["fine", " "]}, 400),
        ({"input": None}, 400),
        ({"model": "x"}, 400),
        ({"input": [7]}, 400),
        ({"input": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, 400),
        ({"input": [{"type": "text"}]}, 400),
        ({"input": "x" * 70_000}, 413),
        ({"input": ["x"] * 51}, 413),
        ([], 400),
    ],
)
def test_what_is_wrong_is_said_in_openais_shape(server: Server, content: object, status: int) -> None:
    response = server.http.post("/v1/moderations", json=content)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_other_paths_and_methods_answer_in_openais_shape(server: Server) -> None:
    for method, path, status in (("GET", "/v1/moderations", 405), ("POST", "/v1/chat/completions", 404)):
        response = server.http.request(method, path)
        assert response.status_code == status
        assert response.json()["error"]["type"] == "invalid_request_error"
    assert server.http.post("/v1/moderations", content="{").status_code == 400
