"""From a caller's texts to answers that are in the log before they leave."""

import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from moderation.contracts import Prediction
from moderation.db.keys import ANONYMOUS
from moderation.db.log import PredictionRecord
from moderation.policy import Verdict
from serve.batcher import Batcher
from serve.ids import uuid7
from serve.limits import check_texts
from serve.metrics import Metrics
from serve.model import Model, TextScores
from serve.outbox import Outbox


async def free_of_charge(texts: int) -> None:
    """Charge nobody."""


@dataclass(frozen=True)
class Call:
    """Who asks what; ``started`` is the request's begin on `time.perf_counter`, ``charge`` takes from a quota."""

    request_id: str
    route: str
    started: float
    client: str = ANONYMOUS
    charge: Callable[[int], Awaitable[None]] = free_of_charge


@dataclass(frozen=True)
class Asked:
    """A text, and the model that is to score it whatever is swapped in meanwhile."""

    model: Model
    text: str


class Predictor:
    """Scores, decides and logs; a request is answered by one model, the one that was current when it was admitted."""

    def __init__(
        self,
        model: Callable[[], Model],
        batcher: Batcher[Asked, TextScores],
        outbox: Outbox,
        metrics: Metrics,
        max_text_bytes: int,
    ) -> None:
        """Take the parts, and how to ask for the current model; their owner starts and closes them."""
        self._model = model
        self._batcher = batcher
        self._outbox = outbox
        self._metrics = metrics
        self._max_text_bytes = max_text_bytes

    async def predict(self, texts: Mapping[str, str], call: Call) -> list[Prediction]:
        """Return a prediction for each text, in order; ``texts`` maps the field as callers know it to its text.

        Raises:
            TooLargeError: a text over its limit.
            InvalidInputError: a text with nothing to see.
            OverQuotaError: more than the caller's quota has left.
            OverloadedError: no room for so many texts, in the queue or in the outbox.
            UnavailableError: the outbox cannot be written, or the server is shutting down.
        """
        await check_texts(texts, self._max_text_bytes)
        self._outbox.require_room(len(texts))  # before the work; what fills it meanwhile is refused after
        await call.charge(len(texts))
        comments = list(texts.values())
        model = self._model()
        scored = await self._batcher.score([Asked(model, text) for text in comments])
        verdicts = [model.policy.decide(result.scores) for result in scored]
        records = [
            _record(model.served.version, text, result, verdict, call)
            for text, result, verdict in zip(comments, scored, verdicts, strict=True)
        ]
        await self._outbox.append(records)
        for verdict in verdicts:
            self._metrics.decided(verdict.decision)
        return [_answer(record) for record in records]


def score(asked: Sequence[Asked]) -> list[TextScores]:
    """Return the scores of each text by its own model, in order (blocking); the batcher calls it."""
    results: list[TextScores] = []
    for _, group in itertools.groupby(asked, key=lambda one: id(one.model)):
        same = list(group)
        results += same[0].model.score([one.text for one in same])
    return results


def _record(version: str, text: str, result: TextScores, verdict: Verdict, call: Call) -> PredictionRecord:
    return PredictionRecord(
        id=uuid7(),
        created_at=datetime.now(UTC),
        request_id=call.request_id,
        client=call.client,
        route=call.route,
        version=version,
        scores=result.scores,
        decision=verdict.decision,
        reasons=list(verdict.reasons),
        latency_ms=1000 * (time.perf_counter() - call.started),
        tokens_read=result.tokens_read,
        truncated=result.truncated,
        text=text,
    )


def _answer(record: PredictionRecord) -> Prediction:
    return Prediction(
        id=record.id,
        scores=record.scores,
        decision=record.decision,
        reasons=record.reasons,
        version=record.version,
        tokens_read=record.tokens_read,
        truncated=record.truncated,
    )
