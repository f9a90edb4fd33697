"""OpenAI's ``/v1/moderations``: our labels as its categories, as far as they mean the same.

A category that no label of ours is stays away: 0.0 would say that it was looked for and not found.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from moderation.contracts import Prediction
from moderation.errors import InvalidInputError, TooLargeError
from serve import payload
from serve.compat.headers import bundle_headers
from serve.compat.paths import MODERATIONS
from serve.errors import UnreadableError
from serve.predictor import Predictor
from serve.routes.call import call_of

CATEGORIES: dict[str, tuple[str, ...]] = {
    "harassment": ("insult",),
    "harassment/threatening": ("insult", "threat"),
    "hate": ("identity_hate",),
    "hate/threatening": ("identity_hate", "threat"),
    "violence": ("threat",),
}
"""The labels that all have to be there. Their lowest score is an upper bound of the probability that all are."""
_EXPECTED = "input must be a string, a list of strings, or a list of parts of the type text"


def router(predictor: Predictor, max_batch_texts: int) -> APIRouter:
    """Return the route, and what answers browsers that ask about it without an origin."""
    routes = APIRouter(include_in_schema=False)

    @routes.post(MODERATIONS)
    async def moderate(request: Request) -> Response:
        texts = _texts(_parsed(await request.body(), max_batch_texts), max_batch_texts)
        call = call_of(request)
        answered = await predictor.answer(texts, call)
        served = answered.model.served
        return JSONResponse(
            {
                "id": f"modr-{call.request_id}",
                "model": f"{served.name}@{served.version[:12]}",
                "results": [_result(each, served.thresholds) for each in answered.predictions],
            },
            headers=bundle_headers([answered.model]),
        )

    @routes.options(MODERATIONS)
    async def options() -> Response:
        return Response(status_code=204, headers={"Allow": "POST, OPTIONS"})

    return routes


def _parsed(body: bytes, max_texts: int) -> Any:  # noqa: ANN401 - whatever the JSON holds
    payload.check_count(body, 4 * max_texts)  # a part has a type and a text
    try:
        found = payload.parse(body)
    except ValueError:
        raise UnreadableError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise UnreadableError("the body is not a JSON object")
    return found.get("input")


def _texts(given: object, max_texts: int) -> dict[str, str]:
    """Return each text by the field that holds it."""
    if isinstance(given, str):
        return {"input": given}
    if not isinstance(given, list) or not given:
        raise InvalidInputError(_EXPECTED)
    if len(given) > max_texts:
        raise TooLargeError(f"input has {len(given)} items; at most {max_texts} are taken")
    return {f"input[{index}]": _text(each, f"input[{index}]") for index, each in enumerate(given)}


def _text(part: object, field: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type") == "image_url":
        raise InvalidInputError(f"{field} is an image; only text is moderated here")
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise InvalidInputError(_EXPECTED)
    return text


def _result(prediction: Prediction, thresholds: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    present = {label: _reaches(score, thresholds[label]["review"]) for label, score in prediction.scores.items()}
    categories = {name: all(present[label] for label in labels) for name, labels in CATEGORIES.items()}
    scores = {name: min(prediction.scores[label] for label in labels) for name, labels in CATEGORIES.items()}
    return {
        "flagged": any(present.values()),
        "categories": categories | present,
        "category_scores": scores | prediction.scores,
        "category_applied_input_types": {name: ["text"] for name in (*categories, *present)},
    }


def _reaches(score: float, threshold: float | None) -> bool:
    return threshold is not None and score >= threshold
