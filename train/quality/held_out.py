"""Ranking, decisions and calibration on the held-out split, and calibration among texts that mention a group.

Everything is weighted to the real prevalence. Groups are found by words (`train.metrics.identity`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from moderation.labels import LABELS
from train.metrics.calibration import ECE_BINS, bins_of
from train.metrics.figures import FIGURES, LABELS_AND_MEAN, Figures
from train.metrics.identity import masks
from train.metrics.ranking import BoolArray, FloatArray, hard
from train.metrics.resampling import Interval, bootstrap
from train.quality.figure import Figure, Part, Table

LEAST_SCORE = 0.05
"""Of the scores that `ece_above` looks at: nearly all comments lie below, and would hide how the others fare."""
LEAST_ROWS = 50
"""Of a slice. Among 50 comments a share of 3 % has a standard error of 2.4 points; fewer say little."""
SHOWN = ("roc_auc", "average_precision", "f1", "brier_skill", "calibration_slope", "ece")
AIMS = {"roc_auc": 0.990, "average_precision": 0.74, "f1": 0.68}
NAMES = {"roc_auc": "ROC-AUC", "average_precision": "average precision", "f1": "F1 at the thresholds"}
SLOPE = (0.9, 1.1)
GAP = 0.03


def held_out(test: pd.DataFrame, scores: FloatArray, thresholds: Mapping[str, float], resamples: int) -> Part:
    """Return what calibrated ``scores`` (N, K) of the rows ``test`` (N) are worth."""
    truth = hard(test[list(LABELS)].to_numpy(dtype=np.float64))
    weights = test["weight"].to_numpy(dtype=np.float64)
    found = _by_label(truth, scores, weights, [thresholds[label] for label in LABELS], resamples)
    members = {name: member for name, member in masks(test["comment_text"]).items() if member.sum() >= LEAST_ROWS}
    gaps = slice_gaps(truth, scores, weights, members, resamples)
    titled = {f"{group} ({int(members[group].sum())} rows)": cells for group, cells in gaps.items()}
    return Part(
        name="held-out",
        title="Held-out split",
        how=(
            f"{len(test):,} rows of the test split, which training, thresholds and calibration never saw, weighted to "
            f"the real prevalence. Slices: comments that mention a group, at least {LEAST_ROWS} rows. Gap: mean score "
            "minus share of the label; above, the size of each slice's largest one."
        ),
        figures=_figures(found, gaps),
        tables=[
            Table.of("Per label", "label", found),
            *([Table.of("Gaps of identity slices", "slice", titled)] if gaps else []),
        ],
    )


def _figures(found: Mapping[str, Mapping[str, Interval]], gaps: Mapping[str, Mapping[str, Interval]]) -> list[Figure]:
    known = _known(found)
    figures = [
        Figure.of(name, f"mean {NAMES[name]}, six labels", found["mean"][name], at_least=aim, digits=4)
        for name, aim in AIMS.items()
    ]
    figures += [
        Figure.of(f"brier_skill_{label}", f"Brier skill of `{label}`", found[label]["brier_skill"], at_least=0.0)
        for label in known
    ]
    figures += [
        Figure.of(
            f"calibration_slope_{label}", f"calibration slope of `{label}`", found[label]["calibration_slope"], *SLOPE
        )
        for label in known
    ]
    figures += [
        Figure.of(f"ece_above_{label}", f"ECE over scores > {LEAST_SCORE} of `{label}`", found[label]["ece_above"])
        for label in known
    ]
    return figures + [_gap_figure(group, by_label) for group, by_label in gaps.items()]


def _gap_figure(group: str, by_label: Mapping[str, Interval]) -> Figure:
    """Return the size of the largest gap of one slice; a label that the slice does not know counts as none."""
    label = max(by_label, key=lambda label: np.nan_to_num(abs(by_label[label].value)))
    what = f"gap between mean score and share, {group}: largest of the labels, `{label}`"
    return Figure.of(f"gap_{group}", what, absolute(by_label[label]), at_most=GAP)


def _known(found: Mapping[str, Mapping[str, Interval]]) -> list[str]:
    """Return the labels that can be ranked: some rows have them, some do not."""
    return [label for label in LABELS if not np.isnan(found[label]["roc_auc"].value)]


def _by_label(
    truth: FloatArray, scores: FloatArray, weights: FloatArray, thresholds: Sequence[float], resamples: int
) -> dict[str, dict[str, Interval]]:
    figures = Figures(truth, scores, thresholds)
    chosen = [FIGURES.index(name) for name in SHOWN]
    known = [k for k, column in enumerate(figures.columns) if column.positives]

    def statistic(drawn: FloatArray) -> FloatArray:
        above = np.array([ece_above(truth[:, k], scores[:, k], drawn) for k in range(len(LABELS))])
        column = np.append(above, above[known].mean() if known else np.nan)
        return np.column_stack([figures.by_label(drawn)[:, chosen], column]).ravel()

    cells = iter(bootstrap(statistic, weights, resamples))
    return {row: {name: next(cells) for name in (*SHOWN, "ece_above")} for row in LABELS_AND_MEAN}


def ece_above(truth: FloatArray, scores: FloatArray, weights: FloatArray, least: float = LEAST_SCORE) -> float:
    """Return the expected calibration error among the rows that score above ``least``; NaN if there are none.

    Arrays have shape (N,), NaN truth is left out. Σ over 15 equally wide bins of [0, 1] of (share of those rows'
    weight) × |mean label − mean score| (Naeini, Cooper and Hauskrecht, AAAI 2015), of those rows alone.
    """
    kept = (scores > least) & ~np.isnan(truth)
    drawn = weights[kept]
    total = float(drawn.sum())
    if total <= 0:
        return float("nan")
    errors = np.bincount(bins_of(scores[kept]), drawn * (truth[kept] - scores[kept]), minlength=ECE_BINS)
    return float(np.abs(errors).sum()) / total


def slice_gaps(
    truth: FloatArray, scores: FloatArray, weights: FloatArray, members: Mapping[str, BoolArray], resamples: int
) -> dict[str, dict[str, Interval]]:
    """Return mean score minus share of each label in each slice; ``members`` (N,) say whose rows are whose.

    ``truth`` and ``scores`` have shape (N, K), ``weights`` (N,).
    """
    if not members:
        return {}
    inside = np.array(list(members.values()), dtype=np.float64)
    known = ~np.isnan(truth)
    errors = np.where(known, scores - truth, 0.0)

    def statistic(drawn: FloatArray) -> FloatArray:
        mass = inside @ (drawn[:, None] * known)
        gaps = inside @ (drawn[:, None] * errors) / np.where(mass > 0, mass, np.nan)
        return np.asarray(gaps).ravel()

    cells = iter(bootstrap(statistic, weights, resamples))
    return {group: {label: next(cells) for label in LABELS} for group in members}


def absolute(gap: Interval) -> Interval:
    """Return the size of a gap; where its interval holds 0, so does that of its size."""
    ends = sorted((abs(gap.low), abs(gap.high)))
    return Interval(abs(gap.value), 0.0 if gap.low <= 0 <= gap.high else ends[0], ends[1])
