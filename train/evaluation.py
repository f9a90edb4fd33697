"""Figures of a scored split per label, over labels and for identity groups, with bootstrap intervals.

``python -m train.evaluation SCORED.parquet --bundle DIR`` prints them from the output of ``moderation score``.
What each figure means, and where it comes from: docs/metrics.md.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.entry import exit_status, explain_missing_packages

if __name__ == "__main__":
    explain_missing_packages()

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.bundle import read_bundle
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from train.data.checks import require_columns
from train.data.columns import TRUTH_PREFIX
from train.metrics.figures import CALIBRATED, FIGURES, LABELS_AND_MEAN, RANKED, UNFITTED, Column, Figures
from train.metrics.identity import AUCS, identity_figures, masks
from train.metrics.ranking import BoolArray, FloatArray
from train.metrics.resampling import RESAMPLES, Interval, bootstrap

HEADLINE = (*RANKED, "f1")
DECISIONS = ("accuracy", "precision", "recall")
CHANGED = ("brier_skill", "calibration_slope")  # what says whether calibration helped

Table = dict[str, dict[str, dict[str, float | None]]]


def evaluate(
    labels: npt.ArrayLike,
    scores: FloatArray,
    weights: FloatArray,
    thresholds: Mapping[str, float],
    resamples: int = RESAMPLES,
    groups: Mapping[str, BoolArray] | None = None,
    languages: pd.Series | None = None,
) -> dict[str, Any]:
    """Return all figures, ready for JSON.

    ``labels`` (0 to 1, NaN where unknown) and ``scores`` have shape (N, K), ``weights``, ``languages`` (null where it
    is unknown) and each of ``groups`` (N,). ``figures`` has a row per label, their mean and all labels pooled
    ("micro"), with the figures of `train.metrics.figures.FIGURES`; each is a value with a 95 % interval, None where it
    is not defined. ``languages`` has the same of each language, if there are several.
    """
    labels = np.asarray(labels, dtype=np.float64)
    figures = Figures(labels, scores, _in_order(thresholds))

    def statistic(drawn: FloatArray) -> FloatArray:
        return np.concatenate([figures.by_label(drawn).ravel(), figures.pooled(drawn), [figures.exact_match(drawn)]])

    *cells, exact = bootstrap(statistic, weights, resamples)
    return {
        "rows": len(labels),
        "weight": float(weights.sum()),
        "positives": {label: column.positives for label, column in zip(LABELS, figures.columns, strict=True)},
        "figures": _rows(cells, FIGURES, (*LABELS_AND_MEAN, "micro")),
        "exact_match": exact.plain(),
        "identity": identity_figures(labels, scores, weights, groups, resamples) if groups else {},
        "languages": {
            language: _part(labels[rows], scores[rows], weights[rows], thresholds, resamples)
            for language, rows in _by_language(languages)
        },
    }


def _by_language(languages: pd.Series | None) -> list[tuple[str, BoolArray]]:
    named = np.array([] if languages is None else languages.fillna("unknown"), dtype=str)
    found = np.unique(named).tolist()
    return [(language, named == language) for language in found] if len(found) > 1 else []


def _part(
    labels: FloatArray, scores: FloatArray, weights: FloatArray, thresholds: Mapping[str, float], resamples: int
) -> dict[str, Any]:
    found = evaluate(labels, scores, weights, thresholds, resamples)
    return {name: found[name] for name in ("rows", "weight", "positives", "figures", "exact_match")}


def compare(
    labels: npt.ArrayLike,
    scores: FloatArray,
    rival: FloatArray,
    weights: FloatArray,
    resamples: int = RESAMPLES,
    thresholds: tuple[Mapping[str, float], Mapping[str, float]] | None = None,
    fitted: bool = True,
) -> Table:
    """Return figures of ``scores`` minus those of ``rival`` (both (N, K)), per label and on average, paired.

    Without ``thresholds`` (of either) only how they rank, which costs a third; with ``fitted=False`` all figures but
    slope and intercept of the calibration, which costs little more.
    """
    names: Sequence[str] = FIGURES if fitted else UNFITTED
    chosen = Column.all if fitted else Column.unfitted
    if not thresholds:
        names, chosen = RANKED, Column.ranked
    own_cuts, rival_cuts = thresholds or (dict.fromkeys(LABELS, 1.0), dict.fromkeys(LABELS, 1.0))
    labels = np.asarray(labels, dtype=np.float64)
    own, other = Figures(labels, scores, _in_order(own_cuts)), Figures(labels, rival, _in_order(rival_cuts))

    def statistic(drawn: FloatArray) -> FloatArray:
        return (own.by_label(drawn, chosen) - other.by_label(drawn, chosen)).ravel()

    return _rows(bootstrap(statistic, weights, resamples), names, LABELS_AND_MEAN)


def calibration_change(
    labels: npt.ArrayLike, before: FloatArray, after: FloatArray, weights: FloatArray, resamples: int = RESAMPLES
) -> dict[str, Table]:
    """Return Brier skill and calibration slope of scores (N, K) before and after calibration, with intervals."""
    labels, cuts = np.asarray(labels, dtype=np.float64), [1.0] * len(LABELS)
    states = [Figures(labels, scores, cuts) for scores in (before, after)]
    chosen = [CALIBRATED.index(name) for name in CHANGED]

    def figures(column: Column, drawn: FloatArray) -> tuple[float, ...]:
        found = column.calibrated(drawn)
        return tuple(found[number] for number in chosen)

    def statistic(drawn: FloatArray) -> FloatArray:
        return np.concatenate([state.by_label(drawn, figures).ravel() for state in states])

    cells = bootstrap(statistic, weights, resamples)
    half = len(cells) // 2
    return {
        "before": _rows(cells[:half], CHANGED, LABELS_AND_MEAN),
        "after": _rows(cells[half:], CHANGED, LABELS_AND_MEAN),
    }


def _in_order(thresholds: Mapping[str, float]) -> list[float]:
    return [thresholds[label] for label in LABELS]


def _rows(cells: Sequence[Interval], columns: Sequence[str], rows: Sequence[str]) -> Table:
    plain = iter([cell.plain() for cell in cells])
    return {row: {column: next(plain) for column in columns} for row in rows}


def table(
    figures: Mapping[str, Mapping[str, Any]],
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    first: str = "label",
) -> str:
    """Return figures with their intervals as a Markdown table, of all columns and rows if none are named."""
    columns = columns or list(next(iter(figures.values())))
    lines = [f"| {first} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {row} | " + " | ".join(cell(figures[row][column]) for column in columns) + " |" for row in rows or figures
    ]
    return "\n".join(lines)


def cell(figure: Mapping[str, float | None]) -> str:
    """Return a figure with its interval in words; a dash where it is not defined."""
    if figure["value"] is None:
        return "–"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.4f}"
    return f"{figure['value']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})"


def tables(found: Mapping[str, Any]) -> str:
    """Return what `evaluate` found as Markdown: the three main figures first, then everything else."""
    figures = found["figures"]
    parts = [
        table(figures, HEADLINE, LABELS_AND_MEAN),
        "Decisions at the thresholds:",
        table(figures, DECISIONS, LABELS_AND_MEAN),
        f"All labels of a row right (exact match): {cell(found['exact_match'])}",
        "Calibration:",
        table(figures, CALIBRATED, LABELS_AND_MEAN),
        "All labels pooled:",
        table(figures, (*HEADLINE, *DECISIONS), ("micro",)),
        table(figures, CALIBRATED, ("micro",)),
    ]
    if found["languages"]:
        parts += [languages_table(found["languages"])]
    for label, identity in found["identity"].items():
        parts += [f"Comments that mention an identity group, {label}: final metric {cell(identity['final'])}"]
        parts += [table(identity["groups"], AUCS, first="group")]
    return "\n\n".join(parts)


def languages_table(languages: Mapping[str, Any]) -> str:
    """Return each language's main figures as Markdown: those of labels with a positive row there, and their mean."""
    rows: dict[str, Mapping[str, Any]] = {}
    for language, part in languages.items():
        present = [label for label in LABELS if part["positives"][label]]
        shown = [*present, "mean"] if len(present) > 1 else present
        rows |= {f"{language}, {row}": part["figures"][row] for row in shown}
    return table(rows, HEADLINE, first="language")


