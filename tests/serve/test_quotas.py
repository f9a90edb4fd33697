import asyncio
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.db.quotas import Lease
from moderation.errors import OverQuotaError, TooLargeError, UnavailableError
from serve.quotas import ALONE_S, Quotas

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Shared:
    """The counter that servers share, and the clocks; the real one is tested with the database."""

    def __init__(self) -> None:
        self.elapsed_s = 500.0
        self.jump = timedelta()
        self.away = False
        self.asked: dict[datetime, int] = defaultdict(int)
        self.calls = 0
        self.gate: threading.Event | None = None

    @property
    def minute(self) -> datetime:
        return self._moment().replace(second=0, microsecond=0)

    def clock(self) -> float:
        return self.elapsed_s

    def lease(self, key_id: str, quota: int, wanted: int) -> Lease:
        self.calls += 1
        if self.gate is not None:
            self.gate.wait(10)
        if self.away:
            raise UnavailableError("away")
        moment, minute = self._moment(), self.minute
        before = self.asked[minute]
        self.asked[minute] += wanted
        left_s = 60 - (moment - minute).total_seconds()
        return Lease(minute, max(0, min(wanted, quota - before)), max(0, quota - before - wanted), left_s)

    def _moment(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed_s) + self.jump


@contextmanager
def quotas_of(shared: Shared, replicas: int = 1) -> Iterator[Quotas]:
    quotas = Quotas(shared.lease, replicas, clock=shared.clock)
    try:
        yield quotas
    finally:
        quotas.close()


def run(shared: Shared, body: Callable[[Quotas], Awaitable[None]], replicas: int = 1) -> None:
    async def both() -> None:
        with quotas_of(shared, replicas) as quotas:
            await body(quotas)

    asyncio.run(both())


async def granted(quotas: Quotas, texts: int = 1, quota: int = 100) -> bool:
    try:
        await quotas.take("key", quota, texts)
    except OverQuotaError:
        return False
    finally:
        await settled(quotas)
    return True


async def settled(quotas: Quotas) -> None:
    """Wait for the lease that a grant may have begun beside it."""
    for account in quotas._accounts.values():
        if account.leasing is not None:
            await asyncio.wait((account.leasing,))


def test_a_quota_is_granted_to_the_comment_and_begins_again_with_the_minute() -> None:
    shared = Shared()

    async def body(quotas: Quotas) -> None:
        for _ in range(2):
            assert [await granted(quotas) for _ in range(101)] == [True] * 100 + [False]
            shared.elapsed_s += 60

    run(shared, body)


def test_what_is_refused_says_when_to_come_back_and_what_is_left() -> None:
    shared = Shared()
    shared.elapsed_s = 495.0  # 15 s into a minute

    async def body(quotas: Quotas) -> None:
        await quotas.take("key", 100, 98)
        standing = quotas.standing("key", 100)
        assert (standing.quota, standing.left, standing.reset_s) == (100, 2, 45)
        with pytest.raises(
            OverQuotaError, match=r"100 comments per minute, has 2 left, and the request counts as 3"
        ) as refused:
            await quotas.take("key", 100, 3)
        assert refused.value.retry_after_s == 45
        assert quotas.standing("key", 100).left == 2
        await quotas.take("key", 100, 2)
        with pytest.raises(OverQuotaError, match="100 comments per minute, is used up"):
            await quotas.take("key", 100, 1)

    run(shared, body)


def test_a_batch_larger_than_the_quota_is_too_large() -> None:
    async def body(quotas: Quotas) -> None:
        with pytest.raises(TooLargeError, match="101 comments, and the quota of this key is 100"):
            await quotas.take("key", 100, 101)

    run(Shared(), body)


def test_the_database_is_asked_for_blocks_and_not_when_nothing_is_left() -> None:
    shared = Shared()

    async def body(quotas: Quotas) -> None:
        for _ in range(1_000):
            await granted(quotas, quota=1_000)
        assert shared.calls <= 22
        before = shared.calls
        for _ in range(1_000):
            assert not await granted(quotas, quota=1_000)
        assert shared.calls <= before + 1

    run(shared, body)


def test_many_callers_at_once_share_leases_and_get_no_more_than_the_quota() -> None:
    shared = Shared()

    async def body(quotas: Quotas) -> None:
        answers = await asyncio.gather(*(granted(quotas, quota=300) for _ in range(1_000)))
        assert answers.count(True) == 300
        assert shared.calls <= 40

    run(shared, body)


