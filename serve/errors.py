"""The one table from errors to HTTP answers, and the body that all of them share.

A message is shown to callers as it is, so it never holds a comment's text.
"""

from typing import Any

from starlette.responses import JSONResponse

from moderation.contracts import ErrorBody
from moderation.errors import (
    BeyondQuotaError,
    BundleError,
    ConfigurationError,
    DeadlineError,
    ForbiddenError,
    InvalidInputError,
    ModerationError,
    NotFoundError,
    OverloadedError,
    OverQuotaError,
    RegistryError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)


class UnreadableError(ModerationError):
    """The body is not the JSON that the contract asks for."""

    code = "unreadable"


class SlowBodyError(ModerationError):
    """The body did not arrive in time."""

    code = "timeout"


class ContradictoryError(ModerationError):
    """What the body says contradicts itself, seen beside what was answered."""

    code = "contradictory"


class PerspectiveError(ModerationError):
    """Refused as the Perspective API refused it; ``error_type`` and ``detail`` are what its clients branch on."""

    code = "perspective"

    def __init__(self, message: str, error_type: str = "INVALID_REQUEST", detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.detail = detail or {}


class EncodedError(ModerationError):
    """The body is compressed."""

    code = "unsupported_encoding"


AWAY_S = 5
"""When to come back to a server of which a part is away."""

STATUS: dict[type[ModerationError], int] = {
    InvalidInputError: 400,
    PerspectiveError: 400,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    SlowBodyError: 408,
    TooLargeError: 413,
    BeyondQuotaError: 413,
    EncodedError: 415,
    UnreadableError: 422,
    ContradictoryError: 422,
    OverQuotaError: 429,
    ModerationError: 500,
    ConfigurationError: 500,
    BundleError: 500,
    RegistryError: 500,
    OverloadedError: 503,
    UnavailableError: 503,
    DeadlineError: 504,
}

_MEANING: dict[type[ModerationError], tuple[str, str]] = {
    InvalidInputError: ("The input cannot be used, or is no HTTP.", "comment_text is empty or holds nothing visible"),
    UnauthorizedError: ("There is no API key that holds.", "this needs an API key that is known and holds"),
    ForbiddenError: ("The key lacks the scope; or a wrong host or origin.", "this key lacks the scope predict"),
    NotFoundError: ("There is no such thing, or not on this port.", "no prediction has this id"),
    SlowBodyError: ("The body did not arrive in time.", "the body did not arrive within 10 s"),
    TooLargeError: ("Over a limit.", "comment_text is longer than 65536 bytes"),
    EncodedError: ("The body is compressed.", "send the body as it is: Content-Encoding is not read"),
    UnreadableError: ("The body does not parse.", "comment_text: Field required"),
    ContradictoryError: (
        "The body does not parse; or its labels contradict agree: true.",
        "agree is true, but labels differs from what was predicted for insult; send agree: false, or no such label",
    ),
    OverQuotaError: (
        "More than what is left of the quota of the key; see Retry-After.",
        "the quota of this key, 600 comments per minute, is used up; try again later",
    ),
    ModerationError: ("A fault of the server.", "internal error"),
    OverloadedError: ("No room now, or a part is away; see Retry-After.", "4096 comments are waiting; try again later"),
    DeadlineError: ("It took too long.", "no answer within 30 s; send fewer comments at once or try again later"),
}


def status_of(error: ModerationError) -> int:
    """Return the HTTP status of ``error``."""
    return STATUS.get(type(error), 500)


def error_response(error: ModerationError, request_id: str) -> JSONResponse:
    """Return the answer that tells a caller of ``error``."""
    return body_response(status_of(error), error.code, str(error), request_id, error_headers(error))


def error_headers(error: ModerationError) -> dict[str, str]:
    """Return the headers that go with the answer, whatever the shape of its body."""
    if isinstance(error, OverloadedError | OverQuotaError):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, UnavailableError):
        return {"Retry-After": str(AWAY_S)}
    if isinstance(error, UnauthorizedError):
        return {"WWW-Authenticate": 'Bearer realm="moderation"'}
    if isinstance(error, SlowBodyError):
        return {"Connection": "close"}  # what is left of the body must not be read as the next request
    return {}


def body_response(
    status: int, code: str, message: str, request_id: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an error answer in the one shape that all of them have."""
    body = ErrorBody(code=code, message=message, request_id=request_id)
    return JSONResponse(body.model_dump(), status, headers)


_ANY_ROUTE: tuple[type[ModerationError], ...] = (
    InvalidInputError,
    NotFoundError,  # on the port that does not answer the path
    UnauthorizedError,
    ForbiddenError,
    SlowBodyError,  # bodies are read, and bounded, before a route is chosen
    TooLargeError,
    EncodedError,
    OverloadedError,
    ModerationError,
)


def documented(*errors: type[ModerationError]) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's ``responses`` for a route that raises ``errors``; the ones any route has are added."""
    answers: dict[int | str, dict[str, Any]] = {}
    for error in (*errors, *_ANY_ROUTE):
        description, message = _MEANING[error]
        answers[STATUS[error]] = _answer(description, error.code, message)
    # Said by `serve.protocol`, before there is a request.
    answers[431] = _answer("The head is too large.", TooLargeError.code, "the head is too large")
    return answers


def _answer(description: str, code: str, message: str) -> dict[str, Any]:
    example = ErrorBody(code=code, message=message, request_id="01934f6e-9d2a-7c51-9f5e-2b1d3c4a5e6f")
    return {
        "model": ErrorBody,
        "description": description,
        "content": {"application/json": {"example": example.model_dump()}},
    }
