"""The outermost layer of the app: who may ask, the request's id, its error answer, its log line.

Until there are keys, only this machine may ask: a web page elsewhere could otherwise reach a server on
loopback through its reader's browser (by its origin, or by a name that is made to resolve to loopback).
"""

import logging
import re
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderation.errors import ForbiddenError, ModerationError
from serve.errors import error_response
from serve.ids import uuid7
from serve.metrics import Metrics

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CALLER_LEFT = 499  # nginx's status for a connection that closed before its answer
_LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

logger = logging.getLogger(__name__)


class Edge:
    """ASGI middleware: checks host and origin, answers every error, logs and counts every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap ``app``."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        scope.setdefault("state", {}).update(request_id=request_id, started=started)
        status = CALLER_LEFT

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            _check_caller(headers, scope["scheme"])
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # the edge of a request: nothing may pass it unanswered
            if not isinstance(error, ModerationError):
                logger.error("unexpected error", exc_info=error, extra={"fields": {"request_id": request_id}})
                error = ModerationError("internal error")
            if status == CALLER_LEFT:
                await error_response(error, request_id)(scope, receive, send_with_id)
        finally:
            self._record(scope, status, time.perf_counter() - started, request_id)

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.answered(route, scope["method"], status, seconds)
        fields = {"route": route, "method": scope["method"], "status": status, "ms": round(1000 * seconds, 2)}
        logger.info("request", extra={"fields": {**fields, "request_id": request_id}})


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid7()


def _check_caller(headers: Headers, scheme: str) -> None:
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _LOOPBACK_HOST.fullmatch(host):
        raise ForbiddenError(f"this server answers only as {', '.join(LOOPBACK)}")
    if origin is not None and origin.lower() != f"{scheme}://{host}".lower():
        raise ForbiddenError("requests from other origins are refused")
