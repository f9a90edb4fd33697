"""Verdicts of callers and moderators on answered predictions."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from moderation.contracts import FeedbackReceipt, FeedbackRequest
from moderation.db.log import FeedbackRecord
from moderation.errors import InvalidInputError, NotFoundError
from serve.ids import is_uuid7, uuid7
from serve.outbox import Outbox
from serve.prediction_log import PredictionLog
from serve.predictor import Call

logger = logging.getLogger(__name__)


class FeedbackDesk:
    """Takes feedback on predictions that were answered."""

    def __init__(self, labels: Sequence[str], outbox: Outbox, log: PredictionLog) -> None:
        """Know the labels that may be corrected, and where predictions are found."""
        self._labels = labels
        self._outbox = outbox
        self._log = log

    async def take(self, request: FeedbackRequest, call: Call) -> FeedbackReceipt:
        """Record the feedback.

        Raises:
            InvalidInputError: a label that the served version does not have.
            NotFoundError: no such prediction; while the database is away, one that only it could know is taken.
            OverloadedError: no room in the outbox.
            UnavailableError: the outbox cannot be written.
        """
        if any(label not in self._labels for label in request.labels or {}):
            raise InvalidInputError(f"labels has an unknown label; known are {', '.join(self._labels)}")
        prediction_id = request.prediction_id.lower()
        if not is_uuid7(prediction_id) or not await asyncio.to_thread(self._may_exist, prediction_id):
            raise NotFoundError("no prediction has this id")
        record = FeedbackRecord(
            id=uuid7(),
            created_at=datetime.now(UTC),
            request_id=call.request_id,
            client=call.client,
            prediction_id=prediction_id,
            agree=request.agree,
            labels=request.labels,
        )
        await self._outbox.append([record])
        return FeedbackReceipt(id=record.id)

    def _may_exist(self, prediction_id: str) -> bool:
        # The outbox first: the other way round, a row that moves between the two questions would be missed.
        if self._outbox.holds_prediction(prediction_id):
            return True
        try:
            return self._log.has_prediction(prediction_id)
        except Exception as error:  # whatever keeps the database from answering, the verdict must not be lost
            logger.warning("cannot look a prediction up", exc_info=error)
            return True
