"""Are the candidate's scores probabilities? The slope of a logistic recalibration per label."""

import math

import numpy as np
import numpy.typing as npt

from moderation.labels import LABELS
from train.gate.checks import Check
from train.gate.frozen import FrozenData
from train.gate.rules import CalibrationRules
from train.metrics.calibration import reliability
from train.metrics.figures import CALIBRATED
from train.metrics.resampling import Interval, bootstrap

BINS = 10
RESAMPLES = 400
_SLOPE = CALIBRATED.index("calibration_slope")


def calibration_checks(data: FrozenData, scores: npt.NDArray[np.float32], rules: CalibrationRules) -> list[Check]:
    """Return a check per label of the data: the slope must lie in the stated range; the interval is only shown."""
    columns = data.columns(scores)
    slopes = bootstrap(
        lambda weights: [column.calibrated(weights)[_SLOPE] for column in columns], data.weights, RESAMPLES
    )
    return [_slope(label, slope, *rules.slope) for label, slope in zip(data.labels, slopes, strict=True)]


def _slope(label: str, slope: Interval, least: float, most: float) -> Check:
    exists = math.isfinite(slope.value)
    found = f"is {slope.value:.2f} (95 % interval {slope.low:.2f} to {slope.high:.2f})"
    described = found if exists else "does not exist (equal or separated scores)"
    return Check(
        group="calibration",
        name="calibration slope",
        label=label,
        **slope.plain(),
        limit=f"{least:.2f} to {most:.2f}",
        passed=exists and least <= slope.value <= most,
        reason=f"{label}: calibration slope {described}, expected {least:.2f} to {most:.2f}",
    )


def reliability_points(data: FrozenData, scores: npt.NDArray[np.float32]) -> dict[str, list[tuple[float, float]]]:
    """Return for each label of the data mean score and share of positives of the bins of equal width that hold rows."""
    return {
        label: [
            (found["mean_score"], found["rate"])
            for found in reliability(data.truth[:, k], scores[:, k].astype(np.float64), data.weights, BINS)
        ]
        for label, k in zip(data.labels, map(LABELS.index, data.labels), strict=True)
    }
