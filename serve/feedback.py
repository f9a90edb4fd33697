"""Verdicts of callers and moderators on answered predictions."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from moderation.contracts import FeedbackReceipt, FeedbackRequest
from moderation.db.log import FeedbackRecord
from moderation.errors import InvalidInputError, NotFoundError
from serve.ids import age_s, is_uuid7, uuid7
from serve.outbox import Outbox
from serve.prediction_log import PredictionLog
from serve.predictor import Call

TAKEN_UNSEEN_S = 3600.0
"""How young a prediction is taken to exist unseen: it may still wait in another server's outbox."""
LOOK_UP_S = 1.0
"""How long the database may take to say whether an older one exists; then the verdict is taken."""
_LOOK_UPS = 2

logger = logging.getLogger(__name__)


class FeedbackDesk:
    """Takes feedback on predictions that were answered."""

    def __init__(
        self, labels: Sequence[str], outbox: Outbox, log: PredictionLog, reachable: Callable[[], bool]
    ) -> None:
        """Know the labels that may be corrected, and where predictions are found.

        ``reachable`` says whether the database is known to be there.
        """
        self._labels = labels
        self._outbox = outbox
        self._log = log
        self._reachable = reachable
        # Its own threads: look-ups that hang must not hold those that predictions need.
        self._pool = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="feedback")

    def close(self) -> None:
        """Look up no more; does not wait for a database that hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def take(self, request: FeedbackRequest, call: Call) -> FeedbackReceipt:
        """Record the feedback.

        Raises:
            InvalidInputError: a label that the served version does not have.
            NotFoundError: no such prediction. One that is too young to be in the database for sure is taken, and any
                while the database is away or slow.
            OverloadedError: no room in the outbox.
            UnavailableError: the outbox cannot be written.
        """
        if any(label not in self._labels for label in request.labels or {}):
            raise InvalidInputError(f"labels has an unknown label; known are {', '.join(self._labels)}")
        prediction_id = request.prediction_id.lower()
        if not is_uuid7(prediction_id) or not await self._may_exist(prediction_id):
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

    async def _may_exist(self, prediction_id: str) -> bool:
        if abs(age_s(prediction_id)) < TAKEN_UNSEEN_S or not self._reachable():
            return True
        try:
            async with asyncio.timeout(LOOK_UP_S):
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._find, prediction_id)
        except TimeoutError:
            return True

    def _find(self, prediction_id: str) -> bool:
        # The outbox first: the other way round, a row that moves between the two questions would be missed.
        if self._outbox.holds_prediction(prediction_id):
            return True
        try:
            return self._log.has_prediction(prediction_id)
        except Exception as error:  # whatever keeps the database from answering, the verdict must not be lost
            logger.warning("cannot look a prediction up", exc_info=error)
            return True
