"""Perspective's routes: a burst of simultaneous calls against Coral's timeout, and batches beside single calls.

    .venv/bin/python -m benchmarks.perspective [--rows FILE] [--bundle DIR] [--bursts 20] [--rounds 3] [--quick]

Burst: 100 connections each send one `comments:analyze` at the same moment; how many are answered within 800 ms, and how
long the last one takes. Batches: 1,000 comments as 10 batches of 100, one after another, beside 1,000 single calls, one
after another and on 100 connections at a time; comments per second as a ratio to the single calls one after another.
One server with its defaults but for the cache, its log in SQLite; all comments are distinct. The load runs on the same
cores in a process of its own. Every answer must be a score. Run it on an otherwise idle machine.
"""

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from benchmarks.comments import comments
from benchmarks.load import HOST, Closed, Load, in_own_process, own_processes, post
from benchmarks.processes import api, exit_with
from moderation.registry.starter import STARTER_DIR

ANALYZE = "/v1alpha1/comments:analyze"
BURST = 100
PARTS = 100
LIMIT_S = 0.8
"""Coral's default timeout."""
WARM_UP = 64


def main() -> int:
    """Measure and print; return 0 if every burst was in time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="file of comments (column comment_text); made ones without it")
    parser.add_argument("--bundle", type=Path, default=STARTER_DIR, help="the bundle that scores")
    parser.add_argument("--bursts", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it runs")
    given = parser.parse_args()
    bursts, rounds, batches = (1, 1, 1) if given.quick else (given.bursts, given.rounds, 10)
    texts = iter(comments(given.rows, WARM_UP + bursts * BURST + 3 * rounds * batches * PARTS))

    def take(count: int) -> list[str]:
        return list(itertools.islice(texts, count))

    count = batches * PARTS
    rates: dict[str, list[float]] = {"single": [], "single-100": [], "batch": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        own_processes(1) as pool,
        api(given.bundle, Path(folder), cache_texts=0) as server,
    ):
        _singles(server.port, take(WARM_UP), 4, pool)
        late, last = _bursts(server.port, [take(BURST) for _ in range(bursts)], pool)
        for _ in tqdm(range(rounds), "rounds of batches"):
            rates["single"].append(count / _singles(server.port, take(count), 1, pool))
            rates["single-100"].append(count / _singles(server.port, take(count), 100, pool))
            rates["batch"].append(count / _batches(server.port, take(count), pool))
    median_ms, worst_ms = 1000 * statistics.median(last), 1000 * max(last)
    print(f"bursts of {BURST}: {late} of {bursts * BURST} answers later than {1000 * LIMIT_S:.0f} ms")
    print(f"the last answer of a burst: {median_ms:.0f} ms at the median, {worst_ms:.0f} ms at worst")
    base = statistics.median(rates["single"])
    for name, found in rates.items():
        print(f"{name:12} {statistics.median(found) / base:5.2f} times single calls one after another")
    return int(late > 0)


def _analyze(text: str) -> dict[str, object]:
    return {"comment": {"text": text}, "requestedAttributes": {"TOXICITY": {}}, "doNotStore": True}


def _bursts(port: int, groups: Sequence[Sequence[str]], pool: ProcessPoolExecutor) -> tuple[int, list[float]]:
    """Return how many answers were late in all, and when each burst's last one came, in s."""
    late, last = 0, []
    for texts in tqdm(groups, "bursts"):
        load = in_own_process(Closed(port, [post(ANALYZE, _analyze(text)) for text in texts], BURST), pool)
        _check(load)
        late += sum(answer.seconds > LIMIT_S for answer in load.answers)
        last.append(max(answer.seconds for answer in load.answers))
    return late, last


def _singles(port: int, texts: Sequence[str], clients: int, pool: ProcessPoolExecutor) -> float:
    """Return how long the calls take, in s."""
    load = in_own_process(Closed(port, [post(ANALYZE, _analyze(text)) for text in texts], clients), pool)
    _check(load)
    return load.seconds


def _batches(port: int, texts: Sequence[str], pool: ProcessPoolExecutor) -> float:
    """Return how long the batches take, one after another, in s."""
    groups = [texts[start : start + PARTS] for start in range(0, len(texts), PARTS)]
    load = in_own_process(Closed(port, [_batch(group) for group in groups], 1), pool)
    for answer in load.answers:
        if answer.status != 200 or answer.body.count(b"HTTP/1.1 200 OK") != PARTS:
            raise ValueError(f"a batch was answered with {answer.status}: expected {PARTS} scores")
    return load.seconds


def _batch(texts: Sequence[str]) -> bytes:
    parts = "".join(
        f"--edge\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\nPOST {ANALYZE} HTTP/1.1\r\n"
        f"Content-Type: application/json\r\n\r\n{json.dumps(_analyze(text))}\r\n"
        for number, text in enumerate(texts)
    )
    body = f"{parts}--edge--\r\n".encode()
    head = f"POST /batch HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: multipart/mixed; boundary=edge\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _check(load: Load) -> None:
    wrong = [answer.status for answer in load.answers if answer.status != 200 or b"summaryScore" not in answer.body]
    if wrong:
        raise ValueError(f"{len(wrong)} calls were not answered with a score, the first with status {wrong[0]}")


if __name__ == "__main__":
    exit_with(main)
