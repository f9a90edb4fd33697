"""Precision-recall, ROC and reliability curves per label, thinned to what a chart can show."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from moderation.labels import LABELS

FloatArray = npt.NDArray[np.float64]
Points = tuple[FloatArray, FloatArray]
Curve = Callable[[FloatArray, FloatArray, FloatArray], Points]
POINTS = 100
BINS = 10


def curves(truth: FloatArray, scores: FloatArray, weights: FloatArray) -> dict[str, Any]:
    """Return three line charts with a line per label that has both classes.

    ``truth`` (N, K) counts as positive from 0.5 and is left out where it is NaN; ``scores`` (N, K), ``weights`` (N,).
    """

    def chart(title: str, x_name: str, points: Curve) -> dict[str, Any]:
        lines = {}
        for k, label in enumerate(LABELS):
            known = ~np.isnan(truth[:, k])
            positive = (truth[known, k] >= 0.5).astype(np.float64)
            if 0 < positive.sum() < len(positive):
                lines[label] = points(positive, scores[known, k], weights[known])
        return {
            "xs": [x.tolist() for x, _ in lines.values()],
            "ys": [y.tolist() for _, y in lines.values()],
            "keys": list(lines),
            "title": title,
            "xname": x_name,
        }

    return {
        "curves/precision_recall": chart("Precision against recall", "recall", _precision_recall),
        "curves/roc": chart("True against false positive rate", "false positive rate", _roc),
        "curves/reliability": chart("Share of positives against score", "score", _reliability),
    }


def _precision_recall(positive: FloatArray, scores: FloatArray, weights: FloatArray) -> Points:
    precision, recall, _ = precision_recall_curve(positive, scores, sample_weight=weights)
    return _thin(recall[::-1], precision[::-1])


def _roc(positive: FloatArray, scores: FloatArray, weights: FloatArray) -> Points:
    false_positive_rate, true_positive_rate, _ = roc_curve(positive, scores, sample_weight=weights)
    return _thin(false_positive_rate, true_positive_rate)


def _reliability(positive: FloatArray, scores: FloatArray, weights: FloatArray) -> Points:
    """Return mean score and weighted share of positives of each bin of equal width that holds a row."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    total = np.bincount(bins, weights, BINS)
    filled = total > 0
    mean_score = np.bincount(bins, weights * scores, BINS)[filled] / total[filled]
    return mean_score, np.bincount(bins, weights * positive, BINS)[filled] / total[filled]


def _thin(x: FloatArray, y: FloatArray) -> Points:
    kept = np.unique(np.linspace(0, len(x) - 1, min(POINTS, len(x))).astype(int))
    return x[kept], y[kept]
