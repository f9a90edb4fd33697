"""Figures of a scored split: ROC-AUC, average precision and F1 per label, with bootstrap intervals.

``python -m train.evaluation SCORED.parquet --bundle DIR`` prints them from the output of ``moderation score``.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.bundle import read_bundle
from moderation.errors import InvalidInputError, ModerationError
from moderation.labels import LABELS
from train.data.rows import TRUTH_PREFIX
from train.metrics import FloatArray, Ranking, bootstrap, f1

RESAMPLES = 1000
RANKED = ("roc_auc", "average_precision")


def evaluate(
    truth: npt.NDArray[np.int8],
    scores: FloatArray,
    weights: FloatArray,
    thresholds: Mapping[str, float],
    resamples: int = RESAMPLES,
) -> dict[str, object]:
    """Return figures per label and their means; ``truth`` and ``scores`` have shape (N, K), ``weights`` (N,).

    Each figure is a value with a 95 % interval; F1 is at the label's threshold.
    """
    rankings = [Ranking(truth[:, k], scores[:, k]) for k in range(len(LABELS))]
    predicted = scores >= np.array([thresholds[label] for label in LABELS])

    def figures(drawn: FloatArray) -> FloatArray:
        table = np.array(
            [
                [ranking.roc_auc(drawn), ranking.average_precision(drawn), f1(truth[:, k], predicted[:, k], drawn)]
                for k, ranking in enumerate(rankings)
            ]
        )
        return np.vstack([table, table.mean(axis=0)]).ravel()

    intervals = [asdict(interval) for interval in bootstrap(figures, weights, resamples)]
    names = ("roc_auc", "average_precision", "f1")
    table = {
        row: dict(zip(names, intervals[number * 3 : number * 3 + 3], strict=True))
        for number, row in enumerate([*LABELS, "mean"])
    }
    positives = {label: int(truth[:, k].sum()) for k, label in enumerate(LABELS)}
    return {"rows": len(truth), "weight": float(weights.sum()), "positives": positives, "figures": table}


def compare(
    truth: npt.NDArray[np.int8],
    scores: FloatArray,
    rival: FloatArray,
    weights: FloatArray,
    resamples: int = RESAMPLES,
) -> dict[str, object]:
    """Return how far ``scores`` are above ``rival`` (both (N, K)) per label and on average, with paired intervals."""
    pairs = [(Ranking(truth[:, k], scores[:, k]), Ranking(truth[:, k], rival[:, k])) for k in range(len(LABELS))]

    def differences(drawn: FloatArray) -> FloatArray:
        table = np.array(
            [[getattr(own, name)(drawn) - getattr(other, name)(drawn) for name in RANKED] for own, other in pairs]
        )
        return np.vstack([table, table.mean(axis=0)]).ravel()

    intervals = [asdict(interval) for interval in bootstrap(differences, weights, resamples)]
    return {
        row: dict(zip(RANKED, intervals[number * 2 : number * 2 + 2], strict=True))
        for number, row in enumerate([*LABELS, "mean"])
    }


def table(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return figures with their intervals as a Markdown table."""
    columns = list(next(iter(figures.values())))
    lines = ["| label | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row, values in figures.items():
        cells = [f"{cell['value']:.4f} ({cell['low']:.4f} to {cell['high']:.4f})" for cell in values.values()]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _report(path: Path, bundle: Path, truth_prefix: str, score_prefix: str) -> str:
    try:
        scored = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read as parquet ({type(error).__name__})") from error
    needed = [f"{prefix}{label}" for prefix in (truth_prefix, score_prefix) for label in LABELS]
    if missing := [column for column in needed if column not in scored]:
        raise InvalidInputError(f"{path} has no column {', '.join(missing)}; it has {', '.join(scored.columns)}")
    scored = scored.dropna(subset=needed)
    truth = scored[[f"{truth_prefix}{label}" for label in LABELS]].to_numpy(dtype=np.int8)
    scores = scored[[f"{score_prefix}{label}" for label in LABELS]].to_numpy(dtype=np.float64)
    weights = scored["weight"].to_numpy(dtype=np.float64) if "weight" in scored else np.ones(len(scored))
    thresholds = read_bundle(bundle).manifest.thresholds
    result = evaluate(truth, scores, weights, thresholds)
    return f"{len(scored)} rows, standing for {weights.sum():.0f} at the real prevalence\n\n{table(result['figures'])}"  # type: ignore[arg-type]


def main() -> int:
    """Print the figures of a scored file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluation", description=__doc__)
    parser.add_argument("scored", type=Path, help="parquet file that `moderation score` wrote")
    parser.add_argument("--bundle", type=Path, required=True, help="bundle whose thresholds F1 is taken at")
    parser.add_argument("--truth-prefix", default=TRUTH_PREFIX, help="how columns with the true labels begin")
    parser.add_argument("--score-prefix", default="", help="how columns with scores begin")
    arguments = parser.parse_args()
    try:
        print(_report(arguments.scored, arguments.bundle, arguments.truth_prefix, arguments.score_prefix))
    except ModerationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
