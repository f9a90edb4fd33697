"""Verdicts of callers and moderators on answered predictions."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from moderation import clock
from moderation.contracts import FeedbackReceipt, FeedbackRequest, ServedVersion
from moderation.db.log import FeedbackRecord, LoggedScores
from moderation.errors import InvalidInputError, NotFoundError
from serve.errors import ContradictoryError
from serve.ids import age_s, is_uuid7, uuid7
from serve.outbox import Outbox
from serve.prediction_log import PredictionLog
from serve.predictor import Call

TAKEN_UNSEEN_S = 3600.0
"""How young a prediction is taken to exist unseen: it may still wait in another server's outbox."""
LOOK_UP_S = 1.0
"""How long the database may take to say whether an older one exists; then the verdict is taken."""
_LOOK_UPS = 2
UNKNOWN = "no prediction has this id"

logger = logging.getLogger(__name__)


class FeedbackDesk:
    """Takes feedback on predictions that were answered."""

    def __init__(
        self, served: Callable[[], ServedVersion], outbox: Outbox, log: PredictionLog, reachable: Callable[[], bool]
    ) -> None:
        """Know what is served now, and where predictions are found.

        ``reachable`` says whether the database is known to be there.
        """
        self._served = served
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
            ContradictoryError: it agrees with the prediction, and states other labels. Where the prediction cannot be
                seen from here, or another version made it, that is taken.
            OverloadedError: no room in the outbox.
            UnavailableError: the outbox cannot be written.
        """
        labels = self._served().labels
        if any(label not in labels for label in request.labels or {}):
            raise InvalidInputError(f"labels has an unknown label; known are {', '.join(labels)}")
        prediction_id = request.prediction_id.lower()
        if not is_uuid7(prediction_id):
            raise NotFoundError(UNKNOWN)
        await self._check(request, prediction_id)
        return FeedbackReceipt(id=await self._record(prediction_id, request.agree, call, labels=request.labels))

    async def suggested(self, prediction_id: str, agree: bool, origin: dict[str, Any], call: Call) -> None:
        """Record what a caller suggested of a comment that was scored for it; ``origin`` says what, and where from.

        Raises:
            OverloadedError: no room in the outbox.
            UnavailableError: the outbox cannot be written.
        """
        await self._record(prediction_id, agree, call, origin=origin)

    async def _record(
        self,
        prediction_id: str,
        agree: bool,
        call: Call,
        labels: dict[str, bool] | None = None,
        origin: dict[str, Any] | None = None,
    ) -> str:
        """Return the id that it is kept under."""
        at = clock.now()
        record = FeedbackRecord(
            id=uuid7(at),
            created_at=at,
            request_id=call.request_id,
            client=call.client,
            prediction_id=prediction_id,
            agree=agree,
            labels=labels,
            origin=origin,
        )
        await self._outbox.append([record])
        return record.id

    async def _check(self, request: FeedbackRequest, prediction_id: str) -> None:
        """Raise if there surely is no such prediction, or if it is not what the caller agrees with."""
        confirmed = request.labels if request.agree else None
        reachable = self._reachable()
        must_exist = reachable and abs(age_s(prediction_id)) >= TAKEN_UNSEEN_S
        if not must_exist and not confirmed:
            return
        try:
            async with asyncio.timeout(LOOK_UP_S):
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self._pool, self._find, prediction_id, reachable)
        except Exception as error:  # whatever keeps the database from answering, the verdict must not be lost
            logger.warning("cannot look a prediction up", exc_info=error)
            return
        if found is not None:
            self._require_agreement(found, confirmed or {})
        elif must_exist:
            raise NotFoundError(UNKNOWN)

    def _find(self, prediction_id: str, in_database: bool) -> LoggedScores | None:
        # The outbox first: the other way round, a row that moves between the two questions would be missed.
        found = self._outbox.find_scores(prediction_id)
        return self._log.find_scores(prediction_id) if found is None and in_database else found

    def _require_agreement(self, found: LoggedScores, confirmed: Mapping[str, bool]) -> None:
        served = self._served()
        if found.version != served.version:
            return  # its thresholds are not at hand
        thresholds = {label: served.thresholds[label]["review"] for label in confirmed}
        predicted = {label: at is not None and found.scores.get(label, 0.0) >= at for label, at in thresholds.items()}
        if others := [label for label, is_right in confirmed.items() if is_right != predicted[label]]:
            raise ContradictoryError(
                f"agree is true, but labels differs from what was predicted for {', '.join(others)}; send agree: false "
                "with the labels that are right, or agree: true without these"
            )
