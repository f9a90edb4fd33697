import asyncio
import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.errors import ModerationError, OverloadedError, UnavailableError
from serve.batcher import Batcher
from tests.serve.server import wait_until


class Gate:
    """A score function that waits until it is let go, and notes what it was given."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.calls: list[list[str]] = []

    def score(self, texts: Sequence[str]) -> list[str]:
        self.calls.append(list(texts))
        self.entered.set()
        assert self.open.wait(20)
        return [text.upper() for text in texts]

    async def until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 20)


def upper(texts: Sequence[str]) -> list[str]:
    return [text.upper() for text in texts]


async def settle() -> None:
    """Let tasks that are ready run up to where they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


request_lists = st.lists(
    st.tuples(
        st.integers(1, 9),  # texts
        st.booleans(),  # whether its caller leaves
        st.booleans(),  # whether one of its texts fails
        st.integers(0, 3),  # turns of the loop before it comes
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(requests=request_lists, workers=st.integers(1, 3), per_call=st.integers(1, 5), pause=st.booleans())
def test_each_caller_gets_its_own_result_or_its_own_failure(
    requests: list[tuple[int, bool, bool, int]], workers: int, per_call: int, pause: bool
) -> None:
    calls: list[list[str]] = []

    def score(texts: Sequence[str]) -> list[str]:
        calls.append(list(texts))
        if pause:
            time.sleep(0.0005)
        if any(text.endswith("!") for text in texts):
            raise ValueError("planted")
        return upper(texts)

    async def scenario() -> None:
        batcher = Batcher(score, workers, max_waiting_texts=1000, max_texts_per_call=per_call)
        batcher.start()

        async def ask(number: int, count: int, fails: bool, turns: int) -> list[str]:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await batcher.score([f"{number}-{index}" + "!" * (fails and index == 0) for index in range(count)])

        tasks = [
            asyncio.create_task(ask(number, count, fails, turns))
            for number, (count, _, fails, turns) in enumerate(requests)
        ]
        await asyncio.sleep(0)
        for task, (_, leaves, _, _) in zip(tasks, requests, strict=True):
            if leaves:
                task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        failed_calls = [call for call in calls if any(text.endswith("!") for text in call)]
        for number, (answer, (count, leaves, fails, _)) in enumerate(zip(answers, requests, strict=True)):
            if isinstance(answer, asyncio.CancelledError):
                assert leaves
            elif isinstance(answer, ModerationError):
                assert fails or any(text.startswith(f"{number}-") for call in failed_calls for text in call)
            else:
                assert not fails
                assert answer == [f"{number}-{index}" for index in range(count)]
        assert batcher.waiting_texts == 0
        assert await batcher.score(["after"]) == ["AFTER"]
        assert batcher.running
        await asyncio.to_thread(batcher.close)
        scored = [text for call in calls for text in call]
        assert len(scored) == len(set(scored))  # nothing twice
        assert all(len(call) <= per_call for call in calls)

    asyncio.run(scenario())


def test_a_large_request_does_not_hold_up_a_single_text() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = Batcher(gate.score, workers=1, max_waiting_texts=1000, max_texts_per_call=1)
        batcher.start()
        large = asyncio.create_task(batcher.score([f"large {index}" for index in range(100)]))
        await gate.until_entered()
        single = asyncio.create_task(batcher.score(["single"]))
        await settle()
        gate.open.set()
        assert await single == ["SINGLE"]
        assert len(await large) == 100
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
    assert ["single"] in gate.calls[:3]


def test_what_waits_is_shared_evenly_between_idle_workers() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = Batcher(gate.score, workers=2, max_waiting_texts=1000, max_texts_per_call=4)
        waiting = asyncio.create_task(batcher.score(["a", "b", "c", "d"]))
        await settle()
        batcher.start()
        await asyncio.to_thread(wait_until, lambda: len(gate.calls) >= 2)
        gate.open.set()
        assert await waiting == ["A", "B", "C", "D"]
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
    assert sorted(map(len, gate.calls))[-1] == 2


def test_no_more_texts_are_admitted_than_may_wait_and_room_comes_back() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = Batcher(gate.score, workers=1, max_waiting_texts=3)
        batcher.start()
        first = asyncio.create_task(batcher.score(["a", "b"]))
        await settle()
        with pytest.raises(OverloadedError):
            await batcher.score(["c", "d"])
        second = asyncio.create_task(batcher.score(["c"]))
        await settle()
        assert batcher.waiting_texts == 3
        second.cancel()
        await settle()
        assert batcher.waiting_texts == 2
        gate.open.set()
        await first
        assert await batcher.score(["c", "d", "e"]) == ["C", "D", "E"]
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_caller_who_left_is_not_scored() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = Batcher(gate.score, workers=1, max_waiting_texts=100, max_texts_per_call=1)
        batcher.start()
        first = asyncio.create_task(batcher.score(["first"]))
        await gate.until_entered()
        leaving = asyncio.create_task(batcher.score(["left 1", "left 2"]))
        await settle()
        leaving.cancel()
        await settle()
        gate.open.set()
        assert await first == ["FIRST"]
        assert await batcher.score(["next"]) == ["NEXT"]
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
    assert gate.calls == [["first"], ["next"]]


def test_closing_answers_what_was_admitted_and_refuses_what_comes_later() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = Batcher(gate.score, workers=2, max_waiting_texts=100, max_texts_per_call=1)
        batcher.start()
        admitted = [asyncio.create_task(batcher.score([f"text {number}"])) for number in range(10)]
        await gate.until_entered()
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.to_thread(wait_until, lambda: not batcher.running)
        with pytest.raises(UnavailableError):
            await batcher.score(["late"])
        gate.open.set()
        assert await asyncio.gather(*admitted) == [[f"TEXT {number}"] for number in range(10)]
        await closing

    asyncio.run(scenario())


def test_a_score_function_that_loses_results_is_a_failure_and_not_a_hang() -> None:
    async def scenario() -> None:
        batcher = Batcher(lambda texts: upper(texts)[1:], workers=1, max_waiting_texts=100)
        batcher.start()
        with pytest.raises(ModerationError, match="ValueError"):
            await batcher.score(["a", "b"])
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_failure_does_not_tell_the_text() -> None:
    def score(texts: Sequence[str]) -> list[str]:
        raise RuntimeError(f"cannot score {texts[0]}")

    async def scenario() -> None:
        batcher = Batcher(score, workers=1, max_waiting_texts=100)
        batcher.start()
        with pytest.raises(ModerationError) as failure:
            await batcher.score(["secret"])
        assert "secret" not in str(failure.value)
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_no_texts_need_no_worker() -> None:
    assert asyncio.run(Batcher(upper, workers=1, max_waiting_texts=1).score([])) == []
