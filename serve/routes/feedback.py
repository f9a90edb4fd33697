"""Agreeing or disagreeing with a prediction."""

from fastapi import APIRouter, Request

from moderation.contracts import FeedbackReceipt, FeedbackRequest
from moderation.errors import InvalidInputError, NotFoundError
from serve import payload
from serve.errors import UnreadableError, documented
from serve.feedback import FeedbackDesk
from serve.routes.call import call_of

_ANSWERS = documented(InvalidInputError, NotFoundError, UnreadableError)
MAX_LABELS = 100


def router(desk: FeedbackDesk) -> APIRouter:
    """Return the route that takes feedback."""
    routes = APIRouter(tags=["moderation"])

    @routes.post("/feedback", responses=_ANSWERS, openapi_extra=payload.request_body(FeedbackRequest))
    async def feedback(request: Request) -> FeedbackReceipt:
        """Say whether a prediction was right and, if it was not, which labels the comment should have."""
        return await desk.take(await payload.read(request, FeedbackRequest, MAX_LABELS), call_of(request))

    return routes
