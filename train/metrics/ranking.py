"""Weighted ranking metrics of one label.

Average precision follows scikit-learn: the sum of precision over steps of recall, without interpolation;
ties count as one step. The functions equal scikit-learn's (tested) and differ in one thing: the order of the
scores is found once, so that thousands of bootstrap resamples cost a cumulative sum each.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]


def hard(labels: npt.ArrayLike) -> FloatArray:
    """Return 1.0 where a label (0 to 1, any shape) is at least one half, 0.0 below, and NaN where it is unknown."""
    labels = np.asarray(labels, dtype=np.float64)
    return np.where(np.isnan(labels), np.nan, labels >= 0.5)


class Ranking:
    """Truth (0/1) in order of falling score, ready to be weighted many times."""

    def __init__(self, truth: npt.ArrayLike, scores: npt.ArrayLike, rows: IndexArray | None = None) -> None:
        """Sort once; ``truth`` and ``scores`` have shape (N,), and entries of NaN truth are left out.

        ``rows`` says whose weight each entry has; without it the weights have shape (N,) too.
        """
        truth, scores = np.asarray(truth, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        known = np.flatnonzero(~np.isnan(truth))
        order = known[np.argsort(-scores[known], kind="stable")]
        self._rows = order if rows is None else rows[order]
        self._truth = truth[order]
        ranked = scores[order]
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(order) else order
        self.scores: FloatArray = ranked[self._ends]  # each score that occurs, falling

    def counts(self, weights: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the weight of positives and of negatives at or above each of ``scores``."""
        weights = np.asarray(weights, dtype=np.float64)[self._rows]
        positive = np.cumsum(weights * self._truth)[self._ends]
        return positive, np.cumsum(weights)[self._ends] - positive

    def roc_auc(self, weights: npt.ArrayLike) -> float:
        """Return the area under the ROC curve; NaN if one class has no weight."""
        return self._roc_auc(*self.counts(weights))

    def both(self, weights: npt.ArrayLike) -> tuple[float, float]:
        """Return area and average precision (NaN if no positive has weight) from one pass."""
        counts = self.counts(weights)
        return self._roc_auc(*counts), self._average_precision(*counts)

    @staticmethod
    def _roc_auc(positive: FloatArray, negative: FloatArray) -> float:
        if not len(positive) or positive[-1] == 0 or negative[-1] <= 0:
            return float("nan")
        x, y = np.insert(negative, 0, 0.0), np.insert(positive, 0, 0.0)
        return float(np.trapezoid(y, x) / (positive[-1] * negative[-1]))

    @staticmethod
    def _average_precision(positive: FloatArray, negative: FloatArray) -> float:
        if not len(positive) or positive[-1] == 0:
            return float("nan")
        found = positive + negative
        precision = np.divide(positive, found, out=np.zeros_like(positive), where=found > 0)
        return float(np.sum(np.diff(positive, prepend=0.0) * precision) / positive[-1])


def average_precision(truth: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Return the weighted average precision of one label; arrays have shape (N,)."""
    return Ranking(truth, scores).both(weights)[1]
