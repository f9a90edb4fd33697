"""Errors in the shape of OpenAI's API: ``{"error": {message, type, param, code}}``."""

from typing import Any

from starlette.responses import JSONResponse

from moderation.errors import ForbiddenError, ModerationError, OverQuotaError, UnauthorizedError
from serve.errors import error_headers, status_of

_TYPES: dict[int, str] = {401: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES: dict[type[ModerationError], str] = {
    UnauthorizedError: "invalid_api_key",
    ForbiddenError: "insufficient_permissions",
    OverQuotaError: "rate_limit_exceeded",
}


def error_response(error: ModerationError) -> JSONResponse:
    """Return the answer that tells a caller of ``error``; what does not parse is a 400, as it is there."""
    status = status_of(error)
    return _response(400 if status == 422 else status, str(error), _CODES.get(type(error)), error_headers(error))


def http_error_response(status: int, message: str, headers: dict[str, str]) -> JSONResponse:
    """Return the answer to a path or method that is not there."""
    return _response(status, message, None, headers)


def _response(status: int, message: str, code: str | None, headers: dict[str, str]) -> JSONResponse:
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    body: dict[str, Any] = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": body}, status, headers)
