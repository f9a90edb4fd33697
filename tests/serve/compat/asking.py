"""Requests as Perspective's clients send them."""

import json
from typing import Any

import httpx

from tests.serve.server import Server

ANALYZE = "/v1alpha1/comments:analyze"
SUGGEST = "/v1alpha1/comments:suggestscore"
ERROR = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def body(text: object = "You are disgusting.", *attributes: str, **fields: Any) -> dict[str, Any]:
    asked = {name: {} for name in attributes or ("TOXICITY",)}
    return {"comment": {"text": text}, "requestedAttributes": asked} | fields


def send(server: Server, content: object, path: str = ANALYZE, **options: Any) -> httpx.Response:
    raw = content if isinstance(content, str | bytes) else json.dumps(content)
    return server.http.post(path, content=raw, **options)


def analyze(server: Server, *args: object, **fields: Any) -> dict[str, Any]:
    response = send(server, body(*args, **fields))
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def score(server: Server, text: str, label: str) -> float:
    return float(server.http.post("/predict", json={"comment_text": text}).json()["scores"][label])


def refused(response: httpx.Response) -> tuple[int, str, str, str | None]:
    """Return code, message, status and error type, once the body is what Google's is."""
    error = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert error["code"] == response.status_code
    (detail,) = error.get("details", [{}])
    return error["code"], error["message"], error["status"], detail.get("errorType") or detail.get("reason")
