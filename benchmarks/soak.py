"""Mixed load for minutes: whether the server's memory, files or threads grow.

    .venv/bin/python -m benchmarks.soak [--minutes 10] [--rows FILE]

At once: single comments, batches, feedback, requests that are wrong in many ways, callers that leave before their
answer or in the middle of their body, and an alias that moves between two versions of different manifests every few
seconds. The cache is small, so that nearly all texts are scored. Figures are of the second part, after ``--warm-up`` of
the time: medians of its first and last quarter and the slope of a line through all samples. The exit status is 1 beyond
the bounds: memory 5 % and 10 MiB, files 4, threads 1.
"""

import argparse
import itertools
import json
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comments import comments
from benchmarks.load import HOST, Closed, Load, own_processes, post, run
from benchmarks.processes import Server, api, exit_with, second_version
from benchmarks.usage import Samples, sampled
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move

SWAP_S = 5.0
LEAVE_S = 0.05
BATCH = 16
CACHE_TEXTS = 64
ALLOWED = {"rss_mib": (0.05, 10.0), "files": (0.0, 4.0), "threads": (0.0, 1.0)}
"""Per figure, how much it may grow: a share of its first quarter, and on top of it."""
EXPECTED = {"predict": {200}, "batch": {200}, "feedback": {200}, "bad": {400, 404, 405, 413, 422}}


def main() -> int:
    """Print the figures; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("models/starter"))
    parser.add_argument("--rows", type=Path, help="parquet or CSV file with a column comment_text; else they are made")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=0.3, help="share of the time that does not count")
    parser.add_argument("--output", type=Path, help="also write all samples, as JSON")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-soak-") as folder,
        # With all 4,096 texts in its cache the server would soon score nothing.
        api(arguments.bundle, Path(folder), alias_poll_s=1, cache_texts=CACHE_TEXTS) as server,
    ):
        loads, swaps, left, samples = _soak(server, Path(folder), arguments)
    if arguments.output:
        arguments.output.write_text(json.dumps({"at_s": samples.at_s, **samples.values}))
    statuses = {name: load.statuses for name, load in loads.items()}
    print(f"{arguments.minutes:g} minutes: {swaps} alias moves, {left} callers left; answers {statuses}")
    unexpected = {name: set(found) - EXPECTED[name] for name, found in statuses.items() if set(found) - EXPECTED[name]}
    if unexpected:
        print(f"✗ unexpected answers: {unexpected}")
    flat = _report(samples.after(arguments.warm_up * arguments.minutes * 60))
    return 0 if flat and not unexpected else 1


def _soak(server: Server, folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, Load], int, int, Samples]:
    seconds = 60 * arguments.minutes
    texts = comments(arguments.rows, 4096)
    answered = run(Closed(server.port, [_predict(text) for text in texts[:64]], 8)).answers
    requests = {
        "predict": [_predict(text) for text in texts],
        "batch": [post("/predict/batch", {"comment_texts": texts[at : at + BATCH]}) for at in range(0, 2048, BATCH)],
        "feedback": [
            post("/feedback", {"prediction_id": json.loads(one.body)["id"], "agree": bool(one.number % 2)})
            for one in answered
        ],
        "bad": bad_requests(),
    }
    over = threading.Event()
    counts: Counter[str] = Counter()
    threads = [
        threading.Thread(target=_leave, args=(server.port, texts, over, counts)),
        threading.Thread(target=_swap, args=(arguments.bundle, folder, over, counts)),
    ]
    with own_processes(len(requests)) as pool:
        plans = {name: Closed(server.port, some, 2, seconds) for name, some in requests.items()}
        loading = {name: pool.submit(run, plan) for name, plan in plans.items()}
        for thread in threads:
            thread.start()
        try:
            samples = sampled(server, until=lambda: all(one.done() for one in loading.values()))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        loads = {name: one.result() for name, one in loading.items()}
    return loads, counts["swaps"], counts["left"], samples


def bad_requests() -> list[bytes]:
    """Return requests that are wrong in one way each; all of them get an answer of 4xx."""

    def raw(body: bytes, path: str = "/predict", kind: str = "application/json") -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    return [
        raw(b"{"),
        raw(b"[" * 50_000),
        raw(b'{"comment_text": "\xff"}'),
        raw(b'{"comment_text": 1}'),
        raw(b'{"text": "misspelt"}'),
        raw(b"comment_text=form", kind="application/x-www-form-urlencoded"),
        post("/predict", {"comment_text": " "}),
        post("/predict", {"comment_text": "x" * 100_000}),
        post("/predict/batch", {"comment_texts": []}),
        post("/predict/batch", {"comment_texts": ["x"] * 2000}),
        post("/feedback", {"prediction_id": "none", "agree": True}),
        post("/nowhere", {}),
        f"GET /predict HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(),
    ]


def _predict(text: str) -> bytes:
    return post("/predict", {"comment_text": text})


def _leave(port: int, texts: Sequence[str], over: threading.Event, counts: "Counter[str]") -> None:
    """Ask and be gone: in the middle of the body, or before the answer."""
    for number in itertools.count():
        if over.wait(LEAVE_S):
            return
        request = _predict(texts[number % len(texts)])
        try:
            with socket.create_connection((HOST, port), timeout=5) as caller:
                caller.sendall(request[: len(request) // 2] if number % 2 else request)
            counts["left"] += 1
        except OSError:  # the server may close first
            continue


def _swap(bundle: Path, folder: Path, over: threading.Event, counts: "Counter[str]") -> None:
    """Move the alias to and fro between the bundle and a copy of another version."""
    registry = LocalRegistry(folder / "registry")
    versions = [registry.resolve("production"), registry.publish(second_version(bundle, folder / "second"))]
    for number in itertools.count(1):
        if over.wait(SWAP_S):
            return
        registry.point("production", versions[number % 2], Move("benchmark", "soak"))
        counts["swaps"] += 1


def _report(samples: Samples) -> bool:
    flat = True
    for name, (share, more) in ALLOWED.items():
        first, last = samples.quarters(name)
        within = last <= first * (1 + share) + more
        flat = flat and within
        print(
            f"{'✓' if within else '✗'} {name}: {samples.shown(name)}; "
            f"slope {samples.slope_per_minute(name):+.2f} per minute; at most {first * (1 + share) + more:.0f}"
        )
    return flat


if __name__ == "__main__":
    exit_with(main)
