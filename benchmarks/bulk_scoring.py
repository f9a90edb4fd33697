"""Comments per second and peak memory of `moderation score` into a folder, beside the engine alone and transformers.

    .venv/bin/python -m benchmarks.bulk_scoring [--rows FILE] [--count N] [--rounds N] [--no-ray] [--api]
        [--pipeline-batches 1 8 32]

All read the same comments from one parquet file, on all cores. `engine alone` is one call of the `Scorer` with all of
them, in memory. `local` and `ray` are whole commands, from start to exit: processes, model, check, hashes, scores and
the read-back of what was written; so the fewer comments, the more of their time is the start. Their answers must hold
every id once and in order, with the scores of the engine alone bit for bit, and both engines' files the same bytes.
Memory is what was resident at once, of the command and of it with all processes below it (memory that they share counts
in each), looked at every fifth of a second. With `--api` a server of its own is asked for all comments as well, 64 at
a time, its cache off, and must answer with the same scores. The `transformers` pipeline, torch in float32 with the
same weights, goes over a `datasets` data set; its default is a batch of 1.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.comments import comments
from benchmarks.processes import ROOT, api, exit_with, inherited, post
from benchmarks.rivals.weights import write_model
from cli.partitions.parts import MANIFEST
from moderation.bundle import read_bundle
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.onnx import available_cores
from moderation.scoring.scorer import Scorer

LOOK_S = 0.2
BATCH = 64
"""Comments of a request."""


def main() -> int:
    """Print the tables; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=STARTER_DIR, help="bundle to measure (default: the starter)")
    parser.add_argument("--rows", type=Path, help="parquet or CSV file with a column comment_text; else they are made")
    parser.add_argument("--count", type=int, default=20_000, help="comments (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of ours, in turns (default %(default)s)")
    parser.add_argument("--no-ray", action="store_true", help="leave Ray out")
    parser.add_argument("--api", action="store_true", help="ask /predict/batch for all comments too")
    parser.add_argument("--pipeline-batches", type=int, nargs="*", default=[1, 8, 32], metavar="SIZE")
    arguments = parser.parse_args()
    texts = comments(arguments.rows, arguments.count)
    engines = ("local",) if arguments.no_ray else ("local", "ray")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.parquet")
        pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), source)
        bundle = arguments.bundle.resolve()
        rates, peaks_mib = _ours(source, bundle, texts, arguments.rounds, engines)
        if arguments.api:
            rates["/predict/batch"] = [_api(bundle, Path(folder, "api"), texts, Path(folder, "local"))]
        if arguments.pipeline_batches:
            write_model(arguments.bundle, Path(folder, "model"))
        for size in arguments.pipeline_batches:
            rates[f"pipeline, batches of {size}"] = [_pipeline(source, Path(folder, "model"), size)]
    alone = statistics.median(rates["engine alone"])
    print("| | comments/s (median, least to most) | over the engine alone |\n|---|---|---|")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:.0f} ({min(found):.0f} to {max(found):.0f}) | {middle / alone:.3f} |")
    print("\n| | peak memory of the command, MiB | with its processes |\n|---|---|---|")
    for name, (own, tree) in peaks_mib.items():
        print(f"| {name} | {own:.0f} | {tree:.0f} |")
    return 0


def _ours(
    source: Path, bundle: Path, texts: list[str], rounds: int, engines: Sequence[str]
) -> tuple[dict[str, list[float]], dict[str, tuple[float, float]]]:
    """Return rates by name, and each engine's highest memory (MiB) of the command and of its tree."""
    scorer = Scorer.load(read_bundle(bundle))
    rates: dict[str, list[float]] = {"engine alone": [], **{engine: [] for engine in engines}}
    peaks: dict[str, tuple[float, float]] = dict.fromkeys(engines, (0.0, 0.0))
    for _ in range(rounds):
        begun = time.perf_counter()
        expected = scorer.score(texts).scores
        rates["engine alone"].append(len(texts) / (time.perf_counter() - begun))
        for engine in engines:
            output = source.parent / engine
            command = [sys.executable, "-m", "cli", "score", str(source), "--text-column", "text", "--overwrite"]
            command += ["--bundle", str(bundle), "--output", str(output), "--engine", engine]
            elapsed_s, own, tree = _measured(command)
            rates[engine].append(len(texts) / elapsed_s)
            peaks[engine] = (max(own, peaks[engine][0]), max(tree, peaks[engine][1]))
            _check(output, expected, scorer.labels)
        if len({(source.parent / engine / MANIFEST).read_bytes() for engine in engines}) != 1:
            raise ValueError("the engines wrote different files")
    return rates, peaks


