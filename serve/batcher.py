"""Micro-batching: the texts of many requests, tokenised ahead by one thread and scored by several.

Fair by request: one text of each waiting request in turn, so a large batch cannot hold up a single comment.
Only so many texts are tokenised ahead as keep the inference threads busy; all others wait in the fair queue.
Knows nothing of models or HTTP: `tokenize` and `infer` are any blocking, thread-safe functions, and `infer` gets
one text at a time, or as many as a budget of tokens holds. A text that fails fails its own request only: if a call for
several fails, each is tried alone.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from moderation.errors import ModerationError, OverloadedError, TooLargeError, UnavailableError

T = TypeVar("T")
W = TypeVar("W")
R = TypeVar("R")
X = TypeVar("X")
Y = TypeVar("Y")

_MEMORY = 0.98
"""Weight of what was known against one new call: figures follow the last 50 calls or so."""

LARGE_CALLS = 2
"""So many calls of several texts run side by side: one is prepared while another is computed."""

FAILED_CALLS = 10
"""After so many in a row the device is taken for lost: no single comment fails as often."""

TRUSTED_CALLS = 20
"""So many are seen before anybody is refused for what the wait is expected to be: the first ones are slow."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work(Generic[W]):
    """A tokenised text, as inference takes it; ``tokens`` is what it costs there."""

    tokens: int
    item: W


@dataclass(frozen=True, slots=True)
class Known(Generic[R]):
    """The result of a text that needs no inference."""

    result: R


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """What came of one text, how long each part took, and when it was done on `time.perf_counter`."""

    result: R
    queue_ms: float
    tokenize_ms: float
    inference_ms: float
    done_at: float


class _Job(Generic[T, R]):
    """The texts of one request and what is known of their results."""

    def __init__(self, texts: Sequence[T], size: int) -> None:
        self.texts = texts
        self.mean_size = size / len(texts)
        self.taken = 0
        self.over = False  # answered, failed, or left by its caller
        self.outcomes: dict[int, Outcome[R]] = {}
        self.admitted_at = time.perf_counter()
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[list[Outcome[R]]] = self.loop.create_future()

    @property
    def untaken(self) -> int:
        return len(self.texts) - self.taken

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
            self.answer.set_result([self.outcomes[index] for index in range(len(self.texts))])


@dataclass(frozen=True, slots=True)
class _Place(Generic[T, R]):
    """One text of one request."""

    job: _Job[T, R]
    index: int

    @property
    def text(self) -> T:
        return self.job.texts[self.index]


@dataclass(frozen=True, slots=True)
class _Ready(Generic[T, W, R]):
    """A text that waits for inference, and how long tokenising took."""

    place: _Place[T, R]
    work: Work[W]
    tokenize_s: float


