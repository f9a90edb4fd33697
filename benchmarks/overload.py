"""More load than the API can bear: what it still answers, how fast it refuses, and whether its memory stays flat.

    .venv/bin/python -m benchmarks.overload [--seconds 60] [--factor 3] [--rows FILE]

First the capacity: comments per second with 64 clients in a closed loop. Then requests of one comment each come at
``--factor`` times that rate (Poisson, open loop), from a process of its own; latency counts from when a request should
have left. Goodput is what was answered with 200 within the time and the deadline. The exit status is 1 if a target is
missed. The load shares the cores with the server, as a proxy beside it would.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.comments import comments
from benchmarks.load import Answer, Closed, Load, Open, in_own_process, own_processes, post, run
from benchmarks.processes import Server, StartError, api, exit_with
from benchmarks.usage import Samples, sampled

CAPACITY_CLIENTS = 64
REFUSED = (429, 503)
GOODPUT = 0.9
REFUSED_P99_MS = 50.0
GROWTH = 0.05
"""How much resident memory may grow from the first to the last quarter of the overload."""


def main() -> int:
    """Print the figures; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("models/starter"))
    parser.add_argument("--rows", type=Path, help="parquet or CSV file with a column comment_text; else they are made")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the overload lasts")
    parser.add_argument("--factor", type=float, default=3.0, help="offered load as a multiple of the capacity")
    parser.add_argument("--deadline-s", type=float, default=30.0, help="bound of an accepted request's p99")
    parser.add_argument("--capacity-comments", type=int, default=6144, help="comments that the capacity is found with")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-overload-") as folder,
        # Else some of the overload is answered from the cache, and the goodput is not that of the capacity's work.
        api(arguments.bundle, Path(folder), cache_texts=0) as server,
    ):
        capacity = _capacity(server, arguments.rows, arguments.capacity_comments)
        print(f"capacity: {capacity:.1f} comments/s with {CAPACITY_CLIENTS} clients", flush=True)
        load, samples = _overload(server, arguments, arguments.factor * capacity)
    return 0 if _report(load, samples, capacity, arguments) else 1


def _capacity(server: Server, rows: Path | None, count: int) -> float:
    requests = _requests(comments(rows, count))
    in_own_process(Closed(server.port, requests[: 2 * CAPACITY_CLIENTS], CAPACITY_CLIENTS))
    load = in_own_process(Closed(server.port, requests[2 * CAPACITY_CLIENTS :], CAPACITY_CLIENTS))
    if set(load.statuses) != {200}:
        raise StartError(f"the API answered {load.statuses} to {CAPACITY_CLIENTS} clients; expected 200 alone")
    return len(load.answers) / load.seconds


def _overload(server: Server, arguments: argparse.Namespace, rate: float) -> tuple[Load, Samples]:
    texts = comments(arguments.rows, int(rate * arguments.seconds), seed=1)
    plan = Open(server.port, _requests(texts), rate, arguments.seconds)
    with own_processes(1) as pool:
        loading = pool.submit(run, plan)
        samples = sampled(server, until=loading.done)
        return loading.result(), samples


def _requests(texts: Sequence[str]) -> list[bytes]:
    return [post("/predict", {"comment_text": text}) for text in texts]


def _report(load: Load, samples: Samples, capacity: float, arguments: argparse.Namespace) -> bool:
    accepted = [answer for answer in load.answers if answer.status == 200]
    refused = [answer for answer in load.answers if answer.status in REFUSED]
    begun = min(answer.sent_at for answer in load.answers)
    good = [one for one in accepted if _in_time(one, begun + arguments.seconds, arguments.deadline_s)]
    goodput = len(good) / arguments.seconds / capacity
    accepted_ms, refused_ms = _percentiles(accepted), _percentiles(refused)
    deadline_ms, growth = 1000 * arguments.deadline_s, samples.growth("rss_mib")
    answered = len(accepted) + len(refused)
    targets = [
        (f"goodput / capacity {goodput:.2f}; at least {GOODPUT}", goodput >= GOODPUT),
        (f"accepted: {_shown(accepted_ms)}; at most {deadline_ms:.0f}", accepted_ms[1] <= deadline_ms),
        (f"refused: {_shown(refused_ms)}; at most {REFUSED_P99_MS:.0f}", refused_ms[1] <= REFUSED_P99_MS),
        (f"answered or refused: {answered} of {len(load.answers)}", answered == len(load.answers)),
        (f"memory: {samples.shown('rss_mib')} MiB, grew by {growth:.1%}; at most {GROWTH:.0%}", growth <= GROWTH),
    ]
    offered = len(load.answers) / arguments.seconds
    print(f"offered: {offered:.1f} comments/s for {arguments.seconds:g} s; {load.statuses}")
    for target, met in targets:
        print(f"{'✓' if met else '✗'} {target}")
    print(f"the load took {load.cpu_s / load.seconds:.2f} of a core")
    print(json.dumps({"capacity": capacity, "statuses": load.statuses, "rss_mib": samples.values["rss_mib"]}))
    return all(met for _, met in targets)


def _in_time(answer: Answer, end: float, deadline_s: float) -> bool:
    return answer.sent_at + answer.seconds <= end and answer.seconds <= deadline_s


def _shown(p50_p99_ms: tuple[float, float]) -> str:
    return f"p50 {p50_p99_ms[0]:.1f} ms, p99 {p50_p99_ms[1]:.1f} ms"


def _percentiles(answers: Sequence[Answer]) -> tuple[float, float]:
    if not answers:
        return 0.0, 0.0
    p50, p99 = np.percentile([answer.seconds for answer in answers], (50, 99))
    return 1000 * float(p50), 1000 * float(p99)


if __name__ == "__main__":
    exit_with(main)
