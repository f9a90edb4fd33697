"""Errors in the shape of Google's APIs, with what Perspective's clients branch on in ``details``."""

from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Scope

from moderation.errors import BeyondQuotaError, DeadlineError, ModerationError, OverQuotaError, UnauthorizedError
from serve.auth import shown_in
from serve.errors import PerspectiveError, error_headers, status_of

_ERROR = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_DOMAIN = "googleapis.com"
_STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Names of google.rpc.Code (googleapis, google/rpc/code.proto)."""
_RETRY_S, _NEXT_MINUTE_S = "1", "60"


def comment_empty() -> PerspectiveError:
    """Return the refusal of a comment with nothing in it."""
    return PerspectiveError("Comment must be non-empty.", "COMMENT_EMPTY")


def comment_too_long() -> PerspectiveError:
    """Return the refusal of a comment over its limit."""
    return PerspectiveError("Comment text too long.", "COMMENT_TOO_LONG")


def no_attributes() -> PerspectiveError:
    """Return the refusal of a request for nothing."""
    return PerspectiveError("Missing requested_attributes", "NO_REQUESTED_ATTRIBUTES")


def unknown_attribute(name: str) -> PerspectiveError:
    """Return the refusal of a name, or of a version, that is not there."""
    return PerspectiveError(f"Unknown requested attribute: {name[:100]}")


def language_not_supported(name: str, languages: list[str], requested: bool) -> PerspectiveError:
    """Return the refusal of an attribute in languages that the caller ``requested``, or that were detected."""
    field = "requestedLanguages" if requested else "detectedLanguages"
    return PerspectiveError(
        f"Attribute {name} does not support request languages: {', '.join(languages)}",
        "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        {"languageNotSupportedByAttributeError": {"attribute": name, field: languages}},
    )


def error_response(error: ModerationError, scope: Scope) -> JSONResponse:
    """Return the answer that tells the caller who asked in ``scope`` of ``error``."""
    headers = error_headers(error)
    if isinstance(error, UnauthorizedError):
        return _unauthorized(scope)
    if isinstance(error, PerspectiveError):
        detail = {"@type": _ERROR, "errorType": error.error_type} | error.detail
        return _response(400, str(error), headers, detail)
    if isinstance(error, OverQuotaError | BeyondQuotaError):
        headers.setdefault("Retry-After", _NEXT_MINUTE_S)
        limit = {"quota_limit": "PerMinutePerKey", "quota_limit_value": str(error.limit)}
        return _response(429, str(error), headers, _error_info("RATE_LIMIT_EXCEEDED", limit))
    if isinstance(error, DeadlineError):
        headers["Retry-After"] = _RETRY_S
    status = status_of(error)
    if status in _STATUS and status != 400:
        return _response(status, str(error), headers)
    return _response(400, str(error), headers, {"@type": _ERROR, "errorType": "INVALID_REQUEST"})


def http_error_response(status: int, message: str, headers: dict[str, str]) -> JSONResponse:
    """Return the answer to a path or method that is not there."""
    return _response(status, message, headers)


def _unauthorized(scope: Scope) -> JSONResponse:
    if shown_in(scope):
        message = "API key not valid. Please pass a valid API key."
        return _response(400, message, {}, _error_info("API_KEY_INVALID"))
    return _response(403, "This method takes no callers without an API key; send it as ?key= or X-Goog-Api-Key.", {})


def _error_info(reason: str, metadata: dict[str, str] | None = None) -> dict[str, Any]:
    info: dict[str, Any] = {"@type": _ERROR_INFO, "reason": reason, "domain": _DOMAIN}
    return info | ({"metadata": metadata} if metadata else {})


def _response(status: int, message: str, headers: dict[str, str], *details: dict[str, Any]) -> JSONResponse:
    error = {"code": status, "message": message, "status": _STATUS.get(status, "UNKNOWN")}
    return JSONResponse({"error": error | ({"details": list(details)} if details else {})}, status, headers)
