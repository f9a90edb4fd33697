"""Micro-batching: the texts of many requests, scored a few at a time by worker threads.

Fair by request: workers take one text of each waiting request in turn, so a large batch cannot hold
up a single comment. Knows nothing of models or HTTP: `score` is any blocking, thread-safe function,
and what stands for a text is whatever it takes.
Texts of several requests share one call of it; if that call fails, exactly those requests fail.
"""

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from moderation.errors import ModerationError, OverloadedError, UnavailableError

T = TypeVar("T")
R = TypeVar("R")
logger = logging.getLogger(__name__)


class _Job(Generic[T, R]):
    """The texts of one request and what is known of their results."""

    def __init__(self, texts: Sequence[T]) -> None:
        self.texts = texts
        self.taken = 0
        self.results: dict[int, R] = {}
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[list[R]] = self.loop.create_future()

    def resolve(self, error: ModerationError | None = None) -> None:
        """Wake the waiting caller; called from a worker thread."""
        with suppress(RuntimeError):  # the caller's event loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._set, error)

    def _set(self, error: ModerationError | None) -> None:
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result([self.results[index] for index in range(len(self.texts))])


class Batcher(Generic[T, R]):
    """Scores texts on worker threads and gives each caller its own results, in order."""

    def __init__(
        self,
        score: Callable[[Sequence[T]], Sequence[R]],
        workers: int,
        max_waiting_texts: int,
        max_texts_per_call: int = 4,
    ) -> None:
        """Take the parts; `start` starts the threads.

        ``max_waiting_texts`` bounds the texts admitted and not yet answered; ``max_texts_per_call`` those that
        one call of ``score`` gets: small, since a single comment waits for the calls that are running.
        """
        self._score = score
        self._workers = workers
        self._max_waiting_texts = max_waiting_texts
        self._max_texts_per_call = max_texts_per_call
        self._changed = threading.Condition()
        self._queue: OrderedDict[_Job[T, R], None] = OrderedDict()  # jobs with texts that no worker has taken
        self._untaken_texts = 0
        self._waiting_texts = 0
        self._closing = False
        self._threads = [threading.Thread(target=self._work, name=f"score-{n}", daemon=True) for n in range(workers)]

    @property
    def waiting_texts(self) -> int:
        """Texts admitted and not yet answered."""
        return self._waiting_texts

    @property
    def running(self) -> bool:
        """Whether texts are admitted and scored."""
        return not self._closing and all(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Start the worker threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Refuse new texts, score those admitted, and return when the workers have ended (blocking)."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    async def score(self, texts: Sequence[T]) -> list[R]:
        """Return the result of each text, in order; a cancelled call's texts are not scored.

        Raises:
            OverloadedError: no room for so many texts now.
            UnavailableError: the batcher is closing.
            ModerationError: the scoring function failed.
        """
        if not texts:
            return []
        job: _Job[T, R] = _Job(texts)
        self._admit(job)
        try:
            return await job.answer
        finally:
            with self._changed:
                self._waiting_texts -= len(texts)
                self._drop(job)

    def _admit(self, job: _Job[T, R]) -> None:
        with self._changed:
            if self._closing:
                raise UnavailableError("the server is shutting down")
            if self._waiting_texts + len(job.texts) > self._max_waiting_texts:
                raise OverloadedError(
                    f"{self._waiting_texts} comments are waiting and {len(job.texts)} more would exceed "
                    f"{self._max_waiting_texts}; try again later"
                )
            self._waiting_texts += len(job.texts)
            self._untaken_texts += len(job.texts)
            self._queue[job] = None
            self._changed.notify(len(job.texts))

    def _drop(self, job: _Job[T, R]) -> None:
        """Forget what no worker has taken of a job that is answered, failed or left by its caller."""
        if job in self._queue:
            del self._queue[job]
            self._untaken_texts -= len(job.texts) - job.taken

    def _work(self) -> None:
        while taken := self._take():
            try:
                results = self._score([job.texts[index] for job, index in taken])
                if len(results) != len(taken):
                    raise ValueError(f"{len(results)} results for {len(taken)} texts")
            except Exception as error:  # the edge of this thread: the callers hear of it, the worker lives on
                logger.error("scoring %d texts failed", len(taken), exc_info=error)
                self._fail({job for job, _ in taken}, error)
            else:
                self._deliver(taken, results)

    def _take(self) -> list[tuple[_Job[T, R], int]]:
        """Wait for texts; return the next (job, index of text), nothing when closed and drained."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            # An even share of what waits, so that no worker idles while another has several.
            share = min(self._max_texts_per_call, -(-self._untaken_texts // self._workers))
            taken: list[tuple[_Job[T, R], int]] = []
            while len(taken) < share:
                job, _ = self._queue.popitem(last=False)
                taken.append((job, job.taken))
                job.taken += 1
                if job.taken < len(job.texts):
                    self._queue[job] = None  # to the back: one text per turn
            self._untaken_texts -= len(taken)
            return taken

    def _fail(self, jobs: set[_Job[T, R]], error: Exception) -> None:
        with self._changed:
            for job in jobs:
                self._drop(job)
        for job in jobs:
            own = ModerationError(f"scoring failed ({type(error).__name__})")
            own.__cause__ = error
            job.resolve(own)

    def _deliver(self, taken: Sequence[tuple[_Job[T, R], int]], results: Sequence[R]) -> None:
        complete = []
        with self._changed:
            for (job, index), result in zip(taken, results, strict=True):
                job.results[index] = result
                if len(job.results) == len(job.texts):
                    complete.append(job)
        for job in complete:
            job.resolve()
