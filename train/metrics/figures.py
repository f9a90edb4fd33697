"""All figures of one label, or of all labels pooled, as functions of the rows' weights.

Precision, recall and F1 are 0 where nothing is predicted or present, as scikit-learn's with ``zero_division=0``.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from moderation.labels import LABELS
from train.metrics.calibration import ECE_BINS, bins_of, log_odds, recalibration
from train.metrics.ranking import BoolArray, FloatArray, IndexArray, Ranking, hard

RANKED = ("roc_auc", "average_precision")
DECIDED = ("accuracy", "f1", "precision", "recall")
CALIBRATED = ("brier", "brier_skill", "calibration_slope", "calibration_intercept", "ece")
FIGURES = (*RANKED, *DECIDED, *CALIBRATED)
UNFITTED = (*RANKED, *DECIDED, "brier", "brier_skill", "ece")
"""All that take no regression, which is most of the time."""
Compared = Literal["roc_auc", "average_precision", "brier_skill"]
COMPARED: tuple[Compared, ...] = get_args(Compared)  # what the gate compares two bundles by
LABELS_AND_MEAN = (*LABELS, "mean")


class Column:
    """Truth (0/1), scores and predictions of one label, ready to be weighted many times; NaN truth is left out."""

    def __init__(
        self, truth: FloatArray, scores: FloatArray, predicted: BoolArray, rows: IndexArray | None = None
    ) -> None:
        """Take arrays of shape (N,); ``rows`` says whose weight each entry has (`Ranking`)."""
        known = np.flatnonzero(~np.isnan(truth))
        self.positives = int(np.nansum(truth))
        self._ranking = Ranking(truth, scores, rows)
        self._rows = known if rows is None else rows[known]
        self._truth, self._scores = truth[known], scores[known]
        said = predicted[known].astype(np.float64)
        self._cells = np.stack([self._truth * said, said, self._truth, np.ones(len(known))])
        self._error = self._truth - self._scores
        self._bins = bins_of(self._scores)

    @cached_property
    def _odds(self) -> FloatArray:
        return log_odds(self._scores)

    @cached_property
    def _start(self) -> tuple[float, float] | None:
        fitted = recalibration(self._truth, self._odds, np.ones(len(self._truth)))
        return None if np.isnan(fitted[1]) else fitted

    def ranked(self, weights: FloatArray) -> tuple[float, ...]:
        """Return the figures of `RANKED`."""
        return self._ranking.both(weights)

    def decided(self, weights: FloatArray) -> tuple[float, ...]:
        """Return the figures of `DECIDED`."""
        hits, said, present, total = (float(cell) for cell in self._cells @ weights[self._rows])
        if total == 0:
            return (float("nan"),) * len(DECIDED)
        return (
            1 - (said + present - 2 * hits) / total,
            2 * hits / (said + present) if said + present else 0.0,
            hits / said if said else 0.0,
            hits / present if present else 0.0,
        )

    def calibrated(self, weights: FloatArray) -> tuple[float, ...]:
        """Return the figures of `CALIBRATED`."""
        weights = weights[self._rows]
        total = float(weights.sum())
        if total == 0:
            return (float("nan"),) * len(CALIBRATED)
        intercept, slope = recalibration(self._truth, self._odds, weights, self._start)
        return (*self._brier(weights, total), slope, intercept, self._ece(weights, total))

    def unfitted(self, weights: FloatArray) -> tuple[float, ...]:
        """Return the figures of `UNFITTED`."""
        known = weights[self._rows]
        total = float(known.sum())
        return (*self.ranked(weights), *self.decided(weights), *self._brier(known, total), self._ece(known, total))

    def compared(self, weights: FloatArray) -> tuple[float, ...]:
        """Return the figures of `COMPARED`."""
        return (*self.ranked(weights), self._brier(weights[self._rows], float(weights[self._rows].sum()))[1])

    def _brier(self, weights: FloatArray, total: float) -> tuple[float, float]:
        """Return Brier score and skill; ``weights`` are those of the known rows, ``total`` their sum."""
        if total == 0:
            return float("nan"), float("nan")
        brier, rate = float(weights * self._error @ self._error) / total, float(weights @ self._truth) / total
        return brier, 1 - brier / (rate * (1 - rate)) if 0 < rate < 1 else float("nan")

    def _ece(self, weights: FloatArray, total: float) -> float:
        """Return the expected calibration error; ``weights`` are those of the known rows, ``total`` their sum."""
        if total == 0:
            return float("nan")
        return float(np.abs(np.bincount(self._bins, weights * self._error, minlength=ECE_BINS)).sum()) / total

    def all(self, weights: FloatArray) -> tuple[float, ...]:
        """Return the figures of `FIGURES`."""
        return (*self.ranked(weights), *self.decided(weights), *self.calibrated(weights))


class Figures:
    """Figures per label, their mean over labels (macro) and of all labels pooled (micro)."""

    def __init__(self, labels: FloatArray, scores: FloatArray, thresholds: Sequence[float] | FloatArray) -> None:
        """Take labels (0 to 1, or NaN) and scores (N, K), and a threshold for each label."""
        truth, self._said = hard(labels), np.asarray(scores >= np.asarray(thresholds))
        self.columns = [Column(truth[:, k], scores[:, k], self._said[:, k]) for k in range(truth.shape[1])]
        # A label without a known positive has no ranking: it is left out of the mean of every figure.
        self._present = [k for k, column in enumerate(self.columns) if column.positives]
        rows = np.repeat(np.arange(len(truth)), truth.shape[1])
        self._pooled = Column(truth.ravel(), scores.ravel(), self._said.ravel(), rows)
        wrong = ~np.isnan(truth) & (self._said != (truth == 1))
        self._some = ~np.isnan(truth).all(axis=1)
        self._exact = self._some & ~wrong.any(axis=1)

    def by_label(
        self, weights: FloatArray, figures: Callable[[Column, FloatArray], tuple[float, ...]] = Column.all
    ) -> FloatArray:
        """Return a row per label and their mean, with the figures that ``figures`` gives (by default `FIGURES`)."""
        table = np.array([figures(column, weights) for column in self.columns])
        mean = table[self._present].mean(axis=0) if self._present else np.full(table.shape[1], np.nan)
        return np.vstack([table, mean])

    def pooled(
        self, weights: FloatArray, figures: Callable[[Column, FloatArray], tuple[float, ...]] = Column.all
    ) -> tuple[float, ...]:
        """Return the figures of all labels pooled into one."""
        return figures(self._pooled, weights)

    def exact_match(self, weights: FloatArray) -> float:
        """Return the share of rows whose known labels are all predicted right."""
        total = float(weights @ self._some)
        return float(weights @ self._exact) / total if total else float("nan")
