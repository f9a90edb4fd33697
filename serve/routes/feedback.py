"""Agreeing or disagreeing with a prediction."""

from fastapi import APIRouter, Request

from moderation.contracts import FeedbackReceipt, FeedbackRequest
from moderation.errors import InvalidInputError, NotFoundError
from serve import payload
from serve.errors import ContradictoryError, documented
from serve.feedback import FeedbackDesk
from serve.routes.call import call_of

_ANSWERS = documented(InvalidInputError, NotFoundError, ContradictoryError)
MAX_LABELS = 100


def router(desk: FeedbackDesk) -> APIRouter:
    """Return the route that takes feedback."""
    routes = APIRouter(tags=["moderation"])

    @routes.post("/feedback", responses=_ANSWERS, openapi_extra=payload.request_body(FeedbackRequest))
    async def feedback(request: Request) -> FeedbackReceipt:
        """Say whether a prediction was right, and which labels the comment should have.

        `agree: true` says that decision and labels are right; a label counts as predicted if its score reaches the
        threshold for review. `labels` states the right ones, as far as the caller is sure: with `agree: false` they
        correct the prediction, or repeat it where only the decision is wrong; with `agree: true` they only repeat it.
        """
        return await desk.take(await payload.read(request, FeedbackRequest, MAX_LABELS), call_of(request))

    return routes
