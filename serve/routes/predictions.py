"""Scoring one comment or several."""

from fastapi import APIRouter, Request

from moderation.contracts import BatchPrediction, BatchRequest, Prediction, PredictRequest
from moderation.errors import DeadlineError, InvalidInputError, OverQuotaError
from serve import payload
from serve.errors import UnreadableError, documented
from serve.predictor import Predictor
from serve.routes.call import call_of

_ANSWERS = documented(InvalidInputError, UnreadableError, OverQuotaError, DeadlineError)


def router(predictor: Predictor, max_batch_texts: int) -> APIRouter:
    """Return the routes that score."""
    routes = APIRouter(tags=["moderation"])

    @routes.post(
        "/predict",
        responses=_ANSWERS,
        openapi_extra=payload.request_body(PredictRequest),
        response_model_exclude_none=True,
    )
    async def predict(request: Request) -> Prediction:
        """Score one comment and decide what to do with it."""
        body = await payload.read(request, PredictRequest, max_batch_texts)
        call = call_of(request, body.do_not_store, body.author_id)
        (prediction,) = await predictor.predict({"comment_text": body.comment_text}, call, explain=body.explain)
        return prediction

    @routes.post(
        "/predict/batch",
        responses=_ANSWERS,
        openapi_extra=payload.request_body(BatchRequest),
        response_model_exclude_none=True,
    )
    async def predict_batch(request: Request) -> BatchPrediction:
        """Score several comments; all are answered or none, in the order of the request."""
        body = await payload.read(request, BatchRequest, max_batch_texts)
        if not body.comment_texts:
            raise InvalidInputError("comment_texts is empty; send at least one comment")
        texts = {f"comment_texts[{index}]": text for index, text in enumerate(body.comment_texts)}
        call = call_of(request, body.do_not_store, body.author_id)
        return BatchPrediction(predictions=await predictor.predict(texts, call))

    return routes