def _evaluate_file(arguments: argparse.Namespace, thresholds: Mapping[str, float]) -> dict[str, Any]:
    path: Path = arguments.scored
    try:
        scored = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read as parquet ({type(error).__name__})") from error
    prefixes = (arguments.truth_prefix, arguments.score_prefix)
    truths, columns = ([f"{prefix}{label}" for label in LABELS] for prefix in prefixes)
    require_columns(scored, truths + columns, str(path))
    scored = scored.dropna(subset=columns).dropna(subset=truths, how="all")
    if scored.empty:
        raise InvalidInputError(f"{path} has no row with a score and a label")
    weights = scored["weight"].to_numpy(dtype=np.float64) if "weight" in scored else np.ones(len(scored))
    texts = arguments.text_column
    return evaluate(
        scored[truths].to_numpy(dtype=np.float64),
        scored[columns].to_numpy(dtype=np.float64),
        weights,
        thresholds,
        arguments.resamples,
        masks(scored[texts]) if texts in scored else None,
        scored.get("language"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures of a scored file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluation", description=__doc__)
    parser.add_argument("scored", type=Path, help="parquet file that `moderation score` wrote")
    parser.add_argument("--bundle", type=Path, required=True, help="bundle whose thresholds decisions are taken at")
    parser.add_argument("--truth-prefix", default=TRUTH_PREFIX, help="how columns with the true labels begin")
    parser.add_argument("--score-prefix", default="", help="how columns with scores begin")
    parser.add_argument(
        "--text-column", default="comment_text", help="column in which identity groups are looked for, if there is one"
    )
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="of the bootstrap (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure to FILE")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _print(arguments))


def _print(arguments: argparse.Namespace) -> None:
    bundle = read_bundle(arguments.bundle)
    found = _evaluate_file(arguments, bundle.manifest.thresholds)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"version": bundle.version} | found, indent=2) + "\n")
    print(f"{found['rows']} rows, standing for {found['weight']:.0f} at the real prevalence\n\n{tables(found)}")


if __name__ == "__main__":
    sys.exit(main())
