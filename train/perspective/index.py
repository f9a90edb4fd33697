"""Fits an attribute's index: a logistic regression of Perspective's score on our scores and on the words.

Perspective's score is the target, a share between 0 and 1, as in a regression on soft labels. A threshold of 0.8 lies
where few comments are; so the logarithm of the complement stands beside that of the score, which tells a high score
from the highest (measured, docs/EXPERIMENTS.md).
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from moderation.labels import LABELS
from moderation.perspective_scale import CLIPPED, AttributeIndex
from train.perspective.curve import fit_curve

FloatArray = npt.NDArray[np.float64]
LEAST_OWN = 0.02
"""Of the weight of ln p of the attribute's own label: it rises with it, however little. The words move it more."""
WHOLES = ("toxic", "severe_toxic")
"""All labels are kinds of these, so none counts against them; an insult may count against an IDENTITY_ATTACK."""
PENALTY = 1.0
"""Half of it times the sum of the squared weights of standardised columns is added to the loss (N rows, summed)."""


def fit_index(
    label: str, scores: FloatArray, words: FloatArray, targets: FloatArray, folds: npt.NDArray[np.int64]
) -> AttributeIndex:
    """Return the index of ``label`` and its map, from N comments.

    ``scores`` (N, K) are our calibrated ones, ``words`` (N,) what the words say, ``targets`` (N,) Perspective's scores
    in [0, 1]. The map is fitted on values of the index that was fitted on the other ``folds`` (N,).

    Raises:
        InvalidInputError: as `train.perspective.curve.fit_curve`.
    """
    own, count = LABELS.index(label), len(LABELS)
    columns = _columns(scores, words)
    centre, spread = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-9)
    standard = (columns - centre) / spread
    least = np.zeros(columns.shape[1])  # -ln(1 - p) is large only where a score is high: nothing may fall there
    least[:count] = 0.0 if label in WHOLES else -np.inf
    least[own] = LEAST_OWN * spread[own]
    values = np.empty(len(targets))
    for fold in np.unique(folds):
        held = folds == fold
        weights, intercept = _regression(standard[~held], targets[~held], least)
        values[held] = expit(standard[held] @ weights + intercept)
    weights, intercept = _regression(standard, targets, least)
    weights = weights / spread
    return AttributeIndex(
        intercept=float(intercept - weights @ centre),
        log_scores=dict(zip(LABELS, weights[:count].tolist(), strict=True)),
        log_complements=dict(zip(LABELS, weights[count : 2 * count].tolist(), strict=True)),
        words=float(weights[-1]),
        scale=fit_curve(values, targets),
    )


def _columns(scores: FloatArray, words: FloatArray) -> FloatArray:
    clipped = np.clip(scores, CLIPPED, 1 - CLIPPED)
    return np.column_stack([np.log(clipped), -np.log1p(-clipped), words])


def _regression(rows: FloatArray, targets: FloatArray, least: FloatArray) -> tuple[FloatArray, float]:
    """Return the weights (D,), not below ``least`` (D,), and the intercept that make the cross-entropy least."""

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        weights, intercept = parameters[:-1], parameters[-1]
        logits = rows @ weights + intercept
        errors = expit(logits) - targets
        value = float(np.sum(np.logaddexp(0, logits) - targets * logits) + PENALTY / 2 * weights @ weights)
        return value, np.append(rows.T @ errors + PENALTY * weights, errors.sum())

    bounds = [*((each, np.inf) for each in least), (-np.inf, np.inf)]
    found = minimize(loss, np.zeros(rows.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:-1], float(found[-1])
