"""Whether the server lives, can answer, what it serves, and its figures."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from moderation.contracts import ErrorBody, ServedVersion
from serve.errors import AWAY_S, documented
from serve.metrics import Metrics

OK: Literal["ok"] = "ok"
AWAY = "away"
"""All that is said of a part to who may not know what is wrong with it."""


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = OK


class Readiness(BaseModel):
    """Whether predictions are answered now."""

    ready: bool
    parts: Annotated[
        dict[str, str],
        Field(
            description="Per part 'ok' or what is wrong; where keys are asked for, only 'away' to who shows none with "
            "the scope admin. Without the database, the outbox keeps predictions."
        ),
    ]


def router(served: Callable[[], ServedVersion], metrics: Metrics, readiness: Callable[[], Readiness]) -> APIRouter:
    """Return the routes for operators; none of them waits for anything."""
    routes = APIRouter(tags=["operation"], responses=documented())

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health")
    async def health() -> Health:
        """Return ok while the process lives."""
        return Health()

    @routes.head("/ready", include_in_schema=False)
    @routes.get("/ready", responses={503: {"model": Readiness | ErrorBody, "description": "Not ready; parts say why."}})
    async def ready(request: Request, response: Response) -> Readiness:
        """Say whether predictions are answered, part by part."""
        found = readiness()
        if not found.ready:
            response.status_code = 503
            response.headers["Retry-After"] = str(AWAY_S)
        if request.state.caller.is_operator:
            return found
        return Readiness(ready=found.ready, parts={name: OK if it == OK else AWAY for name, it in found.parts.items()})

    @routes.head("/version", include_in_schema=False)
    @routes.get("/version")
    async def version() -> ServedVersion:
        """Say which bundle scores and from which scores it decides."""
        return served()

    @routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def figures() -> Response:
        """Return Prometheus metrics."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes
