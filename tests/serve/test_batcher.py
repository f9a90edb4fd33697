import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.errors import ModerationError, OverloadedError, UnavailableError
from serve.batcher import FAILED_CALLS, LARGE_CALLS, TRUSTED_CALLS, Batcher, Known, Work
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


def whole(texts: Sequence[str]) -> list[Work[str]]:
    """Tokenise: a text is its own work and costs its length."""
    return [Work(len(text), text) for text in texts]


def batcher_of(score: Callable[[Sequence[str]], list[str]], workers: int = 1, **limits: object) -> Batcher:
    return Batcher(whole, score, workers, **{"max_waiting_texts": 1000, **limits})  # type: ignore[arg-type]


async def results(batcher: Batcher, texts: Sequence[str]) -> list[str]:
    return [outcome.result for outcome in await batcher.score(texts)]


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
@given(requests=request_lists, workers=st.integers(1, 3), pause=st.booleans(), call_tokens=st.sampled_from([0, 9, 200]))
def test_each_caller_gets_its_own_results_or_its_own_failure(
    requests: list[tuple[int, bool, bool, int]], workers: int, pause: bool, call_tokens: int
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
        batcher = batcher_of(score, workers, call_tokens=lambda: call_tokens)
        batcher.start()

        async def ask(number: int, count: int, fails: bool, turns: int) -> list[str]:
            for _ in range(turns):
                await asyncio.sleep(0)
            texts = [f"{number}-{index}" + "!" * (fails and index == 0) for index in range(count)]
            return await results(batcher, texts)

        tasks = [
            asyncio.create_task(ask(number, count, fails, turns))
            for number, (count, _, fails, turns) in enumerate(requests)
        ]
        await asyncio.sleep(0)
        for task, (_, leaves, _, _) in zip(tasks, requests, strict=True):
            if leaves:
                task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for number, (answer, (count, leaves, fails, _)) in enumerate(zip(answers, requests, strict=True)):
            if isinstance(answer, asyncio.CancelledError):
                assert leaves
            elif isinstance(answer, ModerationError):
                assert fails  # never because of what another caller sent
            else:
                assert not fails
                assert answer == [f"{number}-{index}" for index in range(count)]
        assert batcher.waiting_texts == 0
        assert await results(batcher, ["after"]) == ["AFTER"]
        assert batcher.running
        await asyncio.to_thread(batcher.close)
        assert all(len(call) == 1 or sum(map(len, call)) <= call_tokens for call in calls)

    asyncio.run(scenario())


def test_a_large_request_does_not_hold_up_a_single_text() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = batcher_of(gate.score)
        batcher.start()
        large = asyncio.create_task(results(batcher, [f"large {index}" for index in range(100)]))
        await gate.until_entered()
        single = asyncio.create_task(results(batcher, ["single"]))
        await settle()
        gate.open.set()
        assert await single == ["SINGLE"]
        assert len(await large) == 100
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
    assert ["single"] in gate.calls[:4]  # one runs, one is tokenised ahead, one has its turn


def test_no_more_texts_are_admitted_than_may_wait_and_room_comes_back() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = batcher_of(gate.score, max_waiting_texts=3)
        batcher.start()
        first = asyncio.create_task(results(batcher, ["a", "b"]))
        await settle()
        with pytest.raises(OverloadedError):
            await results(batcher, ["c", "d"])
        second = asyncio.create_task(results(batcher, ["c"]))
        await settle()
        assert batcher.waiting_texts == 3
        second.cancel()
        await settle()
        assert batcher.waiting_texts == 2
        gate.open.set()
        await first
        assert await results(batcher, ["c", "d", "e"]) == ["C", "D", "E"]
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_caller_who_left_is_not_scored() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = batcher_of(gate.score)
        batcher.start()
        first = asyncio.create_task(results(batcher, ["first"]))
        await gate.until_entered()
        leaving = asyncio.create_task(results(batcher, ["left 1", "left 2"]))
        await settle()
        leaving.cancel()
        await settle()
        gate.open.set()
        assert await first == ["FIRST"]
        assert await results(batcher, ["next"]) == ["NEXT"]
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
    assert gate.calls == [["first"], ["next"]]


def test_closing_answers_what_was_admitted_and_refuses_what_comes_later() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = batcher_of(gate.score, workers=2)
        batcher.start()
        admitted = [asyncio.create_task(results(batcher, [f"text {number}"])) for number in range(10)]
        await gate.until_entered()
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.to_thread(wait_until, lambda: not batcher.running)
        with pytest.raises(UnavailableError):
            await results(batcher, ["late"])
        gate.open.set()
        assert await asyncio.gather(*admitted) == [[f"TEXT {number}"] for number in range(10)]
        await closing

    asyncio.run(scenario())


def test_a_score_function_that_loses_results_is_a_failure_and_not_a_hang() -> None:
    async def scenario() -> None:
        batcher = batcher_of(lambda texts: upper(texts)[1:])
        batcher.start()
        with pytest.raises(ModerationError, match="ValueError"):
            await results(batcher, ["a", "b"])
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_failure_does_not_tell_the_text() -> None:
    def score(texts: Sequence[str]) -> list[str]:
        raise RuntimeError(f"cannot score {texts[0]}")

    async def scenario() -> None:
        batcher = batcher_of(score)
        batcher.start()
        with pytest.raises(ModerationError) as failure:
            await results(batcher, ["secret"])
        assert "secret" not in str(failure.value)
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_no_texts_need_no_worker() -> None:
    assert asyncio.run(batcher_of(upper).score([])) == []


def test_a_text_that_cannot_be_tokenised_fails_its_own_request_only() -> None:
    def tokenize(texts: Sequence[str]) -> list[Work[str]]:
        if "bad" in texts:
            raise ValueError("planted")
        return whole(texts)

    async def scenario() -> None:
        batcher = Batcher(tokenize, upper, workers=3, max_waiting_texts=10)
        waiting = [asyncio.create_task(results(batcher, [text])) for text in ("a", "bad", "b")]
        await settle()
        batcher.start()
        first, bad, second = await asyncio.gather(*waiting, return_exceptions=True)
        assert (first, second) == (["A"], ["B"])
        assert isinstance(bad, ModerationError)
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_text_whose_result_is_known_needs_no_inference() -> None:
    gate = Gate()

    def tokenize(texts: Sequence[str]) -> list[Work[str] | Known[str]]:
        return [Known("KNOWN") if text == "known" else Work(len(text), text) for text in texts]

    async def scenario() -> None:
        batcher = Batcher(tokenize, gate.score, workers=1, max_waiting_texts=10)
        batcher.start()
        busy = asyncio.create_task(results(batcher, ["busy"]))
        await gate.until_entered()
        assert await results(batcher, ["known"]) == ["KNOWN"]  # while the only worker is held
        gate.open.set()
        await busy
        assert await results(batcher, ["known", "new", "known"]) == ["KNOWN", "NEW", "KNOWN"]
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
    assert gate.calls == [["busy"], ["new"]]


def test_the_parts_of_a_texts_time_are_its_own() -> None:
    def score(texts: Sequence[str]) -> list[str]:
        time.sleep(0.02)
        return upper(texts)

    async def scenario() -> None:
        batcher = batcher_of(score)
        batcher.start()
        begun = time.perf_counter()
        outcomes = await batcher.score(["a", "b", "c", "d"])
        for outcome in outcomes:
            assert outcome.inference_ms >= 19
            parts_ms = outcome.queue_ms + outcome.tokenize_ms + outcome.inference_ms
            assert parts_ms == pytest.approx(1000 * (outcome.done_at - begun), abs=5)
        assert [outcome.queue_ms for outcome in outcomes] == sorted(outcome.queue_ms for outcome in outcomes)
        assert outcomes[3].queue_ms - outcomes[0].queue_ms >= 55  # three others went before
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_request_that_would_wait_too_long_is_refused_at_once_with_when_to_come_back() -> None:
    held = threading.Event()
    held.set()

    def score(texts: Sequence[str]) -> list[str]:
        time.sleep(0.05)
        assert held.wait(20)
        return upper(texts)

    async def scenario() -> None:
        batcher = batcher_of(score, max_wait_s=0.4)
        batcher.start()
        await results(batcher, ["it learns how long a text takes"] * TRUSTED_CALLS)
        held.clear()
        waiting = [asyncio.create_task(results(batcher, [f"text {number}"])) for number in range(20)]
        await settle()
        refused = [task for task in waiting if task.done()]
        assert 5 <= len(refused) <= 15  # about 0.4 s / 0.05 s are admitted
        error = refused[0].exception()
        assert isinstance(error, OverloadedError)
        assert error.retry_after_s == 1
        held.set()
        for task in set(waiting) - set(refused):
            await task
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_the_expected_wait_goes_by_what_the_waiting_texts_cost_and_not_by_their_number() -> None:
    held = threading.Event()
    held.set()

    def score(texts: Sequence[str]) -> list[str]:
        time.sleep(0.005 * len(texts[0]))
        assert held.wait(20)
        return upper(texts)

    async def scenario() -> None:
        batcher = batcher_of(score, max_wait_s=1.0, size_of=len)
        batcher.start()
        await results(batcher, ["x" * 4] * TRUSTED_CALLS)  # 20 ms each
        held.clear()
        short = [asyncio.create_task(results(batcher, ["xxxx"])) for _ in range(10)]
        await settle()
        assert not any(task.done() for task in short)
        long = asyncio.create_task(results(batcher, ["x" * 400]))  # two seconds
        await settle()
        assert not long.done()
        with pytest.raises(OverloadedError):
            await results(batcher, ["xxxx"])
        long.cancel()
        held.set()
        await asyncio.gather(*short)
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_slow_start_refuses_nobody() -> None:
    def score(texts: Sequence[str]) -> list[str]:
        time.sleep(0.3 if texts == ["the first"] else 0)
        return upper(texts)

    async def scenario() -> None:
        batcher = batcher_of(score, max_wait_s=0.2)
        batcher.start()
        await results(batcher, ["the first"])
        assert await asyncio.gather(*(results(batcher, ["next"]) for _ in range(10))) == [["NEXT"]] * 10
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_large_batch_that_waits_does_not_keep_single_texts_out() -> None:
    def score(texts: Sequence[str]) -> list[str]:
        time.sleep(0.01)
        return upper(texts)

    async def scenario() -> None:
        batcher = batcher_of(score, max_wait_s=0.1)
        batcher.start()
        await results(batcher, ["it learns"] * TRUSTED_CALLS)
        large = asyncio.create_task(results(batcher, ["large"] * 100))  # a second of work, but none before it
        await settle()
        assert await results(batcher, ["single"]) == ["SINGLE"]
        assert not large.done()
        with pytest.raises(OverloadedError):
            await results(batcher, ["also large"] * 50)
        large.cancel()
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_call_takes_as_many_texts_as_the_budget_of_tokens_holds() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = batcher_of(gate.score, call_tokens=lambda: 10, size_of=len)
        batcher.start()
        first = asyncio.create_task(results(batcher, ["first"]))
        await gate.until_entered()
        texts = ["aaaa", "bbbb", "cccc", "d" * 30, "ee", "ff"]
        waiting = [asyncio.create_task(results(batcher, [text])) for text in texts]
        await settle()
        gate.open.set()
        assert await asyncio.gather(*waiting) == [[text.upper()] for text in texts]
        assert await first == ["FIRST"]
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
    assert [text for call in gate.calls for text in call] == ["first", "aaaa", "bbbb", "cccc", "d" * 30, "ee", "ff"]
    assert gate.calls[1] == ["aaaa", "bbbb"]  # four more tokens do not fit
    assert ["d" * 30] in gate.calls  # more than the budget: alone
    assert all(len(call) == 1 or sum(map(len, call)) <= 10 for call in gate.calls)


def test_with_a_budget_no_more_is_tokenised_ahead_than_a_call_takes() -> None:
    gate = Gate()
    tokenised: list[str] = []

    def tokenize(texts: Sequence[str]) -> list[Work[str]]:
        tokenised.extend(texts)
        return whole(texts)

    async def scenario() -> None:
        batcher = Batcher(tokenize, gate.score, 1, 1000, size_of=len, call_tokens=lambda: 10)
        batcher.start()
        texts = ["x" * 5] * 50
        task = asyncio.create_task(results(batcher, texts))
        await gate.until_entered()
        await asyncio.to_thread(wait_until, lambda: len(tokenised) > len(gate.calls[0]))
        await asyncio.sleep(0.05)
        assert len(tokenised) - len(gate.calls[0]) <= 3  # ten tokens, and the text that goes over
        gate.open.set()
        await task
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_a_caller_who_left_takes_no_part_of_a_calls_budget() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = batcher_of(gate.score, call_tokens=lambda: 100)
        batcher.start()
        first = asyncio.create_task(results(batcher, ["first"]))
        await gate.until_entered()
        leaving = asyncio.create_task(results(batcher, ["left 1", "left 2"]))
        staying = asyncio.create_task(results(batcher, ["stays"]))
        await asyncio.to_thread(wait_until, lambda: len(batcher._ready) == 3)
        leaving.cancel()
        await settle()
        gate.open.set()
        assert await asyncio.gather(first, staying) == [["FIRST"], ["STAYS"]]
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
    assert gate.calls == [["first"], ["stays"]]


def test_with_a_budget_a_large_request_does_not_hold_up_a_single_text() -> None:
    gate = Gate()

    async def scenario() -> None:
        batcher = batcher_of(gate.score, call_tokens=lambda: 100, size_of=len)
        batcher.start()
        large = asyncio.create_task(results(batcher, [f"{index:010d}" for index in range(200)]))
        await gate.until_entered()
        single = asyncio.create_task(results(batcher, ["single"]))
        await settle()
        gate.open.set()
        assert await single == ["SINGLE"]
        assert len(await large) == 200
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
    assert any("single" in call for call in gate.calls[:4])


def test_a_model_that_is_swapped_in_decides_from_then_on_how_many_texts_a_call_takes() -> None:
    gate, wanted = Gate(), [0]

    async def wave(batcher: Batcher, expected: int) -> list[list[str]]:
        """Return the calls that begin, at once or one after the other, for 40 texts of 10 tokens."""
        before = len(gate.calls)
        gate.open.clear()
        task = asyncio.create_task(results(batcher, ["x" * 10] * 40))
        await asyncio.to_thread(wait_until, lambda: len(gate.calls) - before >= expected)
        await asyncio.sleep(0.05)
        assert len(gate.calls) - before == expected  # so many run side by side
        gate.open.set()
        await task
        return gate.calls[before:]

    async def scenario() -> None:
        batcher = batcher_of(gate.score, workers=4, call_tokens=lambda: wanted[0], size_of=len)
        batcher.start()
        assert {len(call) for call in await wave(batcher, 4)} == {1}
        wanted[0] = 50  # a GPU's model
        large = await wave(batcher, LARGE_CALLS)
        assert max(map(len, large)) == 5
        wanted[0] = 0
        assert {len(call) for call in await wave(batcher, 4)} == {1}
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())


def test_many_calls_in_a_row_that_fail_are_a_lost_device_and_one_that_succeeds_is_none() -> None:
    lost = False

    def score(texts: Sequence[str]) -> list[str]:
        if lost or "bad" in texts:
            raise RuntimeError
        return upper(texts)

    async def scenario() -> None:
        nonlocal lost
        batcher = batcher_of(score)
        batcher.start()

        async def fail(text: str, times: int) -> None:
            for _ in range(times):
                with pytest.raises(ModerationError):
                    await batcher.score([text])

        for _ in range(2):  # texts that fail, and some that do not
            await fail("bad", FAILED_CALLS - 1)
            await batcher.score(["good"])
        assert batcher.running
        lost = True
        await fail("good", FAILED_CALLS)
        assert not batcher.running
        lost = False
        await batcher.score(["good"])
        assert batcher.running
        await asyncio.to_thread(batcher.close)

    asyncio.run(scenario())
