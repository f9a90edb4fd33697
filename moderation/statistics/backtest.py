"""What another version or other thresholds would have done on logged traffic, from stored scores.

Decisions and volumes are exact for the logged sample; precision and recall come from reviews, of other thresholds by
`label_quality`, of another version by `moderation.statistics.candidate`. Users' reactions to other decisions are not
simulated.
"""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from moderation.errors import InvalidInputError
from moderation.policy import DECISIONS, Policy
from moderation.statistics.sample import BoolArray, Estimate, FloatArray, IntArray

_NO_VARIANCE = 1e-12


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


def transitions(before: IntArray, after: IntArray, weights: FloatArray | None = None) -> FloatArray:
    """Return how many predictions go from decision i to j (D, D), in the order of ``DECISIONS``.

    ``weights`` (N,) say how many predictions each row stands for; None: one.

    Raises:
        InvalidInputError: no decisions, or arrays of different lengths.
    """
    weights = np.ones(len(before)) if weights is None else weights
    if not len(before) == len(after) == len(weights) or not len(before):
        raise InvalidInputError(f"back-test: {len(before)} decisions before and {len(after)} after; expected as many")
    count = len(DECISIONS)
    table = np.bincount(before * count + after, weights, minlength=count * count).reshape(count, count)
    return np.asarray(table, dtype=np.float64)


def weighted_share(hits: BoolArray, weights: FloatArray, strata: IntArray) -> Estimate:
    """Return the share of the population that ``hits`` (N,) stand for, with its 95 % interval.

    Rows were drawn at random within ``strata`` (N,), each for ``weights`` (N,) of the population. The interval is
    Wilson's for as many draws as would vary as much (Korn and Graubard, Survey Methodology 24, 1998, section 2).

    Raises:
        InvalidInputError: no rows.
    """
    if not len(hits):
        raise InvalidInputError("back-test: a share of no rows")
    total = float(weights.sum())
    share, variance, likely = float(weights @ hits / total), 0.0, 0.0
    for stratum in np.unique(strata):
        rows = strata == stratum
        drawn, size = int(rows.sum()), float(weights[rows].sum())
        # With one hit and one miss more: a stratum without hits is not one without doubt.
        inside = (float(hits[rows].sum()) + 1) / (drawn + 2)
        likely += size / total * inside
        variance += (size / total) ** 2 * max(0.0, 1 - drawn / size) * inside * (1 - inside) / drawn
    if variance < _NO_VARIANCE:  # everything was drawn
        return Estimate(share, share, share, len(hits))
    z2 = NormalDist().inv_cdf(0.975) ** 2 * variance / (likely * (1 - likely))
    middle, half = share + z2 / 2, (z2 * share * (1 - share) + z2**2 / 4) ** 0.5
    return Estimate(share, max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2)), len(hits))


def threshold_for_volume(
    scores: FloatArray, most: float, predictions_per_day: float, weights: FloatArray | None = None
) -> float:
    """Return the lowest threshold by which at most ``most`` predictions a day are positive, by the logged scores (N,).

    ``weights`` (N,) say how many predictions each row stands for; None: all as many. Equal scores go together. One
    that no logged score reaches is answered with the next float above the highest.

    Raises:
        InvalidInputError: no scores, or numbers below 0.
    """
    if not len(scores) or most < 0 or predictions_per_day <= 0:
        raise InvalidInputError(
            f"back-test: {len(scores)} scores, at most {most} of {predictions_per_day} a day; expected more than 0"
        )
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    caused = np.cumsum(weights[order]) * (predictions_per_day / weights.sum())
    return _lowest(scores[order], np.asarray(caused, dtype=np.float64), most)


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
    scores: Mapping[str, FloatArray],
    start: Mapping[str, float],
    most: float,
    predictions_per_day: float,
    weights: FloatArray | None = None,
) -> dict[str, float]:
    """Return thresholds of all labels by which at most ``most`` comments a day reach any of them.

    One factor moves the odds of all of ``start``, the lowest that keeps to the budget: labels keep their places to
    each other, and the answer is exact over the logged scores (N,) because a comment is reached at the factor of
    its most extreme label.
    """
    odds = np.max([_odds(scores[label]) / _odds(np.array([start[label]])) for label in start], axis=0)
    factor = threshold_for_volume(odds, most, predictions_per_day, weights)
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
