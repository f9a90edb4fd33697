"""Perspective's routes: raw bodies in, Google's JSON out."""

import asyncio
import functools
import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.types import Message, Scope

from serve.compat.paths import ANALYZE, BATCH, DISCOVERY, SUGGEST, dialect_of
from serve.compat.perspective import batch, discovery, requests
from serve.compat.perspective.analysis import Analyzer, Scale
from serve.compat.perspective.errors import error_response, http_error_response
from serve.compat.perspective.suggestions import SuggestionDesk
from serve.errors import PerspectiveError
from serve.routes.call import call_of

SCALE_HEADER = "X-Moderation-Scale"
_SCALES: dict[str, Scale] = {"perspective": "perspective", "probability": "probability"}
_JSON = "application/json; charset=UTF-8"
_OF_THE_CONNECTION = frozenset(
    {b"host", b"origin", b"connection", b"content-length", b"transfer-encoding", b"upgrade", b"expect"}
)
"""Headers of a part that say nothing about its request; who may call this server was decided by those around it."""
_OF_THE_PAGE = frozenset({b"x-content-type-options", b"referrer-policy", b"content-security-policy", b"cache-control"})
"""Headers of a part's answer that stand on the whole answer."""


def router(
    analyzer: Analyzer,
    desk: SuggestionDesk,
    scale: Scale,
    max_text_bytes: int,
    public_url: str | None,
) -> APIRouter:
    """Return the routes; ``scale`` is answered on unless a request asks for another."""
    routes = APIRouter(include_in_schema=False)  # the discovery document describes them
    max_text_bytes = min(requests.MAX_TEXT_BYTES, max_text_bytes)

    @routes.post(ANALYZE)
    async def analyze(request: Request) -> Response:
        asked = requests.read(await request.body(), requests.AnalyzeRequest, max_text_bytes)
        call = call_of(request, do_not_store=bool(asked.do_not_store))
        return _answer(*await analyzer.analyze(asked, call, _scale(request, scale)))

    @routes.post(SUGGEST)
    async def suggest(request: Request) -> Response:
        said = requests.read(await request.body(), requests.SuggestRequest, max_text_bytes)
        call = call_of(request, do_not_store=bool(said.do_not_store), is_traffic=False)
        return _answer(*await desk.take(said, call))

    @routes.get(DISCOVERY)
    async def discover(request: Request) -> Response:
        if (version := request.query_params.get("version", "v1alpha1")) != "v1alpha1":
            return http_error_response(404, f"There is no version {version[:20]!a}; expected v1alpha1", {})
        return _answer(discovery.document(public_url or str(request.base_url)), {})

    @routes.post(BATCH)
    async def take_batch(request: Request) -> Response:
        # In a thread: nobody has shown a key yet, and 8 MB of heads take a while.
        content_type = request.headers.get("content-type", "")
        parts = await asyncio.to_thread(batch.read, content_type, await request.body())
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_answer_part(part.request, request)) for part in parts]
        content_type, body = batch.write(parts, [task.result() for task in tasks])
        return Response(body, headers={"Content-Type": content_type})

    for path, methods in ((ANALYZE, "POST"), (SUGGEST, "POST"), (DISCOVERY, "GET"), (BATCH, "POST")):
        routes.add_api_route(path, functools.partial(_options, methods), methods=["OPTIONS"])
    return routes


async def _options(methods: str) -> Response:
    """Answer who asks without an origin; browsers' questions are answered before."""
    return Response(status_code=204, headers={"Allow": f"{methods}, OPTIONS"})


def _scale(request: Request, usual: Scale) -> Scale:
    asked = request.query_params.get("scale") or request.headers.get(SCALE_HEADER)
    if asked is None:
        return usual
    if asked not in _SCALES:
        raise PerspectiveError(f"scale is {asked[:20]!a}; expected perspective or probability")
    return _SCALES[asked]


def _answer(body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    # The order of keys is part of the contract.
    return Response(
        json.dumps(body, ensure_ascii=False, separators=(",", ":")), headers=dict(headers), media_type=_JSON
    )


async def _answer_part(asked: batch.Request | None, around: Request) -> batch.Answer:
    """Return what the whole app answers to a part: it is let in, charged, logged and counted like any request."""
    if asked is None:
        return _local(error_response(PerspectiveError("The part is no HTTP request"), around.scope))
    path = asked.path.decode("latin-1")
    if dialect_of(path) != "perspective" or path == BATCH:
        return _local(http_error_response(404, "Not Found", {}))
    host = [(name, value) for name, value in around.scope["headers"] if name == b"host"]
    kept = {"type", "asgi", "http_version", "server", "client", "scheme", "root_path"}
    scope: Scope = {name: value for name, value in around.scope.items() if name in kept} | {
        "method": asked.method,
        "path": path,
        "raw_path": asked.path,
        "query_string": asked.query,
        "headers": host + [header for header in asked.headers if header[0] not in _OF_THE_CONNECTION],
        "state": {},
        "extensions": {},
    }
    answer = _Collector(asked.body)
    await around.app(scope, answer.receive, answer.send)
    return answer.collected()


def _local(response: Response) -> batch.Answer:
    return batch.Answer(response.status_code, response.raw_headers, bytes(response.body))


class _Collector:
    """The connection of a part: gives its body, and keeps its answer."""

    def __init__(self, body: bytes) -> None:
        self._unread = [body]
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []

    async def receive(self) -> Message:
        if self._unread:
            return {"type": "http.request", "body": self._unread.pop(), "more_body": False}
        # It is there for as long as the batch is: who waits for its end is cancelled.
        await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [header for header in message["headers"] if header[0] not in _OF_THE_PAGE]
        elif message["type"] == "http.response.body":
            self._chunks.append(message.get("body", b""))

    def collected(self) -> batch.Answer:
        return batch.Answer(self._status, self._headers, b"".join(self._chunks))
