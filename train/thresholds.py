"""A threshold per label, chosen on scored rows at the real prevalence: by F1, or within a budget.

What is chosen on the validation split holds for rows like those; `train.evaluation` says what it is worth on others.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from train.config import AtLeastRule, AtMostRule, F1Rule, ThresholdConfig
from train.metrics.ranking import FloatArray, Ranking, hard

Rule = F1Rule | AtLeastRule | AtMostRule
UNKNOWN = 0.5
"""The threshold of a label that no row states: the score is then a guess at a probability, and so is this."""


@dataclass(frozen=True)
class _Candidates:
    """Every way to cut the ranked rows in two, from few predicted rows to all; arrays of one shape."""

    thresholds: FloatArray
    precision: FloatArray
    recall: FloatArray
    false_positive_rate: FloatArray
    f1: FloatArray


def choose_thresholds(rows: pd.DataFrame, scores: npt.ArrayLike, config: ThresholdConfig) -> dict[str, float]:
    """Return each label's threshold in [0, 1]; ``rows`` have the labels and ``weight``, ``scores`` shape (N, K).

    A label that no row states gets `UNKNOWN`, unless its rule is a budget.

    Raises:
        InvalidInputError: a label without a known positive or negative row, or a budget that no threshold meets.
    """
    scores, weights = np.asarray(scores, dtype=np.float64), rows["weight"].to_numpy(dtype=np.float64)
    return {
        label: UNKNOWN
        if rows[label].isna().all() and isinstance(config.rule(label), F1Rule)
        else choose_threshold(rows[label], scores[:, k], weights, config.rule(label), label)
        for k, label in enumerate(LABELS)
    }


def choose_threshold(
    labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike, rule: Rule, name: str = "label"
) -> float:
    """Return the score, half-way between two that occur, from which to predict the label; arrays have shape (N,).

    By F1, the highest; within a precision or false-positive budget, the one with the highest recall; within a
    recall budget, the one with the highest precision. Of equals, the highest threshold.

    Raises:
        InvalidInputError: no known positive or negative row, or a budget that no threshold meets.
    """
    found = _candidates(labels, scores, weights, name)
    if isinstance(rule, F1Rule):
        return float(found.thresholds[np.argmax(found.f1)])
    measured: FloatArray = getattr(found, rule.rule)
    if isinstance(rule, AtLeastRule):
        allowed, best, wanted = measured >= rule.at_least, measured.max(), f"at least {rule.at_least:g}"
    else:
        allowed, best, wanted = measured <= rule.at_most, measured.min(), f"at most {rule.at_most:g}"
    if not allowed.any():
        reached = found.recall[measured == best].max()
        raise InvalidInputError(
            f"{name}: no threshold has a {rule.rule.replace('_', ' ')} of {wanted}; "
            f"the best is {best:.4f}, at a recall of {reached:.4f}"
        )
    aim = found.precision if rule.rule == "recall" else found.recall
    return float(found.thresholds[np.argmax(np.where(allowed, aim, -1.0))])


def _candidates(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike, name: str) -> _Candidates:
    ranking = Ranking(hard(labels), scores)
    positive, negative = ranking.counts(weights)
    if not len(positive) or positive[-1] <= 0 or negative[-1] <= 0:
        raise InvalidInputError(f"{name}: the rows to choose a threshold on need a positive and a negative one")
    found = positive + negative
    ranked = ranking.scores
    cut = found > 0  # rows of no weight are no prediction
    arrays = (
        np.append((ranked[:-1] + ranked[1:]) / 2, ranked[-1:]),  # the last one predicts every row
        np.divide(positive, found, out=np.zeros_like(found), where=cut),
        positive / positive[-1],
        negative / negative[-1],
        2 * positive / (found + positive[-1]),
    )
    return _Candidates(*(array[cut] for array in arrays))
