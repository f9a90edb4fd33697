"""How far scores are probabilities: Brier score, logistic recalibration, expected calibration error.

These say nothing of ranking. ``docs/metrics.md`` has the formulas and their sources. NumPy only: the gate runs where
SciPy is not installed.
"""

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from train.metrics.ranking import FloatArray

ECE_BINS = 15
# Log-odds of 0 and 1 are infinite; a float32 score next to 1 is 6e-8 away from it.
CLIP = 1e-7


class ReliabilityBin(TypedDict):
    """One bin of a reliability diagram; ``rate`` is the share of positives in it."""

    low: float
    high: float
    weight: float
    mean_score: float
    rate: float


def log_odds(scores: npt.ArrayLike) -> FloatArray:
    """Return log(s / (1 − s)) of scores in [0, 1], which are clipped to within 1e-7 of the ends."""
    clipped = np.clip(np.asarray(scores, dtype=np.float64), CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)))


def recalibration(
    truth: FloatArray, odds: FloatArray, weights: FloatArray, start: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Return intercept and slope of the logistic regression of ``truth`` (0/1, (N,)) on the log-odds of the scores.

    Calibrated scores have intercept 0 and slope 1; a slope below 1 says that they are too extreme
    (Cox, Two further applications of a model for binary regression, Biometrika 45, 1958). Maximum likelihood
    by Newton's method; both are NaN where no finite maximum exists: one class only, or classes the scores separate.
    """
    drawn = weights > 0
    positive, negative = odds[drawn & (truth == 1)], odds[drawn & (truth == 0)]
    if not len(positive) or not len(negative) or _separated(positive, negative) or _separated(negative, positive):
        return float("nan"), float("nan")
    rate = float(weights @ truth) / float(weights.sum())
    intercept, slope = start if start is not None else (float(np.log(rate / (1 - rate))), 0.0)
    for _ in range(60):
        fitted = 0.5 * (1 + np.tanh(0.5 * (intercept + slope * odds)))  # the sigmoid, without overflow
        residual = weights * (truth - fitted)
        curvature = weights * fitted * (1 - fitted)
        tilted = curvature * odds
        h00, h01, h11 = float(curvature.sum()), float(tilted.sum()), float(tilted @ odds)
        g0, g1 = float(residual.sum()), float(residual @ odds)
        determinant = h00 * h11 - h01 * h01
        if not determinant > 1e-12 * h00 * h11:  # all scores equal
            break
        steps = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        shrink = min(1.0, 2 / max(abs(step) for step in steps)) if any(steps) else 1.0  # far from the maximum
        intercept, slope = intercept + shrink * steps[0], slope + shrink * steps[1]
        if max(abs(step) for step in steps) < 1e-8:
            return intercept, slope
    return float("nan"), float("nan")


def _separated(upper: FloatArray, lower: FloatArray) -> bool:
    return bool(upper.min() >= lower.max())


def bins_of(scores: npt.ArrayLike, count: int = ECE_BINS) -> npt.NDArray[np.intp]:
    """Return the number of the equally wide bin that each score lies in; 1 lies in the last."""
    return np.minimum((np.asarray(scores) * count).astype(np.intp), count - 1)


def reliability(
    truth: FloatArray, scores: FloatArray, weights: FloatArray, count: int = ECE_BINS
) -> list[ReliabilityBin]:
    """Return the bins of a reliability diagram that hold rows; arrays have shape (N,), NaN truth is left out."""
    known = ~np.isnan(truth)
    truth, scores, weights = truth[known], scores[known], weights[known]
    bins = bins_of(scores, count)
    masses, positives, sums = (
        np.bincount(bins, values, minlength=count) for values in (weights, weights * truth, weights * scores)
    )
    return [
        {
            "low": number / count,
            "high": (number + 1) / count,
            "weight": float(masses[number]),
            "mean_score": float(sums[number] / masses[number]),
            "rate": float(positives[number] / masses[number]),
        }
        for number in np.flatnonzero(masses)
    ]
