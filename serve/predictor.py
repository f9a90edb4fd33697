"""From a caller's texts to answers that are in the log before they leave."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moderation import clock
from moderation.contracts import Prediction
from moderation.db.keys import ANONYMOUS
from moderation.db.log import PredictionRecord
from moderation.errors import DeadlineError
from moderation.explanation import explanation_of, parts_of, spans_in
from moderation.privacy import NOTHING, Kept, Privacy
from serve.batcher import Batcher, Outcome
from serve.ids import uuid7
from serve.limits import check_texts
from serve.metrics import Metrics
from serve.model import Model
from serve.outbox import Outbox
from serve.shadow import Shadow
from serve.stages import Asked, Found

_RECORDS_PER_TURN = 64


async def free_of_charge(texts: int) -> None:
    """Charge nobody."""


@dataclass(frozen=True)
class Call:
    """Who asks what; ``started`` is the request's begin on `time.perf_counter`, ``charge`` takes from a quota.

    ``is_traffic`` is False for a text that nobody wants a decision on.
    """

    request_id: str
    route: str
    started: float
    client: str = ANONYMOUS
    do_not_store: bool = False
    author_id: str | None = None
    charge: Callable[[int], Awaitable[None]] = free_of_charge
    is_traffic: bool = True


@dataclass(frozen=True)
class Answered:
    """A prediction and a language tag per text, the scores of each part, and the model that gave them all."""

    model: Model
    predictions: list[Prediction]
    languages: list[str]
    part_scores: list[dict[str, float]]


@dataclass(frozen=True)
class Limits:
    """Bounds of one request: bytes of UTF-8 per text, seconds until its answer."""

    max_text_bytes: int
    deadline_s: float


class Predictor:
    """Scores, decides and logs; a request is answered by one model, the one that was current when it was admitted."""

    def __init__(
        self,
        model: Callable[[], Model],
        batcher: Batcher[Asked, Any, Found],
        outbox: Outbox,
        shadow: Shadow,
        metrics: Metrics,
        limits: Limits,
        privacy: Privacy,
    ) -> None:
        """Take the parts, and how to ask for the current model; their owner starts and closes them."""
        self._model = model
        self._batcher = batcher
        self._outbox = outbox
        self._shadow = shadow
        self._metrics = metrics
        self._limits = limits
        self._privacy = privacy

    async def predict(self, texts: Mapping[str, str], call: Call, explain: bool = False) -> list[Prediction]:
        """Return a prediction for each text, in order; ``texts`` maps the field as callers know it to its text.

        To ``explain`` a single text, it is scored without each of its words as well, and each of these alone.

        Raises:
            ModerationError: as `answer` does.
        """
        if not explain:
            return (await self.answer(texts, call)).predictions
        await check_texts(texts, self._limits.max_text_bytes)
        (text,) = texts.values()
        spans = await asyncio.to_thread(spans_in, text)
        # A word alone is next to no work: only the texts without one are charged.
        answered = await self.answer(texts, call, parts_of(text, spans), cost=1 + len(spans))
        (prediction,) = answered.predictions
        explanation = explanation_of(spans, prediction.scores, answered.part_scores)
        return [prediction.model_copy(update={"explanation": explanation})]

    async def answer(
        self,
        texts: Mapping[str, str],
        call: Call,
        parts: Sequence[str] = (),
        model: Model | None = None,
        cost: int | None = None,
    ) -> Answered:
        """Return a prediction for each text, in order, by ``model``, or by the current one.

        A text of which nothing may be stored meets neither the cache nor the candidate. ``parts`` are texts that are
        scored besides: they take turns with other requests, and are neither logged nor cached. ``cost`` is how many
        comments are charged; None: texts and parts.

        Raises:
            TooLargeError: a text over its limit, or more parts than this server ever has room for.
            InvalidInputError: a text with nothing to see.
            OverQuotaError: more than the caller's quota has left.
            OverloadedError: no room for so many texts, in the queue or in the outbox.
            UnavailableError: the outbox cannot be written, or the server is shutting down.
            DeadlineError: it took too long.
        """
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                used, records, outcomes = await self._score(texts, call, parts, model, cost)
        except TimeoutError:
            raise DeadlineError(
                f"no answer within {self._limits.deadline_s:g} s; send fewer comments at once or try again later"
            ) from None
        # Beyond the deadline: given up in the midst of the commit, it would be in the log as answered, and be a 504.
        await self._outbox.append(records)
        answers = outcomes[: len(records)]
        if call.is_traffic:
            self._metrics.predicted(used.served.version, [record.decision for record in records], answers)
        if call.is_traffic and model is None and not call.do_not_store:
            for text, record in zip(texts.values(), records, strict=True):
                self._shadow.offer(record.id, record.created_at, text)
        return Answered(
            used,
            [_answer(record) for record in records],
            [outcome.result.scores.traits.language for outcome in answers],
            [outcome.result.scores.scores for outcome in outcomes[len(records) :]],
        )

    async def _score(
        self, texts: Mapping[str, str], call: Call, parts: Sequence[str], model: Model | None, cost: int | None
    ) -> tuple[Model, list[PredictionRecord], list[Outcome[Found]]]:
        """Return the model, a record per text, and the outcomes of texts and parts."""
        await check_texts(texts, self._limits.max_text_bytes)
        comments = list(texts.values())
        # Before the work and before a quota is leased; what fills up meanwhile is refused after.
        self._outbox.require_room(len(comments))
        self._batcher.require_room(len(comments) + len(parts))
        await call.charge(len(comments) + len(parts) if cost is None else cost)
        model = model or self._model()
        asked = [Asked(model, text, keep=not call.do_not_store) for text in comments]
        asked += [Asked(model, part, keep=False) for part in parts]
        outcomes = await self._batcher.score(asked)
        records: list[PredictionRecord] = []
        for kept, outcome in zip(await self._kept(comments, call), outcomes, strict=False):
            records.append(_record(model, kept, outcome, call))
            if len(records) % _RECORDS_PER_TURN == 0:
                await asyncio.sleep(0)  # a thousand of them would hold the event loop up for 50 ms
        return model, records, outcomes

    async def _kept(self, texts: Sequence[str], call: Call) -> list[Kept]:
        if call.do_not_store:
            return [NOTHING] * len(texts)
        keep = functools.partial(self._privacy.keep, texts, call.author_id)
        # Hashing normalises the texts, which takes milliseconds for long ones.
        return await asyncio.to_thread(keep) if self._privacy.hashes_texts else keep()


def _record(model: Model, kept: Kept, outcome: Outcome[Found], call: Call) -> PredictionRecord:
    scores = outcome.result.scores
    traits = None if call.do_not_store else scores.traits
    verdict = model.policy.decide(scores.scores, scores.truncated)
    at = clock.now()
    return PredictionRecord(
        id=uuid7(at),
        created_at=at,
        request_id=call.request_id,
        client=call.client,
        route=call.route,
        version=model.served.version,
        scores=scores.scores,
        decision=verdict.decision,
        reasons=list(verdict.reasons),
        latency_ms=1000 * (outcome.done_at - call.started),
        tokens_read=scores.tokens_read,
        truncated=scores.truncated,
        text=kept.text,
        cached=outcome.result.cached,
        queue_ms=outcome.queue_ms,
        tokenize_ms=outcome.tokenize_ms,
        inference_ms=outcome.inference_ms,
        text_hash=kept.text_hash,
        author=kept.author,
        language=None if traits is None else traits.language,
        characters=None if traits is None else traits.characters,
        unknown_tokens=None if traits is None else traits.unknown_tokens,
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
