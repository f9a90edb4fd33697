"""Curves of a scored split as plain lists, thinned so that they can be logged and drawn, and its worst errors."""

from typing import Any

import numpy as np
import pandas as pd

from moderation.labels import LABELS
from train.metrics.calibration import reliability
from train.metrics.ranking import FloatArray, IndexArray, Ranking, hard

POINTS = 200


def curves(labels: FloatArray, scores: FloatArray, weights: FloatArray, points: int = POINTS) -> dict[str, Any]:
    """Return per label its precision-recall and ROC curves and the bins of its reliability diagram.

    ``labels`` (0 to 1, or NaN) and ``scores`` have shape (N, K). Each curve is a dict of equally long lists with at
    most ``points`` points, ``threshold`` among them; a label without a known positive or negative has none.
    """
    truth = hard(labels)
    found: dict[str, Any] = {}
    for k, label in enumerate(LABELS):
        positive, negative = (ranking := Ranking(truth[:, k], scores[:, k])).counts(weights)
        if len(positive) and positive[-1] > 0 and negative[-1] > 0:
            found[label] = {
                "precision_recall": _precision_recall(positive, negative, ranking.scores, points),
                "roc": _roc(positive, negative, ranking.scores, points),
                "reliability": reliability(truth[:, k], scores[:, k], weights),
            }
    return found


def worst_errors(rows: pd.DataFrame, scores: FloatArray, count: int = 20) -> pd.DataFrame:
    """Return, for each label, the ``count`` rows whose score (N, K) is farthest from the truth, and no text.

    Columns: label, id (may be null), row (the index in ``rows``), truth, score; worst first.
    """
    truth = hard(rows[list(LABELS)])
    tables = []
    for k, label in enumerate(LABELS):
        distance = np.abs(truth[:, k] - scores[:, k])
        worst = np.argsort(-np.where(np.isnan(distance), -1.0, distance), kind="stable")[:count]
        worst = worst[~np.isnan(distance[worst])]
        tables.append(
            pd.DataFrame(
                {
                    "label": label,
                    "id": rows["id"].to_numpy()[worst],
                    "row": rows.index.to_numpy()[worst],
                    "truth": truth[worst, k],
                    "score": scores[worst, k],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _precision_recall(
    positive: FloatArray, negative: FloatArray, thresholds: FloatArray, points: int
) -> dict[str, list[float]]:
    found = positive + negative
    precision = np.divide(positive, found, out=np.ones_like(positive), where=found > 0)
    recall = positive / positive[-1]
    kept = _thin(recall, points)
    return {
        "recall": recall[kept].tolist(),
        "precision": precision[kept].tolist(),
        "threshold": thresholds[kept].tolist(),
    }


def _roc(positive: FloatArray, negative: FloatArray, thresholds: FloatArray, points: int) -> dict[str, list[float]]:
    true_rate, false_rate = positive / positive[-1], negative / negative[-1]
    kept = _thin(true_rate + false_rate, points - 1)
    return {  # begins where nothing is predicted
        "false_positive_rate": [0.0, *false_rate[kept].tolist()],
        "true_positive_rate": [0.0, *true_rate[kept].tolist()],
        "threshold": [1.0, *thresholds[kept].tolist()],
    }


def _thin(position: FloatArray, points: int) -> IndexArray:
    """Return at most ``points`` indices, evenly spread over the rising ``position``, both ends among them."""
    wanted = np.linspace(position[0], position[-1], points)
    chosen = np.unique(np.searchsorted(position, wanted).clip(0, len(position) - 1))
    return chosen if chosen[-1] == len(position) - 1 else np.append(chosen[: points - 1], len(position) - 1)
