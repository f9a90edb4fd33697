"""HTTP load: prebuilt requests on raw connections, every answer kept with its time.

Closed loop (`Closed`): so many clients, each sends its next request once its last one is answered. Open loop (`Open`):
requests leave at random times of a given rate, whether or not earlier ones were answered, and latency counts from when
a request should have left, so that a server that stalls is not spared ("coordinated omission").

`run` works in this process; `in_own_process` keeps the load's own work apart and measures it (`Load.cpu_s`). Knows
HTTP/1.1 with Content-Length and nothing of what is asked.
"""

import asyncio
import itertools
import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

RECONNECT_S = 0.05
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of request ``number``; status 0: the connection ended first. Times are `time.monotonic`'s, in s."""

    number: int
    sent_at: float
    seconds: float
    status: int
    body: bytes


@dataclass(frozen=True)
class Load:
    """All answers in the order of arrival, how long it took, and what the load's own process spent on it."""

    answers: list[Answer]
    seconds: float
    cpu_s: float

    @property
    def statuses(self) -> dict[int, int]:
        """Count of answers per status."""
        return dict(Counter(answer.status for answer in self.answers))


@dataclass(frozen=True)
class Closed:
    """``clients`` at a time; every request once, or with ``for_s`` the requests in a circle for that long.

    ``stop`` names a file: once it is there, the load ends early.
    """

    port: int
    requests: Sequence[bytes]
    clients: int
    for_s: float | None = None
    stop: Path | None = None

    def over(self, until: float | None) -> bool:
        """Return whether the time is over, or the load was stopped."""
        return (until is not None and time.monotonic() >= until) or (self.stop is not None and self.stop.exists())


@dataclass(frozen=True)
class Open:
    """The requests in a circle at ``rate`` per second, with exponential gaps (a Poisson process), for ``for_s``."""

    port: int
    requests: Sequence[bytes]
    rate: float
    for_s: float
    seed: int = 0


def post(path: str, payload: object, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a POST of ``payload`` as JSON."""
    body = json.dumps(payload).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def in_own_process(plan: Closed | Open, pool: ProcessPoolExecutor | None = None) -> Load:
    """Return what came of ``plan``, carried out in a process of its own, or in that of ``pool``."""
    with nullcontext(pool) if pool else own_processes(1) as process:
        return process.submit(run, plan).result()


def own_processes(count: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes, which share nothing with this one."""
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


def run(plan: Closed | Open) -> Load:
    """Carry ``plan`` out in this process.

    Raises:
        OSError: nobody listens (where the plan has no duration; else it is tried again until the time is over).
    """
    begun, spent = time.monotonic(), time.process_time()
    answers = asyncio.run(_closed(plan) if isinstance(plan, Closed) else _open(plan))
    return Load(answers, time.monotonic() - begun, time.process_time() - spent)


class _Connection(asyncio.Protocol):
    """One connection, with at most one request on its way."""

    def __init__(self) -> None:
        self.open = True
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._asked: tuple[int, float, asyncio.Future[Answer]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, number: int, request: bytes, sent_at: float) -> "asyncio.Future[Answer]":
        """Send ``request``; the future always gets a result."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked = (number, sent_at, answer)
        if self._transport is None or not self.open:
            self._resolve(0, b"")
        else:
            self._transport.write(request)
        return answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = bytes(self._received[:end]).lower()
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(self._received) < end + int(length):
            return
        if b"\r\nconnection: close" in head:
            self.close()
        body = bytes(self._received[end : end + int(length)])
        del self._received[: end + int(length)]
        self._resolve(int(head[9:12]), body)

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        self._resolve(0, b"")

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.close()

    def _resolve(self, status: int, body: bytes) -> None:
        if self._asked is None:
            return
        number, sent_at, answer = self._asked
        self._asked = None
        if not answer.done():
            answer.set_result(Answer(number, sent_at, time.monotonic() - sent_at, status, body))


async def _connect(port: int, over: Callable[[], bool] | None) -> _Connection | None:
    """Return a new connection; None if nobody listened before the load was ``over``; without it, none is an error."""
    while True:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, HOST, port)
        except OSError:
            if over is None:
                raise
            if over():
                return None
            await asyncio.sleep(RECONNECT_S)
        else:
            return connection


async def _closed(plan: Closed) -> list[Answer]:
    until = None if plan.for_s is None else time.monotonic() + plan.for_s
    numbers: Iterator[int] = iter(range(len(plan.requests))) if until is None else itertools.count()
    answers: list[Answer] = []

    async def client() -> None:
        connection: _Connection | None = None
        for number in numbers:
            if plan.over(until):
                break
            if connection is None or not connection.open:
                connection = await _connect(plan.port, None if until is None else lambda: plan.over(until))
                if connection is None:
                    return
            which = number % len(plan.requests)
            answers.append(await connection.ask(which, plan.requests[which], time.monotonic()))
        if connection is not None:
            connection.close()

    await asyncio.gather(*(client() for _ in range(plan.clients)))
    return answers


async def _open(plan: Open) -> list[Answer]:
    generator = random.Random(plan.seed)
    answers: list[Answer] = []
    free: list[_Connection] = []
    asking: set[asyncio.Task[None]] = set()
    begun = due = time.monotonic()

    async def ask(number: int, sent_at: float) -> None:
        connection = free.pop() if free else await _connect(plan.port, lambda: time.monotonic() >= begun + plan.for_s)
        if connection is None:
            answers.append(Answer(number, sent_at, time.monotonic() - sent_at, 0, b""))
            return
        answers.append(await connection.ask(number, plan.requests[number], sent_at))
        if connection.open:
            free.append(connection)

    for number in itertools.count():
        due += generator.expovariate(plan.rate)
        if due >= begun + plan.for_s:
            break
        await asyncio.sleep(max(0.0, due - time.monotonic()))  # also when late: the others must get their turn
        task = asyncio.create_task(ask(number % len(plan.requests), due))
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    for connection in free:
        connection.close()
    return answers
