import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from moderation.db.log import ShadowRecord
from serve.ids import uuid7
from serve.model import Model, TextScores
from serve.shadow import MAX_WAITING, Shadow, is_sampled
from tests.serve.server import Score, with_scoring

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Kept:
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[ShadowRecord] = []

    async def append(self, records: Sequence[ShadowRecord]) -> None:
        self.records += records


async def until(condition: object) -> None:
    async with asyncio.timeout(20):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


def test_what_is_answered_is_scored_by_the_candidate_under_the_same_id(model: Model) -> None:
    kept = Kept()

    async def scenario() -> None:
        shadow = Shadow(lambda: model, 1.0, lambda: True, kept.append)
        shadow.start()
        ids = [uuid7() for _ in range(3)]
        for number, text in zip(ids, ["disgusting", "hello", "damn"], strict=True):
            shadow.offer(number, NOW, text)
        await until(lambda: shadow.scored == 3)
        await shadow.close()
        assert [record.id for record in kept.records] == ids

    asyncio.run(scenario())
    first = kept.records[0]
    assert first.scores == model.score(["disgusting"])[0].scores
    assert (first.version, first.decision, first.created_at) == (model.served.version, "remove", NOW)
    assert first.latency_ms > 0


def test_it_waits_until_nothing_else_does_and_then_drops_what_is_too_much(model: Model) -> None:
    kept, idle = Kept(), False

    async def scenario() -> None:
        nonlocal idle
        shadow = Shadow(lambda: model, 1.0, lambda: idle, kept.append)
        shadow.start()
        for _ in range(MAX_WAITING + 10):
            shadow.offer(uuid7(), NOW, "hello")
        await asyncio.sleep(0.1)
        assert (shadow.scored, shadow.waiting, shadow.dropped) == (0, MAX_WAITING, 10)
        idle = True
        await until(lambda: shadow.scored == MAX_WAITING)
        await shadow.close()

    asyncio.run(scenario())
    assert len(kept.records) == MAX_WAITING


def test_nothing_is_taken_without_a_candidate(model: Model) -> None:
    async def scenario() -> None:
        shadow = Shadow(lambda: None, 1.0, lambda: True, Kept().append)
        shadow.offer(uuid7(), NOW, "hello")
        assert shadow.waiting == 0
        await shadow.close()

    asyncio.run(scenario())


def test_a_candidate_that_fails_is_counted_and_the_next_text_is_scored(model: Model) -> None:
    def score(real: Score, texts: Sequence[str]) -> list[TextScores]:
        if texts == ["bad"]:
            raise ValueError("planted")
        return real(texts)

    kept = Kept()

    async def scenario() -> None:
        shadow = Shadow(lambda: with_scoring(model, score), 1.0, lambda: True, kept.append)
        shadow.start()
        shadow.offer(uuid7(), NOW, "bad")
        shadow.offer(uuid7(), NOW, "good")
        await until(lambda: shadow.scored == 1)
        assert shadow.failed == 1
        await shadow.close()

    asyncio.run(scenario())


def test_the_event_loop_runs_on_while_the_candidate_scores(model: Model) -> None:
    gate = threading.Event()
    slow = replace(model, infer=lambda items: (gate.wait(20), model.infer(items))[1])

    async def scenario() -> None:
        shadow = Shadow(lambda: slow, 1.0, lambda: True, Kept().append)
        shadow.start()
        shadow.offer(uuid7(), NOW, "hello")
        await asyncio.sleep(0.05)  # would not return if the loop were held
        gate.set()
        await until(lambda: shadow.scored == 1)
        await shadow.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_sample_has_its_share_and_is_the_same_each_time(share: float) -> None:
    ids = [f"01934f6e-9d2a-7c51-9f5e-{number:012x}" for number in range(4000)]
    sampled = [number for number in ids if is_sampled(number, share)]
    assert abs(len(sampled) / len(ids) - share) < 0.03  # 4 standard errors at 0.5
    assert sampled == [number for number in ids if is_sampled(number, share)]
    assert set(sampled) <= {number for number in ids if is_sampled(number, min(1.0, 2 * share))}
