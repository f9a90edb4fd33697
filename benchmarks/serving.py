"""Our API beside the engine alone and beside other servers, on one machine, one bundle, the same comments.

    .venv/bin/python -m benchmarks.serving [--rows FILE] [--rivals plain infinity litserve] [--quick]

Comments per second and latency at 1, 8, 64 and 256 concurrent clients (closed loop) of
(a) `api`: our API, one comment per request; (b) `api-64`: batches of 64; (c) `engine`: the scorer in a process without
HTTP, the same comments in the same order, tokenizing included: one call per comment for one client, else one call for
all; (d) `plain`, (e) `infinity`, (f) `litserve`: see benchmarks/rivals. Ours runs with its defaults but for the cache,
its log in SQLite; each rival with the best of several settings, found in a trial.

(a) and (b) are one server, which gets every comment from both, so its cache is off. Per round and number of clients
every server gets the same comments; servers take turns, those that wait are stopped (SIGSTOP); the median of the rounds
counts. Every answer must have status 200 and scores near the engine's, ours to the last bit and with our version. The
load runs on the same cores in a process of its own; what it takes of a core is in the table. The rate of int8 products
(`benchmarks.engine`) is measured on all cores in the same turns, while all servers are stopped, and the engine's share
of it printed. Run it on an otherwise idle machine.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tqdm import tqdm

from benchmarks.comments import comments
from benchmarks.engine import Int8Rate, matrices
from benchmarks.engine_alone import EngineAlone
from benchmarks.load import Closed, Load, in_own_process, own_processes, post
from benchmarks.processes import Server, api, exit_with
from benchmarks.rivals.rivals import RIVALS, Rival, install, serve
from benchmarks.rivals.weights import write_model
from moderation.bundle import Bundle, read_bundle
from moderation.scoring.scorer import to_scores

BATCH = 64
TRIAL_CLIENTS = 16
MEAN_TOLERANCE = 0.02
"""How far a rival's scores may lie from the engine's on average: float32, or padded batches, move them."""
TARGETS = (  # a server, its rival, at least this ratio of comments per second
    ("api", "engine", 0.8),
    ("api-64", "engine", 0.95),
    ("api", "plain", 5.0),
    ("api", "infinity", 1.5),
    ("api", "litserve", 1.1),
)
INT8_SHARE = 0.45
"""At least this share of the rate of int8 products, for the engine."""


@dataclass(frozen=True)
class Cell:
    """One server with one number of clients; latencies of requests in ms."""

    comments_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    load_cores: float
    """CPU seconds of the load's own process per second."""
    worst_difference: float
    """Largest distance of a score from the engine's."""


@dataclass
class Int8:
    """The rate of int8 products per second in each turn, and by number of clients the engine's share of it."""

    rates: list[float]
    shares: dict[int, list[float]]


@dataclass(frozen=True)
class Contender:
    """A running server; ``read`` turns an answer into one row of scores per comment, in label order."""

    server: Server
    texts_per_request: int
    request: Callable[[Sequence[str]], bytes]
    read: Callable[[bytes], list[list[float]]]
    exact: bool


class Caller:
    """Sends load from one process, and lets a server run only while it is asked."""

    def __init__(self) -> None:
        """Start the process with the first load."""
        self.pool = own_processes(1)

    def load(self, contender: Contender, texts: Sequence[str], clients: int) -> Load:
        """Ask for each text once, at so many at a time."""
        size = contender.texts_per_request
        requests = [contender.request(texts[at : at + size]) for at in range(0, len(texts), size)]
        contender.server.resume()
        try:
            return in_own_process(Closed(contender.server.port, requests, clients), self.pool)
        finally:
            contender.server.pause()


Cells = dict[str, dict[int, list[Cell]]]