def test_what_the_server_failed_to_do_is_given_back_within_its_minute() -> None:
    shared = Shared()

    async def body(quotas: Quotas) -> None:
        minute = await quotas.take("key", 100, 100)
        quotas.give_back("key", 40, minute)
        assert await granted(quotas, 40)
        shared.elapsed_s += 60
        assert await granted(quotas, 100)
        quotas.give_back("key", 40, minute)  # of a minute that has passed
        assert not await granted(quotas, 1)

    run(shared, body)


def test_without_the_database_a_server_grants_its_share_alone_and_does_not_wait() -> None:
    shared = Shared()
    shared.away = True

    async def body(quotas: Quotas) -> None:
        assert [await granted(quotas, quota=100) for _ in range(60)].count(True) == 34  # a third, rounded up
        assert shared.calls == 1
        shared.elapsed_s += 60
        assert [await granted(quotas, quota=100) for _ in range(60)].count(True) == 34
        shared.away = False
        shared.elapsed_s += 60
        assert [await granted(quotas, quota=100) for _ in range(120)].count(True) == 100

    run(shared, body, replicas=3)


def test_what_was_granted_alone_is_paid_when_the_database_comes_back_in_the_same_minute() -> None:
    shared = Shared()
    shared.elapsed_s = 480.0  # a minute begins
    shared.away = True

    async def body(quotas: Quotas) -> None:
        assert [await granted(quotas) for _ in range(70)].count(True) == 70
        shared.away = False
        shared.elapsed_s += ALONE_S
        assert [await granted(quotas) for _ in range(70)].count(True) == 30

    run(shared, body)


def test_a_database_that_hangs_holds_one_request_up_for_a_second() -> None:
    shared = Shared()
    shared.gate = threading.Event()

    async def body(quotas: Quotas) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for _ in range(50):
            await quotas.take("key", 100, 1)
        assert loop.time() - begun < 5
        assert shared.calls == 1
        shared.gate.set()  # type: ignore[union-attr]

    run(shared, body)


@pytest.mark.parametrize("jump", [timedelta(hours=-3), timedelta(hours=3)])
def test_a_clock_that_jumps_gives_at_most_one_more_minute(jump: timedelta) -> None:
    shared = Shared()

    async def body(quotas: Quotas) -> None:
        first = [await granted(quotas) for _ in range(150)].count(True)
        shared.jump = jump
        shared.elapsed_s += 30
        second = [await granted(quotas) for _ in range(150)].count(True)
        assert first == 100
        assert second <= 100
        shared.elapsed_s += 60
        assert await granted(quotas)  # nobody is locked out

    run(shared, body)


STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30), st.floats(0, 20)), min_size=1, max_size=120)


@given(quota=st.integers(1, 90), steps=STEPS)
def test_three_servers_together_never_grant_more_than_the_quota_of_a_minute(
    quota: int, steps: list[tuple[int, int, float]]
) -> None:
    shared = Shared()
    total: dict[datetime, int] = defaultdict(int)

    async def body() -> None:
        with quotas_of(shared, 3) as one, quotas_of(shared, 3) as two, quotas_of(shared, 3) as three:
            for server, texts, seconds in steps:
                if await granted((one, two, three)[server], min(texts, quota), quota):
                    total[shared.minute] += min(texts, quota)
                shared.elapsed_s += seconds

    asyncio.run(body())
    assert max(total.values(), default=0) <= quota


@given(quota=st.integers(1, 90), steps=STEPS, away=st.lists(st.booleans(), min_size=120, max_size=120))
def test_with_the_database_coming_and_going_they_stay_within_the_stated_overshoot(
    quota: int, steps: list[tuple[int, int, float]], away: list[bool]
) -> None:
    shared = Shared()
    total: dict[datetime, int] = defaultdict(int)

    async def body() -> None:
        with quotas_of(shared, 3) as one, quotas_of(shared, 3) as two, quotas_of(shared, 3) as three:
            for (server, texts, seconds), shared.away in zip(steps, away, strict=False):
                if await granted((one, two, three)[server], min(texts, quota), quota):
                    total[shared.minute] += min(texts, quota)
                shared.elapsed_s += seconds

    asyncio.run(body())
    # docs/access.md: at worst the shared minute, and on each server two minutes of its own that touch it.
    assert max(total.values(), default=0) <= quota + 3 * 2 * -(-quota // 3)
