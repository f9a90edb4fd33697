"""Platt calibration and thresholds per label, on the validation split at the real prevalence."""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from moderation.bundle import PlattCalibration
from moderation.errors import InvalidInputError


def fit_platt(truth: npt.ArrayLike, logits: npt.ArrayLike, weights: npt.ArrayLike) -> PlattCalibration:
    """Return scale and offset that maximise the weighted likelihood of ``truth`` (0/1, shape (N,)).

    Raises:
        InvalidInputError: the logits rise as the label disappears, so no calibration with a positive scale fits.
    """
    # C=inf: no penalty. Platt's own smoothing of the targets matters below some dozens of positives only.
    model = LogisticRegression(C=np.inf).fit(np.asarray(logits)[:, None], truth, sample_weight=weights)
    scale, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    if scale <= 0:
        raise InvalidInputError(f"calibration has slope {scale:.3f}: the model ranks this label worse than chance")
    return PlattCalibration(scale=scale, offset=offset)


def best_f1_threshold(truth: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Return the score, half-way between two that occur, from which predicting the label has the highest F1."""
    truth, scores, weights = (np.asarray(array, dtype=np.float64) for array in (truth, scores, weights))
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(ranked[1:] != ranked[:-1])  # a threshold can only lie between two different scores
    hits = np.cumsum((weights * truth)[order])
    f1 = 2 * hits / (np.cumsum(weights[order]) + hits[-1])
    best = ends[np.argmax(f1[ends])]
    return float((ranked[best] + ranked[best + 1]) / 2)
