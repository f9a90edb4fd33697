"""Weighted ranking metrics and their bootstrap intervals.

Average precision follows scikit-learn: the sum of precision over steps of recall, without interpolation;
ties count as one step. The functions equal scikit-learn's (tested) and differ in one thing: the order of the
scores is found once, so that thousands of bootstrap resamples cost a cumulative sum each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float


class Ranking:
    """Truth (0/1) in order of falling score, ready to be weighted many times."""

    def __init__(self, truth: npt.ArrayLike, scores: npt.ArrayLike) -> None:
        """Sort once; ``truth`` and ``scores`` have shape (N,)."""
        scores = np.asarray(scores, dtype=np.float64)
        self._order = np.argsort(-scores, kind="stable")
        self._truth = np.asarray(truth, dtype=np.float64)[self._order]
        ranked = scores[self._order]
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last row of each tie

    def _counts(self, weights: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        weights = np.asarray(weights, dtype=np.float64)[self._order]
        positive = np.cumsum(weights * self._truth)[self._ends]
        return positive, np.cumsum(weights)[self._ends] - positive

    def roc_auc(self, weights: npt.ArrayLike) -> float:
        """Return the area under the ROC curve; NaN if one class has no weight."""
        positive, negative = self._counts(weights)
        if positive[-1] == 0 or negative[-1] <= 0:
            return float("nan")
        x, y = np.insert(negative, 0, 0.0), np.insert(positive, 0, 0.0)
        return float(np.trapezoid(y, x) / (positive[-1] * negative[-1]))

    def average_precision(self, weights: npt.ArrayLike) -> float:
        """Return the average precision; NaN if no positive has weight."""
        positive, negative = self._counts(weights)
        if positive[-1] == 0:
            return float("nan")
        found = positive + negative
        precision = np.divide(positive, found, out=np.zeros_like(positive), where=found > 0)
        return float(np.sum(np.diff(positive, prepend=0.0) * precision) / positive[-1])


def roc_auc(truth: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Return the weighted area under the ROC curve of one label; arrays have shape (N,)."""
    return Ranking(truth, scores).roc_auc(weights)


def average_precision(truth: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Return the weighted average precision of one label; arrays have shape (N,)."""
    return Ranking(truth, scores).average_precision(weights)


def f1(truth: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Return the weighted F1 of 0/1 predictions; 0 if nothing is predicted or present."""
    truth, predicted, weights = (np.asarray(array, dtype=np.float64) for array in (truth, predicted, weights))
    hits = float(np.sum(weights * truth * predicted))
    total = float(np.sum(weights * truth) + np.sum(weights * predicted))
    return 2 * hits / total if total else 0.0


def bootstrap(
    statistic: Callable[[FloatArray], FloatArray], weights: FloatArray, resamples: int, seed: int = 0
) -> list[Interval]:
    """Return each figure of ``statistic(weights)`` (shape (M,)) with its interval.

    Rows are drawn with replacement: a resample multiplies the weights with multinomial counts
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3). Comparing two models inside one
    ``statistic`` makes the intervals paired.
    """
    generator = np.random.default_rng(seed)
    count = len(weights)
    draws = np.array(
        [statistic(weights * generator.multinomial(count, np.full(count, 1 / count))) for _ in range(resamples)]
    )
    low, high = np.nanpercentile(draws, [2.5, 97.5], axis=0)
    return [
        Interval(float(value), float(least), float(most))
        for value, least, most in zip(statistic(weights), low, high, strict=True)
    ]
