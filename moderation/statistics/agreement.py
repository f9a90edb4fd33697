"""How far reviewers agree, and what they say together.

Says nothing of whether the guidelines they agree on are good.
"""

from dataclasses import dataclass

import numpy as np

from moderation.errors import InvalidInputError
from moderation.statistics.sample import Estimate, FloatArray

FEWEST_ITEMS = 5


@dataclass(frozen=True)
class Consensus:
    """What reviewers say together.

    ``probabilities`` (N,) that an item is positive, NaN where nobody labelled it; ``labels`` (N,) are 1, 0 or NaN.
    ``sensitivity`` and ``specificity`` (R,) are the estimated error rates of the reviewers, NaN with the method
    ``majority``, where a tie has the probability 0.5 and no label.
    """

    probabilities: FloatArray
    labels: FloatArray
    sensitivity: FloatArray
    specificity: FloatArray
    method: str


def krippendorff_alpha(labels: FloatArray) -> float:
    """Return Krippendorff's alpha for nominal data, 1 at full agreement and 0 at chance; NaN where undefined.

    ``labels`` (N, R) holds the label of each item by each reviewer, NaN where there is none. Items with one label say
    nothing. Undefined: no item with two labels, or one label only. Krippendorff, *Content Analysis*, 2nd ed., 2004,
    section 11.3.
    """
    positive, count = _pairable(labels)
    return float(_alpha(positive, count, np.ones((1, len(count))))[0])


def agreement(labels: FloatArray, resamples: int = 1000, seed: int = 0) -> Estimate:
    """Return Krippendorff's alpha with a bootstrap interval over items (percentiles); ``reviews`` counts labels.

    The same seed gives the same interval. Resamples in which alpha is undefined (all labels equal) are left out.
    """
    positive, count = _pairable(labels)
    value = float(_alpha(positive, count, np.ones((1, len(count))))[0])
    reviews = int(count.sum())
    if len(count) < FEWEST_ITEMS:
        return Estimate.refused(f"{len(count)} items have two labels; {FEWEST_ITEMS} are needed", reviews)
    if np.isnan(value):
        return Estimate.refused("all labels are the same, so chance agreement cannot be told from agreement", reviews)
    # Items with the same counts are alike: how often each kind is drawn is all that matters, and there are few kinds.
    kinds, number = np.unique(np.column_stack((positive, count)), axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(len(count), number / len(count), size=resamples).astype(np.float64)
    low, high = np.nanquantile(_alpha(kinds[:, 0], kinds[:, 1], weights), (0.025, 0.975))
    return Estimate(value, min(float(low), value), max(float(high), value), reviews)


def consensus(labels: FloatArray, most_steps: int = 200) -> Consensus:
    """Return the consensus of ``labels`` (N, R; 1, 0 or NaN) by the EM algorithm of Dawid and Skene (1979).

    Every reviewer has a sensitivity and a specificity of their own, estimated along with the items' labels, with two
    pseudo-counts of 4 right and 1 wrong, so that one who labelled little is believed to be mostly right. It needs
    overlap: with fewer than 20 items that two reviewers labelled, the majority is returned instead, and says so.

    Raises:
        InvalidInputError: a label that is not 0, 1 or NaN.
    """
    known = ~np.isnan(labels)
    if not np.all(np.isin(labels[known], (0, 1))):
        raise InvalidInputError("consensus: labels are expected to be 0, 1 or NaN")
    yes, count = np.where(known, labels, 0.0), known.sum(axis=1)
    with np.errstate(invalid="ignore"):
        share = np.where(count > 0, yes.sum(axis=1) / count, np.nan)
    nobody = np.full(labels.shape[1], np.nan)
    if (count >= 2).sum() < 20:
        return Consensus(share, np.where(share == 0.5, np.nan, np.round(share)), nobody, nobody, "majority")
    no, belief = known - yes, np.nan_to_num(share)
    for _ in range(most_steps):
        present, absent = belief[count > 0], 1 - belief[count > 0]
        right = (4 + belief @ yes) / (5 + belief @ known)
        passed = (4 + (1 - belief) @ no) / (5 + (1 - belief) @ known)
        odds = np.log((present.sum() + 0.5) / (absent.sum() + 0.5))
        odds = odds + yes @ np.log(right / (1 - passed)) + no @ np.log((1 - right) / passed)
        updated = np.where(count > 0, 0.5 * (1 + np.tanh(odds / 2)), 0.0)
        moved, belief = np.abs(updated - belief).max(), updated
        if moved < 1e-8:
            break
    belief = np.where(count > 0, belief, np.nan)
    return Consensus(belief, np.where(count > 0, belief >= 0.5, np.nan), right, passed, "dawid-skene")


def agreement_with_others(labels: FloatArray, together: Consensus, reviewer: int) -> Estimate:
    """Return how far one of ``labels`` (N, R) agrees with the `consensus` of the others, as `agreement` does.

    What the reviewer said is taken out of the consensus first: with it, everybody agrees with everybody a little.
    """
    own, known = labels[:, reviewer], ~np.isnan(labels)
    if together.method == "majority":
        rest = np.where(np.arange(labels.shape[1]) == reviewer, np.nan, labels)
        count = (~np.isnan(rest)).sum(axis=1)
        lead = 2 * np.nansum(rest, axis=1) - count
    else:
        count = known.sum(axis=1) - known[:, reviewer]
        right, passed = together.sensitivity[reviewer], together.specificity[reviewer]
        said = np.where(own == 1, np.log(right / (1 - passed)), np.log((1 - right) / passed))
        with np.errstate(divide="ignore"):
            odds = np.log(together.probabilities) - np.log1p(-together.probabilities)
        lead = odds - np.where(known[:, reviewer], said, 0)
    others = np.where((count == 0) | (lead == 0), np.nan, lead > 0)
    return agreement(np.column_stack((own, others)))


def _pairable(labels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return, of items with at least two labels, how many say yes and how many there are."""
    count = (~np.isnan(labels)).sum(axis=1).astype(np.float64)
    kept = count >= 2
    return np.nansum(labels[kept], axis=1), count[kept]


def _alpha(positive: FloatArray, count: FloatArray, weights: FloatArray) -> FloatArray:
    """Return alpha for every way (S, N) of weighting N items; NaN where it is undefined."""
    total, yes = weights @ count, weights @ positive
    observed = weights @ (positive * (count - positive) / (count - 1))
    expected = yes * (total - yes)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(expected == 0, np.nan, 1 - (total - 1) * observed / expected))
