import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from moderation.errors import OverloadedError
from moderation.privacy import Privacy
from moderation.settings import ApiSettings
from serve.batcher import Batcher
from serve.metrics import Metrics
from serve.model import Model
from serve.outbox import Outbox, Record
from serve.predictor import Call, Limits, Predictor
from serve.shadow import Shadow
from serve.stages import Asked, Stages


def test_a_request_without_room_is_refused_before_it_is_charged(
    tmp_path: Path, settings: ApiSettings, model: Model
) -> None:
    charged: list[int] = []

    async def charge(texts: int) -> None:
        charged.append(texts)

    stages, outbox = Stages(None), Outbox(tmp_path / "outbox.db", 100)
    batcher = Batcher(stages.tokenize, stages.infer, workers=1, max_waiting_texts=2)
    shadow = Shadow(lambda: None, 0.0, lambda: True, outbox.append)
    limits = Limits(max_text_bytes=100, deadline_s=20)
    predictor = Predictor(lambda: model, batcher, outbox, shadow, Metrics(), limits, Privacy(settings))
    call = Call("request", "/predict/batch", time.perf_counter(), charge=charge)

    async def scenario() -> None:
        waiting = asyncio.create_task(batcher.score([Asked(model, "hello")]))  # for ever: nothing is started
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await predictor.predict({"first": "hello", "second": "hello"}, call)
        waiting.cancel()

    asyncio.run(scenario())
    assert charged == []
    outbox.close()


class SlowOutbox(Outbox):
    """The real outbox on a disk that takes a second per commit."""

    async def append(self, records: Sequence[Record]) -> None:
        await asyncio.sleep(1)
        await super().append(records)


def test_what_is_logged_is_answered_even_if_its_commit_outlasts_the_deadline(
    tmp_path: Path, settings: ApiSettings, model: Model
) -> None:
    stages, outbox = Stages(None), SlowOutbox(tmp_path / "outbox.db", 100)
    batcher = Batcher(stages.tokenize, stages.infer, workers=1, max_waiting_texts=100)
    shadow = Shadow(lambda: None, 0.0, lambda: True, outbox.append)
    limits = Limits(max_text_bytes=100, deadline_s=0.9)
    predictor = Predictor(lambda: model, batcher, outbox, shadow, Metrics(), limits, Privacy(settings))
    batcher.start()
    outbox.start()
    (answer,) = asyncio.run(predictor.predict({"text": "hello"}, Call("request", "/predict", time.perf_counter())))
    assert [row.id for row in outbox.oldest(10)] == [answer.id]
    batcher.close()
    outbox.stop()
    outbox.close()