def main() -> int:
    """Print the tables; return the exit status."""
    arguments = _arguments()
    slices = arguments.rounds * len(arguments.clients) + 1
    texts = comments(arguments.rows, slices * arguments.count)
    parts = [texts[at : at + arguments.count] for at in range(0, len(texts), arguments.count)]
    bundle = read_bundle(arguments.bundle)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-serving-")))
        engine = EngineAlone(arguments.bundle)
        stack.callback(engine.close)
        caller = Caller()
        stack.callback(caller.pool.shutdown)
        contenders = _ours(stack.enter_context(api(arguments.bundle, folder / "api", cache_texts=0)), bundle)
        chosen = _start_rivals(arguments, bundle, folder, parts[0], stack, contenders)
        _warm_up(contenders, engine, caller, parts[0])
        int8_rate = Int8Rate(bundle) if matrices(bundle) else None
        cells, int8 = _measure(contenders, engine, int8_rate, caller, parts[1:], arguments.clients)
    _print(cells, chosen, arguments)
    if int8_rate:
        _print_int8(int8, int8_rate)
    if arguments.output:
        arguments.output.write_text(json.dumps(_record(cells, int8, chosen, arguments, bundle), indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("models/starter"))
    parser.add_argument("--rows", type=Path, help="parquet or CSV file with a column comment_text; else they are made")
    parser.add_argument("--count", type=int, default=1024, help="comments per server, number of clients and round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=list(RIVALS))
    parser.add_argument(
        "--venvs", type=Path, default=Path("var/benchmarks"), help="folder that rivals are installed in"
    )
    parser.add_argument("--output", type=Path, help="also write what was measured, round by round, as JSON")
    parser.add_argument("--quick", action="store_true", help="one small round without rivals, under a minute")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.count, arguments.clients, arguments.rounds, arguments.rivals = 128, [1, 8], 1, []
    return arguments


def _ours(server: Server, bundle: Bundle) -> dict[str, Contender]:
    labels = bundle.manifest.label_names

    def read(body: bytes) -> list[list[float]]:
        answer = json.loads(body)
        predictions = answer.get("predictions", [answer])
        if any(one["version"] != bundle.version for one in predictions):
            raise SystemExit(f"error: our API answered with another version than {bundle.version}")
        return [[one["scores"][label] for label in labels] for one in predictions]

    return {
        "api": Contender(server, 1, lambda texts: post("/predict", {"comment_text": texts[0]}), read, exact=True),
        "api-64": Contender(
            server, BATCH, lambda texts: post("/predict/batch", {"comment_texts": list(texts)}), read, exact=True
        ),
    }


def _start_rivals(
    arguments: argparse.Namespace,
    bundle: Bundle,
    folder: Path,
    texts: list[str],
    stack: ExitStack,
    contenders: dict[str, Contender],
) -> dict[str, str]:
    """Add the rivals to ``contenders``, stopped; return what was tried of each and what was kept."""
    if not arguments.rivals:
        return {}
    model, chosen = folder / "model", {}
    write_model(arguments.bundle, model)
    contenders["api"].server.pause()
    for name in arguments.rivals:
        rival, rates = RIVALS[name], {}
        python = install(rival, arguments.venvs.resolve())
        for setting in tqdm(rival.settings, desc=f"trying {name}", file=sys.stderr):
            with serve(rival, setting, python, model, folder / f"{name}.log") as server:
                in_own_process(Closed(server.port, [rival.request(text) for text in texts[:TRIAL_CLIENTS]], 2))
                load = in_own_process(Closed(server.port, [rival.request(text) for text in texts], TRIAL_CLIENTS))
                if set(load.statuses) != {200}:
                    raise SystemExit(f"error: {name} with {setting} answered {load.statuses}; expected 200 alone")
                rates[setting] = len(texts) / load.seconds
        best = max(rates, key=lambda setting: rates[setting])
        chosen[name] = f"{rival.about}; {best} (" + ", ".join(f"{key}: {rates[key]:.0f}/s" for key in rates) + ")"
        server = stack.enter_context(serve(rival, best, python, model, folder / f"{name}.log"))
        contenders[name] = _contender(rival, server, bundle)
        server.pause()
    contenders["api"].server.resume()
    return chosen


def _contender(rival: Rival, server: Server, bundle: Bundle) -> Contender:
    labels, calibrations = bundle.manifest.label_names, [label.calibration for label in bundle.manifest.labels]

    def read(body: bytes) -> list[list[float]]:
        scores = rival.scores(body)
        raw = np.array([[scores[label] for label in labels]])
        logits = np.log(raw / (1 - raw)).astype(np.float32)  # rivals know nothing of our calibration
        calibrated: list[list[float]] = to_scores(logits, calibrations).tolist()
        return calibrated

    return Contender(server, 1, lambda texts: rival.request(texts[0]), read, exact=False)


def _warm_up(contenders: dict[str, Contender], engine: EngineAlone, caller: Caller, texts: list[str]) -> None:
    engine.score(texts[: 2 * BATCH], one_by_one=False)
    for contender in contenders.values():
        caller.load(contender, texts[: 2 * BATCH], clients=8)


def _measure(
    contenders: dict[str, Contender],
    engine: EngineAlone,
    int8_rate: Int8Rate | None,
    caller: Caller,
    parts: list[list[str]],
    clients: list[int],
) -> tuple[Cells, Int8]:
    cells: Cells = {name: {count: [] for count in clients} for name in ("engine", *contenders)}
    int8 = Int8([], {count: [] for count in clients})
    turns = [(number, count) for number in range(len(parts) // len(clients)) for count in clients]
    with tqdm(total=len(turns) * len(cells), desc="measuring", file=sys.stderr) as progress:
        for (round_number, count), texts in zip(turns, parts, strict=True):
            scores, seconds, total = engine.score(texts, one_by_one=count == 1)
            cells["engine"][count].append(_cell(len(texts) / total, seconds, 0.0, 0.0))
            if int8_rate:
                int8.rates.append(int8_rate.all_cores())
                int8.shares[count].append(engine.operations(texts) / total / int8.rates[-1])
            progress.update()
            names = list(contenders)
            for name in names[round_number % len(names) :] + names[: round_number % len(names)]:
                contender = contenders[name]
                if len(texts) >= count * contender.texts_per_request:  # else not so many clients have work at once
                    cells[name][count].append(_ask(name, contender, caller, texts, count, np.array(scores)))
                progress.update()
    return cells, int8


def _ask(
    name: str, contender: Contender, caller: Caller, texts: list[str], clients: int, expected: "np.ndarray[Any, Any]"
) -> Cell:
    load = caller.load(contender, texts, clients)
    if set(load.statuses) != {200}:
        raise SystemExit(f"error: {name} answered {load.statuses} at {clients} clients; expected 200 alone")
    in_order = sorted(load.answers, key=lambda answer: answer.number)
    got = np.array([row for answer in in_order for row in contender.read(answer.body)])
    difference = np.abs(got - expected)
    if difference.max() > 0 if contender.exact else difference.mean() > MEAN_TOLERANCE:
        raise SystemExit(
            f"error: scores of {name} lie {difference.max():.4f} at most and {difference.mean():.4f} on average "
            "off the engine's"
        )
    times = [answer.seconds for answer in load.answers]
    return _cell(len(texts) / load.seconds, times, load.cpu_s / load.seconds, float(difference.max()))


def _cell(rate: float, seconds: Sequence[float], load_cores: float, worst: float) -> Cell:
    p50, p95, p99 = (1000 * float(value) for value in np.percentile(seconds, (50, 95, 99)))
    return Cell(rate, p50, p95, p99, load_cores, worst)


def _median(cells: Sequence[Cell], field: str) -> float:
    return statistics.median(getattr(cell, field) for cell in cells)


def _print(cells: Cells, chosen: dict[str, str], arguments: argparse.Namespace) -> None:
    print(f"{arguments.count} comments per cell, median of {arguments.rounds} rounds; latency p50 / p95 / p99 in ms\n")
    print("| | " + " | ".join(f"{count} clients" for count in arguments.clients) + " |")
    print("|---" * (len(arguments.clients) + 1) + "|")
    for name, row in cells.items():
        print(f"| {name} | " + " | ".join(_shown(name, count, row[count]) for count in arguments.clients) + " |")
    print("\n| to reach | " + " | ".join(f"{count} clients" for count in arguments.clients) + " |")
    print("|---" * (len(arguments.clients) + 1) + "|")
    for ours, rival, least in TARGETS:
        if rival in cells:
            marks = (_mark(cells[ours][count], cells[rival][count], least) for count in arguments.clients)
            print(f"| {ours} ≥ {least} × {rival} | " + " | ".join(marks) + " |")
    if "litserve" in cells:
        lower = (_lower(cells["api"][count], cells["litserve"][count]) for count in arguments.clients)
        print("| p99 of api below litserve's | " + " | ".join(lower) + " |")
    most = max(cell.load_cores for row in cells.values() for found in row.values() for cell in found)
    print(
        f"\nThe load took at most {most:.2f} of a core. Largest differences of a score from the engine's: "
        + _differ(cells)
    )
    for name, about in chosen.items():
        print(f"- {name}: {about}")


def _print_int8(int8: Int8, rate: Int8Rate) -> None:
    print(
        f"\nInt8 products on all cores: {statistics.median(int8.rates) / 1e9:.0f} · 10⁹ operations/s "
        f"(median; {rate.best.height} rows by {rate.best.shape}, the fastest of the model's). "
        f"The engine's share of it, to reach {INT8_SHARE}: "
        + ", ".join(f"{_share(shares)} at {count} clients" for count, shares in int8.shares.items())
    )


def _share(shares: Sequence[float]) -> str:
    share = statistics.median(shares)
    return f"{share:.3f} {'✓' if share >= INT8_SHARE else '✗'}"


def _shown(name: str, clients: int, cells: Sequence[Cell]) -> str:
    if not cells:
        return "–"
    rate = f"{_median(cells, 'comments_per_s'):.1f}/s"
    if name == "engine" and clients > 1:  # one call for all: no latency of a comment
        return rate
    return rate + "; " + " / ".join(f"{_median(cells, field):.0f}" for field in ("p50_ms", "p95_ms", "p99_ms"))


def _mark(ours: Sequence[Cell], theirs: Sequence[Cell], least: float) -> str:
    if not ours or not theirs:
        return "–"
    ratio = _median(ours, "comments_per_s") / _median(theirs, "comments_per_s")
    return f"{ratio:.2f} {'✓' if ratio >= least else '✗'}"


def _lower(ours: Sequence[Cell], theirs: Sequence[Cell]) -> str:
    ratio = _median(ours, "p99_ms") / _median(theirs, "p99_ms")
    return f"{ratio:.2f} {'✓' if ratio < 1 else '✗'}"


def _differ(cells: Cells) -> str:
    worst = {
        name: max((cell.worst_difference for found in row.values() for cell in found), default=0.0)
        for name, row in cells.items()
        if name != "engine"
    }
    return ", ".join(f"{name} {value:.4f}" for name, value in worst.items())


def _record(
    cells: Cells, int8: Int8, chosen: dict[str, str], arguments: argparse.Namespace, bundle: Bundle
) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": _cpu(), "cores": psutil.cpu_count(), "python": platform.python_version()},
        "bundle": bundle.version,
        "comments": str(arguments.rows or "made"),
        "count": arguments.count,
        "rivals": chosen,
        "int8": asdict(int8),
        "cells": {
            name: {count: [asdict(cell) for cell in found] for count, found in row.items()}
            for name, row in cells.items()
        },
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    exit_with(main)
