"""Are the candidate's scores probabilities? The slope of a logistic recalibration per label."""

import math

import numpy as np
import numpy.typing as npt

from moderation.labels import LABELS
from train.gate.checks import Check
from train.gate.frozen import FloatArray, FrozenData
from train.gate.rules import CalibrationRules

BINS = 10
_CLIP = 1e-7  # log-odds of 0 and 1 are infinite
_Z = 1.959963984540054


def calibration_checks(data: FrozenData, scores: npt.NDArray[np.float32], rules: CalibrationRules) -> list[Check]:
    """Return a check per label: the slope must lie in the stated range."""
    least, most = rules.slope
    checks = []
    for k, label in enumerate(LABELS):
        known = ~np.isnan(data.truth[:, k])
        slope, error = recalibration_slope(data.truth[known, k], scores[known, k], data.weights[known])
        low, high = slope - _Z * error, slope + _Z * error
        found = f"is {slope:.2f} (95 % interval {low:.2f} to {high:.2f})"
        described = found if math.isfinite(slope) else "does not exist (equal or separated scores)"
        checks.append(
            Check(
                group="calibration",
                name="calibration slope",
                label=label,
                value=slope if math.isfinite(slope) else None,
                low=low if math.isfinite(low) else None,
                high=high if math.isfinite(high) else None,
                limit=f"{least:.2f} to {most:.2f}",
                passed=least <= slope <= most,
                reason=f"{label}: calibration slope {described}, expected {least:.2f} to {most:.2f}",
            )
        )
    return checks


def recalibration_slope(truth: FloatArray, scores: npt.NDArray[np.float32], weights: FloatArray) -> tuple[float, float]:
    """Return the slope of the weighted logistic regression of ``truth`` (0/1) on the scores' log-odds, and its error.

    1 is calibrated, below 1 over-confident (Cox, Biometrika 45, 1958). Newton's method; the standard error is the
    sandwich estimate, which sample weights do not spoil (White, Econometrica 50(1), 1982). Both are NaN where there is
    no finite slope: all scores equal, or classes that the scores separate.
    """
    clipped = np.clip(scores.astype(np.float64), _CLIP, 1 - _CLIP)
    design = np.column_stack([np.ones(len(clipped)), np.log(clipped / (1 - clipped))])
    coefficients = np.array([0.0, 1.0])
    for _ in range(50):
        fitted = 0.5 * (1 + np.tanh(0.5 * design @ coefficients))
        gradient = design.T @ (weights * (truth - fitted))
        curvature = (design * (weights * fitted * (1 - fitted))[:, None]).T @ design
        if not np.linalg.cond(curvature) < 1e12:
            return math.nan, math.nan
        step = np.linalg.solve(curvature, gradient)
        coefficients = coefficients + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-8:
            inverse = np.linalg.inv(curvature)
            meat = (design * ((weights * (truth - fitted)) ** 2)[:, None]).T @ design
            return float(coefficients[1]), float(np.sqrt((inverse @ meat @ inverse)[1, 1]))
    return math.nan, math.nan


def reliability(truth: FloatArray, scores: npt.NDArray[np.float32], weights: FloatArray) -> list[tuple[float, float]]:
    """Return mean score and share of positives of the bins of equal width that hold rows; arrays have shape (N,)."""
    known = ~np.isnan(truth)
    truth, found, weights = truth[known], scores[known].astype(np.float64), weights[known]
    bins = np.minimum((found * BINS).astype(np.intp), BINS - 1)
    mass, hits, sums = (
        np.bincount(bins, values, minlength=BINS) for values in (weights, weights * truth, weights * found)
    )
    return [(float(sums[b] / mass[b]), float(hits[b] / mass[b])) for b in range(BINS) if mass[b] > 0]
