"""The error answer in the shape that the asked path's clients read."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from moderation.errors import ModerationError
from serve.compat.openai import errors as openai
from serve.compat.paths import dialect_of
from serve.compat.perspective import errors as perspective
from serve.errors import error_response


def answer_to(error: ModerationError, scope: Scope) -> Response:
    """Return the answer that tells the caller of ``error``."""
    dialect = dialect_of(scope["path"])
    if dialect == "perspective":
        return perspective.error_response(error, scope)
    if dialect == "openai":
        return openai.error_response(error)
    return error_response(error, scope["state"]["request_id"])


def answer_to_http(error: HTTPException, scope: Scope) -> Response | None:
    """Return the answer to what the framework refuses, such as a path that is not there; None: the path is our own."""
    message = HTTPStatus(error.status_code).phrase
    headers = dict(error.headers or {})
    if methods := headers.get("Allow"):
        message = f"{message}: this path takes {methods}"
    dialect = dialect_of(scope["path"])
    if dialect == "perspective":
        return perspective.http_error_response(error.status_code, message, headers)
    if dialect == "openai":
        return openai.http_error_response(error.status_code, message, headers)
    return None
