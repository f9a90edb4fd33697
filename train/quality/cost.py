"""What int8 cost, by the manifest, and what a bundle costs to keep and to run."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from moderation.bundle import Bundle, Manifest
from moderation.errors import InvalidInputError
from moderation.scoring.onnx import available_cores
from moderation.scoring.scorer import Scorer
from train.gate.technical import ROUNDS, measure_latency
from train.metrics.resampling import Interval
from train.quality.figure import Figure, Part
from train.quality.samples import lowest_hashes

NAMES = {"roc_auc": "ROC-AUC", "average_precision": "average precision", "f1": "F1", "brier_skill": "Brier skill"}
MEGABYTES = 30
WITHIN = 0.001
TIMED = 200


def int8_cost(manifest: Manifest) -> Part:
    """Return what export measured of int8 against fp32; a bundle holds no other weights to measure it again.

    Raises:
        InvalidInputError: the manifest does not state it.
    """
    stated: Any = manifest.metrics.get("int8")
    if not stated:
        raise InvalidInputError(
            f"the manifest of {manifest.name} does not state metrics.int8; export it anew, or leave it out with "
            "--without int8"
        )
    above = {
        (name, row): Interval(**cell)
        for row, cells in stated["above_fp32"].items()
        for name, cell in cells.items()
        if cell["value"] is not None
    }
    worst, mean = float(stated["max_score_difference"]), float(stated["mean_score_difference"])
    return Part(
        name="int8",
        title="int8 against fp32",
        how="From the manifest: export scored the test split with both. Differences are int8 minus fp32, paired.",
        figures=[
            Figure.of("max_score_difference", "largest difference of a score", worst),
            Figure.of("mean_score_difference", "mean difference of a score", mean, digits=4),
            *(
                _within(f"{name}_difference", f"difference of mean {NAMES.get(name, name)}", cell)
                for (name, row), cell in above.items()
                if row == "mean"
            ),
            *_largest(above),
        ],
    )


def _largest(above: Mapping[tuple[str, str], Interval]) -> list[Figure]:
    if not above:
        return []
    place = max(above, key=lambda place: abs(above[place].value))
    return [_within("largest_difference", f"largest difference of a figure ({' of '.join(place)})", above[place])]


def _within(name: str, what: str, found: Interval) -> Figure:
    return Figure.of(name, what, found, -WITHIN, WITHIN, digits=4)


def size_and_speed(scorer: Scorer, rival: Scorer | None, texts: Sequence[str]) -> Part:
    """Return megabytes (10⁶ bytes), and how long the engine takes for ``texts``, beside ``rival`` in turns."""
    chosen = [texts[place] for place in lowest_hashes(texts, TIMED)]
    latency = measure_latency(chosen, scorer.score, rival.score if rival else None)
    own, others = _rates([scorer] if rival is None else [scorer, rival], chosen)
    sizes = _sizes(scorer.bundle)
    figures = [
        Figure.of("size_mb", "size of the folder, MB", sum(sizes.values()) / 1e6, at_most=MEGABYTES, digits=1),
        Figure.of(
            "largest_file_mb",
            f"size of the largest file ({max(sizes, key=sizes.__getitem__)}), MB",
            max(sizes.values()) / 1e6,
            digits=1,
        ),
        Figure.of("comment_ms", "one comment alone, median ms", latency.median_ms, digits=1),
        Figure.of("comments_per_second", "comments per second", own, digits=0),
    ]
    if rival is not None and latency.rival_median_ms is not None:
        figures += _ratios(latency.median_ms / latency.rival_median_ms, own / others[0])
    beside = f", in turns with version `{rival.bundle.version[:12]}`" if rival else ""
    return Part(
        name="speed",
        title="Size and speed",
        how=(
            f"{len(chosen)} comments of the test split, chosen by hash, scored by {scorer.backend} on "
            f"{available_cores()} cores{beside}; each the best of {ROUNDS} rounds. Times hold for that machine and for "
            "what else it did; ratios travel better."
        ),
        figures=figures,
    )


def _ratios(of_time: float, of_rate: float) -> list[Figure]:
    return [
        Figure.of("comment_ratio", "time of one comment against the other bundle's, ratio", of_time, digits=2),
        Figure.of(
            "comments_per_second_ratio", "comments per second against the other bundle's, ratio", of_rate, digits=2
        ),
    ]


def _sizes(bundle: Bundle) -> dict[str, int]:
    return {name: entry.size_bytes for name, entry in bundle.manifest.files.items()}


def _rates(scorers: Sequence[Scorer], texts: list[str]) -> tuple[float, list[float]]:
    """Return comments per second of the first scorer and of the others, the best of some rounds in turns."""
    best = [float("inf")] * len(scorers)
    for _ in range(ROUNDS):
        for place, scorer in enumerate(scorers):
            begun = time.perf_counter()
            scorer.score(texts)
            best[place] = min(best[place], time.perf_counter() - begun)
    own, *others = [len(texts) / seconds for seconds in best]
    return own, others
