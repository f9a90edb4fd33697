"""Three times as much as the model can take: the rest is refused at once, and what is taken is answered in time."""

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from serve.model import Model, TextScores
from tests.serve.server import Score, served, settings_in, with_scoring

TEXT_S, THREADS, MAX_WAIT_S = 0.02, 2, 0.5
CAPACITY = THREADS / TEXT_S
SECONDS = 5.0


async def ask(port: int, number: int) -> tuple[int, float]:
    """Send one comment on a connection of its own; return status and seconds."""
    body = json.dumps({"comment_text": f"comment {number}"}).encode()
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
    answer = await reader.read()
    seconds = time.perf_counter() - begun
    writer.close()
    return int(answer[9:12]), seconds


async def offer(port: int, rate: float) -> list[tuple[int, float]]:
    """Send ``rate`` comments a second, whether or not the earlier ones are answered."""
    begun, asked = time.perf_counter(), []
    while (elapsed := time.perf_counter() - begun) < SECONDS:
        while len(asked) < elapsed * rate:
            asked.append(asyncio.create_task(ask(port, len(asked))))
        await asyncio.sleep(0.005)
    return await asyncio.gather(*asked)


@pytest.mark.full  # its figures need a machine that does little else
def test_at_three_times_the_capacity_the_rest_is_refused_at_once(tmp_path: Path, model: Model) -> None:
    def score(real: Score, texts: Sequence[str]) -> list[TextScores]:
        time.sleep(TEXT_S * len(texts))
        return real(texts)

    settings = settings_in(tmp_path, threads=THREADS, max_wait_s=MAX_WAIT_S)
    with served(settings, with_scoring(model, score), max_connections=2000) as server:
        answers = asyncio.run(offer(httpx.URL(server.url).port or 0, 3 * CAPACITY))
    taken = [seconds for status, seconds in answers if status == 200]
    refused = sorted(seconds for status, seconds in answers if status == 503)
    assert len(taken) + len(refused) == len(answers) >= 2.5 * CAPACITY * SECONDS
    assert len(taken) >= 0.9 * CAPACITY * SECONDS
    assert max(taken) < 2 * MAX_WAIT_S
    assert statistics.quantiles(refused, n=100)[98] < 0.05
