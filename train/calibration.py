"""Logits to probabilities: Platt or isotonic calibration per label, whichever is better out of sample.

Both keep the order of the logits, so no ranking figure changes. Fitted on the validation split at the real prevalence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from moderation.bundle import Calibration, IsotonicCalibration, PlattCalibration
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.scoring.scorer import to_scores
from train.metrics.ranking import FloatArray, hard

FOLDS = 5
# Fewer positives than these cannot tell the two apart, nor say where a step of an isotonic fit lies.
MINIMUM_POSITIVES = 20


@dataclass(frozen=True)
class FittedCalibration:
    """A label's calibration, and the out-of-sample Brier score of each method that was compared."""

    calibration: Calibration
    brier: dict[str, float]


def fit_calibrations(rows: pd.DataFrame, logits: npt.ArrayLike) -> list[FittedCalibration]:
    """Return the calibration of each label; ``rows`` have the labels and ``weight``, ``logits`` shape (N, K).

    A label that no row states keeps the sigmoid of its logit.

    Raises:
        InvalidInputError: a label without a known positive or negative row, or ranked worse than chance.
    """
    logits, weights = np.asarray(logits, dtype=np.float64), rows["weight"].to_numpy(dtype=np.float64)
    fitted = []
    for k, label in enumerate(LABELS):
        truth = hard(rows[label])
        known = ~np.isnan(truth)
        if not known.any():
            fitted.append(FittedCalibration(uncalibrated(1)[0], {}))
            continue
        if not 0 < truth[known].sum() < known.sum():
            raise InvalidInputError(f"{label}: the rows to calibrate on need a positive and a negative one")
        try:
            fitted.append(fit_calibration(truth[known], logits[known, k], weights[known]))
        except InvalidInputError as error:
            raise InvalidInputError(f"{label}: {error}") from error
    return fitted


def fit_calibration(truth: FloatArray, logits: FloatArray, weights: FloatArray) -> FittedCalibration:
    """Return the better of Platt and isotonic by five-fold cross-validated Brier score; arrays have shape (N,).

    The Brier score, because it is proper and bounded: the log loss of a step function can be infinite. With fewer than
    `MINIMUM_POSITIVES` rows of either class nothing is compared, and Platt is taken.

    Raises:
        InvalidInputError: the logits rise as the label disappears.
    """
    platt = fit_platt(truth, logits, weights)
    if min(truth.sum(), (1 - truth).sum()) < MINIMUM_POSITIVES:
        return FittedCalibration(platt, {})
    out_of_sample = {"platt": np.empty(len(truth)), "isotonic": np.empty(len(truth))}
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(logits[:, None], truth):
        part = truth[train], logits[train], weights[train]
        for fitted in (fit_platt(*part), fit_isotonic(*part)):
            out_of_sample[fitted.method][test] = _apply(fitted, logits[test])
    brier = {
        method: float(np.average((truth - scores) ** 2, weights=weights)) for method, scores in out_of_sample.items()
    }
    better = brier["isotonic"] < brier["platt"]
    return FittedCalibration(fit_isotonic(truth, logits, weights) if better else platt, brier)


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


def fit_isotonic(truth: FloatArray, logits: FloatArray, weights: FloatArray) -> IsotonicCalibration:
    """Return the centred isotonic regression of ``truth`` (0/1) on the logits, both of shape (N,).

    Isotonic regression alone is a step function: it ties all rows of a step, which costs ranking. Here each step is
    one knot, at the weighted mean of its logits, so that the line through the knots rises everywhere (Oron and
    Flournoy, Centered Isotonic Regression, Statistics in Biopharmaceutical Research 9, 2017); ours is straight in
    log-odds. Rates of 0 and 1 at the ends, which have no log-odds, are moved in by half a row.
    """
    steps = IsotonicRegression().fit_transform(logits, truth, sample_weight=weights)
    # Steps of the same rate can differ in the last bit, where weights are no whole numbers; their log-odds would not.
    rates, step = np.unique(np.round(steps, 12), return_inverse=True)
    masses = np.bincount(step, weights)
    centres = np.bincount(step, weights * logits) / masses
    low, high = 0.5 / (masses[0] + 1), 1 - 0.5 / (masses[-1] + 1)
    if rates[0] <= 0:
        rates[0] = min(low, rates[1] / 2) if len(rates) > 1 else low
    if rates[-1] >= 1:
        rates[-1] = max(high, (1 + rates[-2]) / 2) if len(rates) > 1 else high
    return IsotonicCalibration(logits=centres.tolist(), log_odds=logit(rates).tolist())


def _apply(calibration: Calibration, logits: FloatArray) -> FloatArray:
    return to_scores(logits[:, None].astype(np.float32), [calibration])[:, 0].astype(np.float64)


def uncalibrated(count: int = len(LABELS)) -> Sequence[Calibration]:
    """Return calibrations that leave the sigmoid of each logit as it is: the state before calibration."""
    return [PlattCalibration(scale=1.0, offset=0.0)] * count