def _measured(command: Sequence[str]) -> tuple[float, float, float]:
    """Run a command; return its seconds, and the highest memory (MiB) of its process and of all with those below."""
    begun, own, tree = time.perf_counter(), 0.0, 0.0
    with subprocess.Popen(command, cwd=ROOT, env=inherited(), stdout=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None:
                held = _resident_mib(process.pid)
                own, tree = max(own, held[0]), max(tree, sum(held))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_S)
            elapsed_s = time.perf_counter() - begun
        finally:
            process.kill()
    if process.returncode:
        raise ValueError(f"`{' '.join(command[1:4])} …` ended with {process.returncode}")
    return elapsed_s, own, tree


def _resident_mib(pid: int) -> list[float]:
    """Return the memory of a process and of each below it."""
    held = [0.0]
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        held[0] = process.memory_info().rss / 2**20
        for child in process.children(recursive=True):
            with suppress(psutil.Error):
                held.append(child.memory_info().rss / 2**20)
    return held


def _check(folder: Path, expected: npt.NDArray[np.float32], labels: Sequence[str]) -> None:
    """Check that a folder holds every id once and in order, with the scores expected of it."""
    found = pq.read_table(folder, columns=["id", *labels])
    np.testing.assert_array_equal(found.column("id").to_numpy(), np.arange(len(expected)))
    np.testing.assert_array_equal(np.stack([found.column(label).to_numpy() for label in labels], axis=1), expected)


def _api(bundle: Path, folder: Path, texts: Sequence[str], scored: Path) -> float:
    """Return how many comments per second a server answers, whose scores must be those in the folder ``scored``."""
    labels = read_bundle(bundle).manifest.label_names
    with api(bundle, folder, cache_texts=0) as server:
        begun = time.perf_counter()
        answers = [
            answer
            for start in range(0, len(texts), BATCH)
            for answer in _batch(server.port, texts[start : start + BATCH])
        ]
        rate = len(texts) / (time.perf_counter() - begun)
    found = np.array([[answer["scores"][label] for label in labels] for answer in answers], dtype=np.float32)
    _check(scored, found, labels)
    return rate


def _batch(port: int, texts: Sequence[str]) -> list[dict[str, Any]]:
    status, body = post(port, "/predict/batch", {"comment_texts": list(texts)})
    if status != HTTPStatus.OK:
        raise ValueError(f"/predict/batch answered {status}")
    predictions: list[dict[str, Any]] = json.loads(body)["predictions"]
    return predictions


def _pipeline(source: Path, model_dir: Path, batch_size: int) -> float:
    import torch
    from datasets import load_dataset
    from transformers import AutoConfig, AutoTokenizer, pipeline
    from transformers.pipelines.pt_utils import KeyDataset

    from benchmarks.rivals.plain import MeanMaxClassifier

    torch.set_num_threads(available_cores())
    model = MeanMaxClassifier.from_pretrained(model_dir, config=AutoConfig.from_pretrained(model_dir)).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, device="cpu")
    rows = load_dataset("parquet", data_files=str(source), split="train", cache_dir=str(source.parent / "cache"))
    options = {"truncation": True, "function_to_apply": "sigmoid", "batch_size": batch_size}
    begun = time.perf_counter()
    for _ in classify(KeyDataset(rows, "text"), **options):
        pass
    return len(rows) / (time.perf_counter() - begun)


if __name__ == "__main__":
    exit_with(main)
