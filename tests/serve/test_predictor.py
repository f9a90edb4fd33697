import asyncio
import time
from pathlib import Path

import pytest

from moderation.errors import OverloadedError
from moderation.privacy import Privacy
from moderation.settings import ApiSettings
from serve.batcher import Batcher
from serve.metrics import Metrics
from serve.model import Model
from serve.outbox import Outbox
from serve.predictor import Call, Limits, Predictor
from serve.shadow import Shadow
from serve.stages import Stages


def test_a_request_without_room_is_refused_before_it_is_charged(
    tmp_path: Path, settings: ApiSettings, model: Model
) -> None:
    charged: list[int] = []

    async def charge(texts: int) -> None:
        charged.append(texts)

    stages, outbox = Stages(None), Outbox(tmp_path / "outbox.db", 100)
    batcher = Batcher(stages.tokenize, stages.infer, workers=1, max_waiting_texts=1)
    shadow = Shadow(lambda: None, 0.0, lambda: True, outbox.append)
    limits = Limits(max_text_bytes=100, deadline_s=20)
    predictor = Predictor(lambda: model, batcher, outbox, shadow, Metrics(), limits, Privacy(settings))
    call = Call("request", "/predict/batch", time.perf_counter(), charge=charge)
    with pytest.raises(OverloadedError):
        asyncio.run(predictor.predict({"first": "hello", "second": "hello"}, call))
    assert charged == []
    outbox.close()
