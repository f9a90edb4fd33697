"""The outermost layer of the app: the request's id, who may ask, its error answer, its headers, its log line.

Security headers stand on every answer, but for HSTS: that is for the proxy that ends TLS to promise.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderation.errors import ModerationError
from serve.auth import RATE_HEADERS, STRANGER, Access, is_scoring
from serve.compat.errors import answer_to
from serve.compat.headers import BUNDLE_HEADERS
from serve.compat.paths import dialect_of
from serve.ids import uuid7
from serve.metrics import SCORING_ROUTES, Metrics

CALLER_LEFT = 499  # nginx's status for a connection that closed before its answer
CORS_MAX_AGE_S = 600
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
)

logger = logging.getLogger(__name__)


class Edge:
    """ASGI middleware: lets callers in, answers every error, logs and counts every request."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        access: Access,
        require_room: Callable[[], None],
        bundle_headers: Callable[[], dict[str, str]],
    ) -> None:
        """Wrap ``app``; ``access`` decides who may ask, ``bundle_headers`` say what serves, on other services' paths.

        ``require_room`` raises what a caller who wants scores hears while there is no room for a single comment. That,
        and that a quota is used up, is said before the body is read: at three times the capacity, most requests cost
        only this.
        """
        self._app = app
        self._metrics = metrics
        self._access = access
        self._require_room = require_room
        self._bundle_headers = bundle_headers
        self._inner = self._with_cors(access.origins, ("Authorization", "X-API-Key", "X-Request-Id"))
        # Pages of any site called Perspective, with a key; their libraries send headers of their own.
        anybody = access.origins or (("*",) if access.keys is not None else ())
        self._inner_compat = self._with_cors(anybody, ("*",))

    def _with_cors(self, origins: Sequence[str], allow_headers: Sequence[str]) -> ASGIApp:
        """Return what answers, around the errors' answers too, so that pages of ``origins`` can read those."""
        if not origins:
            return self._answer
        return CORSMiddleware(
            self._answer,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=allow_headers,
            expose_headers=("X-Request-Id", "Retry-After", *RATE_HEADERS, *BUNDLE_HEADERS),
            max_age=CORS_MAX_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        state = scope.setdefault("state", {})
        state.update(request_id=_request_id(Headers(scope=scope)), started=started, caller=STRANGER, status=CALLER_LEFT)

        async def send_complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                message["headers"] = _complete(message, state)
                if dialect_of(scope["path"]) is not None and state["caller"].known:
                    _add_missing(message["headers"], self._bundle_headers())
            await send(message)

        try:
            inner = self._inner if dialect_of(scope["path"]) is None else self._inner_compat
            await inner(scope, receive, send_complete)
        finally:
            self._record(scope, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        try:
            state["caller"] = caller = await self._access.admit(scope, Headers(scope=scope))
            caller.check_scope(scope["path"])
            if is_scoring(scope["path"]):
                self._require_room()
                caller.require_left()
            await self._app(scope, receive, send)
        except Exception as error:  # the edge of a request: nothing may pass it unanswered
            if not isinstance(error, ModerationError):
                fields = {"request_id": state["request_id"]}
                logger.error("unexpected error", exc_info=error, extra={"fields": fields})
                error = ModerationError("internal error")
            if state["status"] == CALLER_LEFT:
                await answer_to(error, scope)(scope, receive, send)

    def _record(self, scope: Scope, seconds: float) -> None:
        state = scope["state"]
        path, status = scope["path"], state["status"]
        # Turned away before a route is chosen, but counted as its.
        turned_away = path if path in SCORING_ROUTES else "none"
        route = str(getattr(scope.get("route"), "path", turned_away))
        self._metrics.answered(route, scope["method"], status, seconds)
        fields = {"route": route, "method": scope["method"], "status": status, "ms": round(1000 * seconds, 2)}
        fields |= {"client": state["caller"].name, "request_id": state["request_id"]}
        logger.info("request", extra={"fields": fields})


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid7()


def _add_missing(headers: list[tuple[bytes, bytes]], more: dict[str, str]) -> None:
    names = {name for name, _ in headers}
    found = [(name.lower().encode(), value.encode()) for name, value in more.items()]
    headers += [header for header in found if header[0] not in names]


def _complete(message: Message, state: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with those that every answer has and that it does not have already."""
    headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
    names = {name for name, _ in headers}
    headers += [header for header in _SECURITY_HEADERS if header[0] not in names]
    if b"cache-control" not in names and b"etag" not in names:  # scores, and answers that depend on a key
        headers.append((b"cache-control", b"no-store"))
    headers.append((b"x-request-id", state["request_id"].encode()))
    headers += state["caller"].settle(message["status"])
    return headers
