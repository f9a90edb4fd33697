"""Comments per second of `moderation score` into a folder, beside the engine alone and the transformers pipeline.

    .venv/bin/python -m benchmarks.bulk_scoring [--rows FILE] [--count N] [--no-ray] [--commands]
        [--pipeline-batches 1 8 32]

All read the same comments from one parquet file, on all cores. `engine alone` is one call of the `Scorer` with all of
them, in memory; `local` and `ray` read, score and write, without the start of processes and the loading of the model,
which a long run does once: `local` is timed over one part of all rows, `ray` (a worker per core, parts of a sixteenth)
from the moment when every worker has written a part. `--commands` times the commands as well, from start to exit, with
the parts that they choose. All scores must be those of the engine, bit for bit. The `transformers` pipeline, torch in
float32 with the same weights, goes over a `datasets` data set; its default is a batch of 1.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.comments import comments
from benchmarks.rivals.weights import write_model
from cli.locations import Location
from cli.partitions.parts import Part, open_output
from cli.partitions.plan import How, Shard, find_files, make_plan
from cli.partitions.ray_engine import RayEngine, ray_cluster
from cli.partitions.worker import Job, LocalEngine, Worker
from cli.tables import cut
from moderation.bundle import Bundle, read_bundle
from moderation.policy_file import read_policy
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.onnx import available_cores
from moderation.scoring.scorer import Scorer
from moderation.settings import ApiSettings

RAY_PARTS = 16


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=STARTER_DIR, help="bundle to measure (default: the starter)")
    parser.add_argument("--rows", type=Path, help="parquet or CSV file with a column comment_text; else they are made")
    parser.add_argument("--count", type=int, default=1024, help="comments (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of ours, in turns (default %(default)s)")
    parser.add_argument("--no-ray", action="store_true", help="leave Ray out")
    parser.add_argument("--commands", action="store_true", help="time the whole commands as well")
    parser.add_argument("--pipeline-batches", type=int, nargs="*", default=[1, 8, 32], metavar="SIZE")
    arguments = parser.parse_args()
    texts, bundle = comments(arguments.rows, arguments.count), read_bundle(arguments.bundle)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.parquet")
        pq.write_table(pa.table({"text": texts}), source)
        engines = ("local",) if arguments.no_ray else ("local", "ray")
        rates = _ours(source, bundle, texts, Path(folder), arguments.rounds, engines, arguments.commands)
        if arguments.pipeline_batches:
            write_model(arguments.bundle, Path(folder, "model"))
        for size in arguments.pipeline_batches:
            rates[f"pipeline, batches of {size}"] = [_pipeline(source, Path(folder, "model"), size)]
    alone = statistics.median(rates["engine alone"])
    print("| | comments/s (median, least to most) | over the engine alone |\n|---|---|---|")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:.0f} ({min(found):.0f} to {max(found):.0f}) | {middle / alone:.3f} |")
    return 0


def _ours(
    source: Path,
    bundle: Bundle,
    texts: list[str],
    folder: Path,
    rounds: int,
    engines: Sequence[str],
    commands: bool,
) -> dict[str, list[float]]:
    scorer, backend = Scorer.load(bundle), ApiSettings().backend
    expected = scorer.score(texts).scores
    rates: dict[str, list[float]] = {"engine alone": [], "local": []}
    for number in range(rounds):
        rates["engine alone"].append(_rate(len(texts), lambda: scorer.score(texts)))
        job = _job(source, bundle, folder / f"local{number}", len(texts), backend)
        parts = Worker(job, bundle).score(job.plan.shards)
        rates["local"].append(_rate(len(texts), partial(list, parts)))
        _check(folder / f"local{number}", expected, scorer)
    if "ray" in engines:
        with ray_cluster(None) as ray:
            rates["ray"] = []
            for number in range(rounds):
                job = _job(source, bundle, folder / f"ray{number}", -(-len(texts) // RAY_PARTS), backend)
                rates["ray"].append(_steady(RayEngine(ray).score(job, bundle, job.plan.shards, lambda _: None)))
                _check(folder / f"ray{number}", expected, scorer)
    for engine in engines if commands else ():
        output, options = folder / f"command-{engine}", ("--text-column", "text", "--bundle", str(bundle.path))
        command = [sys.executable, "-m", "cli", "score", str(source), "--output", str(output), *options]
        command += ["--overwrite", "--engine", engine]
        rates[f"{engine}, whole command"] = [
            _rate(len(texts), partial(subprocess.run, command, check=True)) for _ in range(rounds)
        ]
        _check(output, expected, scorer)
    return rates


def _job(source: Path, bundle: Bundle, output: Path, part_rows: int, backend: str) -> Job:
    policy = read_policy(ApiSettings().policy_path, bundle.manifest.thresholds)
    how = How(bundle.version, "text", "", policy, backend)
    plan = make_plan(how, LocalEngine().inspected(find_files(Location.find(source)), how))
    spans = cut(plan.num_rows, plan.files[0].offsets, part_rows)
    plan = replace(plan, partition_rows=part_rows, shards=tuple(Shard(n, 0, span) for n, span in enumerate(spans)))
    return Job(plan, open_output(Location.find(output), plan, overwrite=True), 0)


def _rate(count: int, call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return count / (time.perf_counter() - begun)


def _steady(parts: Iterator[Part]) -> float:
    """Return rows per second of the parts that come after every worker has written one."""
    for _ in range(available_cores()):
        next(parts)
    begun = time.perf_counter()
    rows = sum(part.rows for part in parts)
    return rows / (time.perf_counter() - begun)


def _check(folder: Path, expected: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", scorer: Scorer) -> None:
    found = pq.read_table(folder)
    scores = np.stack([found.column(label).to_numpy() for label in scorer.labels], axis=1)
    np.testing.assert_array_equal(scores, expected)


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
    return _rate(len(rows), lambda: list(classify(KeyDataset(rows, "text"), **options)))


if __name__ == "__main__":
    sys.exit(main())
