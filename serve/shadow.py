"""A candidate scored in the background on a share of what was answered: logged, never answered, never in the way.

It runs only while nothing waits for the model that answers and the outbox has room to spare, one text at a time, on a
thread of lowest priority. What comes while too much waits here is dropped and counted. Texts wait in memory only.
"""

import asyncio
import hashlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from moderation.db.log import ShadowRecord
from serve.model import Model

MAX_WAITING = 256
_LOOK_AGAIN_S = 0.02
_LOWEST_PRIORITY = 19

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answered:
    id: str
    created_at: datetime
    text: str


class Shadow:
    """Scores a sampled share by the candidate, if there is one."""

    def __init__(
        self,
        candidate: Callable[[], Model | None],
        share: float,
        idle: Callable[[], bool],
        append: Callable[[Sequence[ShadowRecord]], Awaitable[None]],
    ) -> None:
        """Ask ``candidate`` for the model, ``idle`` whether it may run, and give records to ``append``.

        ``share`` in [0, 1] of the predictions is sampled, by their ids: the same ones whoever samples.
        """
        self._candidate = candidate
        self._share = share
        self._idle = idle
        self._append = append
        self._waiting: deque[_Answered] = deque()
        self._offered = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow", initializer=_give_way)
        self._task: asyncio.Task[None] | None = None
        self.scored = 0
        self.dropped = 0
        self.failed = 0

    @property
    def waiting(self) -> int:
        """Texts that wait to be scored."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the task; call it on the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Drop what waits and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await asyncio.to_thread(self._thread.shutdown)

    def offer(self, prediction_id: str, created_at: datetime, text: str) -> None:
        """Take an answered prediction if it is in the sample and there is a candidate."""
        if self._candidate() is None or not is_sampled(prediction_id, self._share):
            return
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(_Answered(prediction_id, created_at, text))
        self._offered.set()

    async def _run(self) -> None:
        while True:
            await self._offered.wait()
            while not self._idle():  # noqa: ASYNC110 - what it waits for is the batcher's, which knows no shadow
                await asyncio.sleep(_LOOK_AGAIN_S)
            answered = self._waiting.popleft()
            if not self._waiting:
                self._offered.clear()
            model = self._candidate()
            if model is None:
                self.dropped += 1
                continue
            try:
                record = await asyncio.get_running_loop().run_in_executor(self._thread, _score, model, answered)
                await self._append([record])
                self.scored += 1
            except Exception as error:  # the edge of this task: the next one may go well
                self.failed += 1
                logger.warning("shadow scoring failed", exc_info=error)


def is_sampled(prediction_id: str, share: float) -> bool:
    """Return whether the prediction is in the sample of ``share``, in [0, 1]; a larger share holds a smaller one."""
    digest = hashlib.blake2b(prediction_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _score(model: Model, answered: _Answered) -> ShadowRecord:
    started = time.perf_counter()
    (scores,) = model.score([answered.text])
    return ShadowRecord(
        id=answered.id,
        created_at=answered.created_at,
        version=model.served.version,
        scores=scores.scores,
        decision=model.policy.decide(scores.scores, scores.truncated).decision,
        latency_ms=1000 * (time.perf_counter() - started),
    )


def _give_way() -> None:
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