class Batcher(Generic[T, W, R]):
    """Scores texts on threads of its own and gives each caller its own results, in order."""

    def __init__(
        self,
        tokenize: Callable[[Sequence[T]], Sequence[Work[W] | Known[R]]],
        infer: Callable[[Sequence[W]], Sequence[R]],
        workers: int,
        max_waiting_texts: int,
        max_wait_s: float = float("inf"),
        size_of: Callable[[T], int] = lambda _: 1,
        call_tokens: Callable[[], int] = lambda: 0,
    ) -> None:
        """Take the parts; `start` starts the threads.

        ``max_waiting_texts`` bounds the texts admitted and not yet answered, ``max_wait_s`` the time that a request
        is expected to wait for those before it. ``size_of`` a text, such as its characters, tells about how many tokens
        it has before it is tokenised. A call of ``infer`` takes texts of up to ``call_tokens`` tokens together, and one
        that has more alone, and no more than `LARGE_CALLS` run side by side; 0: each text alone, on all ``workers``.
        It is asked anew for each call, as another model may want another number.
        """
        self._tokenize = tokenize
        self._infer = infer
        self._workers = workers
        self._max_waiting_texts = max_waiting_texts
        self._max_wait_s = max_wait_s
        self._size_of = size_of
        self._call_tokens = call_tokens
        self._lock = threading.Lock()  # held for a few instructions only: the event loop takes it too
        self._tokenizer_wanted = threading.Condition(self._lock)
        self._inference_wanted = threading.Condition(self._lock)
        self._queue: OrderedDict[_Job[T, R], None] = OrderedDict()  # jobs with texts that nobody has taken
        self._ready: deque[_Ready[T, W, R]] = deque()
        self._ready_tokens = 0
        self._queued_size = self._turn_size = 0.0  # of all texts in the queue, and of one of each job
        self._waiting_texts = 0
        self._running_calls = self._failed_calls = 0  # failed: since the last one that brought a result
        self._closing = False
        self._all_tokenized = False
        # Of texts tokenised, and of texts answered; the latest weigh most.
        self._seen_tokens = self._seen_size = 0.0
        self._answered_tokens = self._answered_s = 0.0
        self._answered_calls = 0
        self._threads = [
            threading.Thread(target=self._tokenize_all, name="tokenize", daemon=True),
            *(threading.Thread(target=self._infer_all, name=f"infer-{n}", daemon=True) for n in range(workers)),
        ]

    @property
    def waiting_texts(self) -> int:
        """Texts admitted and not yet answered."""
        return self._waiting_texts

    @property
    def running(self) -> bool:
        """Whether texts are admitted and scored: not after many calls in a row that failed."""
        alive = all(thread.is_alive() for thread in self._threads)
        return not self._closing and alive and self._failed_calls < FAILED_CALLS

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Refuse new texts, score those admitted, and return when the threads have ended (blocking)."""
        with self._lock:
            self._closing = True
            self._tokenizer_wanted.notify()
        for thread in self._threads:
            thread.join()

    def require_room(self, texts: int) -> None:
        """Raise OverloadedError if a request of ``texts`` texts would not be admitted now, TooLargeError if never."""
        with self._lock:
            self._require_room(texts)

    async def score(self, texts: Sequence[T]) -> list[Outcome[R]]:
        """Return what came of each text, in order; a cancelled call's texts are not scored.

        Raises:
            OverloadedError: no room for so many texts now.
            TooLargeError: there never is.
            UnavailableError: the batcher is closing.
            ModerationError: one of these texts could not be scored.
        """
        if not texts:
            return []
        job: _Job[T, R] = _Job(texts, sum(map(self._size_of, texts)))
        with self._lock:
            if self._closing:
                raise UnavailableError("the server is shutting down")
            self._require_room(len(texts))
            self._waiting_texts += len(texts)
            self._enqueue(job)
            self._tokenizer_wanted.notify()
        try:
            return await job.answer
        finally:
            with self._lock:
                self._waiting_texts -= len(texts)
                self._forget(job)

    def _require_room(self, texts: int) -> None:
        if texts > self._max_waiting_texts:
            raise TooLargeError(
                f"the request needs {texts} scorings, each explained word being two, and at most "
                f"{self._max_waiting_texts} can wait at a time; send fewer comments, or do not ask to explain"
            )
        if self._waiting_texts + texts > self._max_waiting_texts:
            raise OverloadedError(
                f"{self._waiting_texts} comments are waiting and {texts} more would exceed "
                f"{self._max_waiting_texts}; try again later"
            )
        if (wait_s := self._expected_wait_s(texts)) > self._max_wait_s:
            raise OverloadedError(
                f"the wait would be {wait_s:.1f} s and at most {self._max_wait_s:g} s is allowed; try again later",
                retry_after_s=max(1, round(wait_s)),
            )

    def _expected_wait_s(self, texts: int) -> float:
        """Return how long those before it hold up a request of ``texts`` texts: each goes first as often as it."""
        if self._answered_calls < TRUSTED_CALLS:
            return 0.0
        # At most so much, and exactly where all have one text: to look at each job would cost an overloaded server
        # more than what it turns away.
        size = min(self._queued_size, texts * self._turn_size)
        tokens = self._ready_tokens + self._expected_tokens(size)
        return tokens * self._answered_s / self._answered_tokens / self._side_by_side(self._call_tokens())

    def _side_by_side(self, call_tokens: int) -> int:
        return min(self._workers, LARGE_CALLS) if call_tokens else self._workers

    def _expected_tokens(self, size: float) -> float:
        return size * self._seen_tokens / self._seen_size if self._seen_size else size

    def _enqueue(self, job: _Job[T, R]) -> None:
        self._queue[job] = None
        self._queued_size += job.untaken * job.mean_size
        self._turn_size += job.mean_size

    def _dequeue(self, job: _Job[T, R]) -> None:
        if job not in self._queue:
            return
        del self._queue[job]
        self._queued_size -= job.untaken * job.mean_size
        self._turn_size -= job.mean_size
        if not self._queue:  # no rounding adds up
            self._queued_size = self._turn_size = 0.0

    def _forget(self, job: _Job[T, R]) -> None:
        """Drop what is left of a job that is answered, failed or left by its caller."""
        job.over = True
        self._dequeue(job)
        if self._closing:  # this may have been the last one that waited
            self._tokenizer_wanted.notify()

    def _tokenize_all(self) -> None:
        while taken := self._next_texts():
            started = time.perf_counter()
            works = _attempt(self._tokenize, [place.text for place in taken])
            ended = time.perf_counter()
            with self._lock:
                for place, work in zip(taken, works, strict=True):
                    size = self._size_of(place.text)
                    if isinstance(work, Work):
                        self._ready.append(_Ready(place, work, ended - started))
                        self._ready_tokens += work.tokens
                        self._seen_tokens = _MEMORY * self._seen_tokens + work.tokens
                        self._seen_size = _MEMORY * self._seen_size + size
                    elif isinstance(work, Known):
                        self._learn(self._expected_tokens(size), 0.0)
                self._inference_wanted.notify(len(taken))
            for place, work in zip(taken, works, strict=True):
                if isinstance(work, Known):
                    self._deliver(place, work.result, ended - started, 0.0, ended)
                elif isinstance(work, Exception):
                    self._fail(place.job, work)
        with self._lock:
            self._all_tokenized = True
            self._inference_wanted.notify_all()

    def _next_texts(self) -> list[_Place[T, R]]:
        """Wait until texts are to be tokenised; return them, nothing when closed and drained."""
        with self._lock:
            while not (self._queue and self._more_wanted(0, 0.0)) and not (self._closing and not self._queue):
                self._tokenizer_wanted.wait()
            taken: list[_Place[T, R]] = []
            size = 0.0
            while self._queue and self._more_wanted(len(taken), size):
                job = next(iter(self._queue))
                self._dequeue(job)
                taken.append(_Place(job, job.taken))
                size += job.mean_size
                job.taken += 1
                if job.untaken:
                    self._enqueue(job)  # to the back: one text per turn
            return taken

    def _more_wanted(self, taken: int, size: float) -> bool:
        """Return whether texts should be tokenised beyond those ready and ``taken`` others of ``size``."""
        if call_tokens := self._call_tokens():  # one call ahead of those that run
            return self._ready_tokens + self._expected_tokens(size) < call_tokens
        return taken < self._workers - len(self._ready)

    def _infer_all(self) -> None:
        while ready := self._next_ready():
            started = time.perf_counter()
            results = _attempt(self._infer, [one.work.item for one in ready])
            ended = time.perf_counter()
            failed = all(isinstance(result, Exception) for result in results)
            with self._lock:
                self._running_calls -= 1
                self._failed_calls = self._failed_calls + 1 if failed else 0
                self._learn(sum(one.work.tokens for one in ready), ended - started)
            for one, result in zip(ready, results, strict=True):
                if isinstance(result, Exception):
                    self._fail(one.place.job, result)
                else:
                    self._deliver(one.place, result, one.tokenize_s, ended - started, ended)

    def _next_ready(self) -> list[_Ready[T, W, R]]:
        """Wait for tokenised texts; return those of one call, none when closed and drained."""
        with self._lock:
            taken: list[_Ready[T, W, R]] = []
            tokens = 0
            while True:
                call_tokens = self._call_tokens()
                free = self._running_calls < self._side_by_side(call_tokens)
                while free and self._ready and (not taken or 0 < tokens + self._ready[0].work.tokens <= call_tokens):
                    ready = self._ready.popleft()
                    self._ready_tokens -= ready.work.tokens
                    if not ready.place.job.over:
                        taken.append(ready)
                        tokens += ready.work.tokens
                self._tokenizer_wanted.notify()
                if taken or self._all_tokenized:  # with no room left, those that run take what is left
                    self._running_calls += bool(taken)
                    return taken
                self._inference_wanted.wait()

    def _learn(self, tokens: float, seconds: float) -> None:
        self._answered_tokens = _MEMORY * self._answered_tokens + tokens
        self._answered_s = _MEMORY * self._answered_s + seconds
        self._answered_calls += 1

    def _deliver(self, place: _Place[T, R], result: R, tokenize_s: float, inference_s: float, done_at: float) -> None:
        job = place.job
        queue_s = done_at - job.admitted_at - tokenize_s - inference_s
        outcome = Outcome(result, 1000 * max(0.0, queue_s), 1000 * tokenize_s, 1000 * inference_s, done_at)
        with self._lock:
            job.outcomes[place.index] = outcome
            complete = len(job.outcomes) == len(job.texts)
        if complete:
            job.resolve()

    def _fail(self, job: _Job[T, R], error: Exception) -> None:
        with self._lock:
            self._forget(job)
        own = ModerationError(f"scoring failed ({type(error).__name__})")
        own.__cause__ = error
        job.resolve(own)


def _attempt(call: Callable[[Sequence[X]], Sequence[Y]], items: Sequence[X]) -> list[Y | Exception]:
    """Return each item's result, or its own exception: when a call for several fails, each is tried alone."""
    try:
        results = call(items)
        if len(results) != len(items):
            raise ValueError(f"{len(results)} results for {len(items)} texts")
        return list(results)
    except Exception as error:  # the edge of a thread: the caller of that text hears of it, the thread lives on
        logger.error("scoring %d texts failed", len(items), exc_info=error)
        return [error] if len(items) == 1 else [outcome for item in items for outcome in _attempt(call, [item])]
