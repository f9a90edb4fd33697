"""What another version or other thresholds would have done on logged traffic, from stored scores.

Decisions and volumes are exact for the logged sample; precision and recall come from its reviews (`label_quality`), so
they need reviewed items that were scored by the candidate too. Users' reactions to other decisions are not simulated.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moderation.errors import InvalidInputError
from moderation.policy import DECISIONS, Policy
from moderation.statistics.live_quality import LabelQuality, label_quality
from moderation.statistics.sample import BoolArray, FloatArray, GoldenCounts, IntArray, Sample, count_population


@dataclass(frozen=True)
class Changes:
    """How many go from decision i to j (``decisions[i, j]``, order of ``DECISIONS``), and what a day then brings."""

    decisions: IntArray
    changed: int
    reviews_per_day: float
    removals_per_day: float


@dataclass(frozen=True)
class Reviewed:
    """Which rows of a logged sample were drawn for review (M,), and what came of it for one label.

    ``rows`` indexes the logged sample; ``labels`` is 1, 0 or NaN; ``golden`` says how often reviewers err, if known.
    """

    rows: IntArray
    probabilities: FloatArray
    labels: FloatArray
    golden: GoldenCounts | None = None


def decide(scores: FloatArray, truncated: BoolArray, labels: tuple[str, ...], policy: Policy) -> IntArray:
    """Return the place in ``DECISIONS`` of every row's decision, as `Policy.decide` says.

    ``scores`` is (N, K), ``truncated`` (N,).
    """
    decided = np.zeros(len(scores), dtype=np.int64)
    for place, name in enumerate(DECISIONS[1:], start=1):
        limits = [getattr(policy.thresholds[label], name) for label in labels]
        reached = (scores >= np.array([np.inf if limit is None else limit for limit in limits])).any(axis=1)
        decided[reached] = place
    if policy.reviews_truncated:
        decided[truncated & (decided == DECISIONS.index("allow"))] = DECISIONS.index("review")
    return decided


def changes(before: IntArray, after: IntArray, predictions_per_day: float) -> Changes:
    """Return how decisions (N,) change, and what the new ones cause at ``predictions_per_day``.

    Raises:
        InvalidInputError: no decisions, or arrays of different lengths.
    """
    if len(before) != len(after) or not len(before):
        raise InvalidInputError(f"back-test: {len(before)} decisions before and {len(after)} after; expected as many")
    count = len(DECISIONS)
    table = np.bincount(before * count + after, minlength=count * count).reshape(count, count)
    per_row = predictions_per_day / len(after)
    return Changes(
        table.astype(np.int64),
        int(len(after) - np.trace(table)),
        float((after == DECISIONS.index("review")).sum() * per_row),
        float((after == DECISIONS.index("remove")).sum() * per_row),
    )


def quality(
    names: tuple[str, ...],
    strata: IntArray,
    scores: FloatArray,
    threshold: float,
    reviewed: Reviewed,
    informative: frozenset[str] = frozenset(),
    seed: int = 0,
) -> LabelQuality:
    """Return one label's figures, had ``scores`` (N,) and ``threshold`` been in force on the logged sample.

    ``strata`` (N,) indexes ``names`` and is that of the draw: it stays what it was, whatever the candidate says.
    """
    predicted = scores >= threshold
    rows = reviewed.rows
    sample = Sample(strata[rows], reviewed.probabilities, scores[rows], predicted[rows], reviewed.labels)
    return label_quality(sample, count_population(names, strata, scores, predicted, informative), reviewed.golden, seed)


def threshold_for_volume(scores: FloatArray, most: float, predictions_per_day: float) -> float:
    """Return the lowest threshold by which at most ``most`` predictions a day are positive, by the logged scores (N,).

    Equal scores go together. One that no logged score reaches is answered with the next float above the highest.

    Raises:
        InvalidInputError: no scores, or numbers below 0.
    """
    if not len(scores) or most < 0 or predictions_per_day <= 0:
        raise InvalidInputError(
            f"back-test: {len(scores)} scores, at most {most} of {predictions_per_day} a day; expected more than 0"
        )
    caused = np.arange(1, len(scores) + 1, dtype=np.float64) * (predictions_per_day / len(scores))
    return _lowest(np.sort(scores)[::-1], caused, most)


def threshold_for_false_positives(scores: FloatArray, negative: FloatArray, most: float) -> float:
    """Return the lowest threshold at which at most the share ``most`` of negatives are called positive.

    ``negative`` (N,) is how much of a negative each row stands for: its weight if it is known to be one, or
    1 − score of a calibrated score. Equal scores go together.

    Raises:
        InvalidInputError: no negatives, or a share outside [0, 1].
    """
    total = float(negative.sum())
    if not 0 <= most <= 1 or total <= 0:
        raise InvalidInputError(
            f"back-test: a share of {most} of {total:g} negatives; expected a share in [0, 1] of some"
        )
    order = np.argsort(-scores, kind="stable")
    return _lowest(scores[order], np.asarray(np.cumsum(negative[order]) / total, dtype=np.float64), most)


def thresholds_for_reviews(
    scores: Mapping[str, FloatArray], start: Mapping[str, float], most: float, predictions_per_day: float
) -> dict[str, float]:
    """Return thresholds of all labels by which at most ``most`` comments a day reach any of them.

    One factor moves the odds of all of ``start``, the lowest that keeps to the budget: labels keep their places to
    each other, and the answer is exact over the logged scores (N,) because a comment is reached at the factor of
    its most extreme label.
    """
    odds = np.max([_odds(scores[label]) / _odds(np.array([start[label]])) for label in start], axis=0)
    factor = threshold_for_volume(odds, most, predictions_per_day)
    moved = {label: factor * float(_odds(np.array([start[label]]))[0]) for label in start}
    return {label: value / (1 + value) for label, value in moved.items()}


def _lowest(falling: FloatArray, caused: FloatArray, most: float) -> float:
    """Return the lowest of the falling scores whose ``caused``, at the end of its ties, is at most ``most``."""
    ends: BoolArray = np.append(falling[1:] < falling[:-1], True)
    allowed = np.flatnonzero(ends & (caused <= most * (1 + 1e-12)))
    if not len(allowed):
        return float(np.nextafter(falling[0], np.inf))
    return float(falling[allowed[-1]])


def _odds(scores: FloatArray) -> FloatArray:
    inside = np.clip(scores, 1e-12, 1 - 1e-12)
    return np.asarray(inside / (1 - inside))
