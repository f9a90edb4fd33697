"""Live quality per label: figures with 95 % intervals from the designed sample, or why there is none.

Knows nothing of traffic that was never drawn from (texts not stored), of errors that reviewers share with the golden
items' makers, or of non-response that depends on the truth itself. docs/statistics.md has the method.
"""

from dataclasses import dataclass, fields

import numpy as np

from moderation.statistics.rates import Cells, Rates, cells_of, posterior_rates
from moderation.statistics.sample import (
    BoolArray,
    Estimate,
    FloatArray,
    GoldenCounts,
    IntArray,
    Population,
    Sample,
)

MISSED = 5
"""Missed positives that the reviews are expected to hold before recall is answered."""
FEWEST = 5
"""Reviews below which nothing is answered."""
UNSEEN = 0.01
"""Share of the predictions concerned that may lie in strata without a single review."""
UNKNOWN_PART = 0.05
"""Share of a candidate's predicted class in a stratum from which on `FEWEST` reviews of it there are needed."""
FEWEST_BINS = 10
CREDIBLE = 0.99
"""Share of the posterior in an interval: what covers 95 % of simulated days, wrong scores and real ones among them."""


@dataclass(frozen=True)
class LabelQuality:
    """All figures of one label. ``corrected`` says whether reviewers' errors were corrected by golden items."""

    accuracy: Estimate
    precision: Estimate
    recall: Estimate
    false_positive_rate: Estimate
    prevalence: Estimate
    f1: Estimate
    auc: Estimate
    corrected: bool


def label_quality(
    sample: Sample, population: Population, golden: GoldenCounts | None = None, seed: int = 0
) -> LabelQuality:
    """Return the figures of one label; the same seed gives the same intervals."""
    cells = cells_of(sample, population)
    informative = np.array([name in population.informative for name in population.names], dtype=np.float64)
    rates = posterior_rates(cells, informative[cells.stratum], golden, seed)
    yes = cells.predicted == 1
    hits, misses = rates.positives[:, yes].sum(axis=1), rates.positives[:, ~yes].sum(axis=1)
    said, total = cells.sizes[:, yes].sum(axis=1), cells.sizes.sum(axis=1)
    present = hits + misses
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = {
            "accuracy": 1 - (said - hits + misses) / total,
            "precision": hits / said,
            "recall": hits / present,
            "false_positive_rate": (said - hits) / (total - present),
            "prevalence": present / total,
            "f1": 2 * hits / (said + present),
            "auc": _auc(rates),
        }
    reasons = _refusals(cells, rates, population)
    reviews, of_said = int(cells.reviewed.sum()), int(cells.reviewed[yes].sum())
    found = {
        name: _estimate(values, reasons[name], of_said if name == "precision" else reviews)
        for name, values in draws.items()
    }
    return LabelQuality(**found, corrected=golden is not None)


def refused(reason: str) -> LabelQuality:
    """Return the figures of a label of which nothing can be known."""
    names = (each.name for each in fields(LabelQuality) if each.name != "corrected")
    return LabelQuality(**{name: Estimate.refused(reason) for name in names}, corrected=False)


def exact_match(
    strata: IntArray,
    probabilities: FloatArray,
    scores: FloatArray,
    predicted: BoolArray,
    labels: FloatArray,
) -> Sample:
    """Return the sample in which an item is positive if all its predictions are right.

    ``scores``, ``predicted`` and ``labels`` have shape (N, K). An item's score is the probability that all K are right
    by the calibrated scores, as if labels were independent; give its population the same (`chance_of_match`). Its
    prevalence is the exact-match accuracy. Golden counts are of the same event: the verdict equals the prediction.
    """
    right = np.where(np.isnan(labels).any(axis=1), np.nan, ((labels == 1) == predicted).all(axis=1))
    chance = chance_of_match(scores, predicted)
    return Sample(strata, probabilities, chance, np.ones(len(chance), dtype=np.bool_), right.astype(np.float64))


def chance_of_match(scores: FloatArray, predicted: BoolArray) -> FloatArray:
    """Return the probability (N,) that all predictions (N, K) are right, from calibrated scores (N, K)."""
    return np.asarray(np.where(predicted, scores, 1 - scores).prod(axis=1))


def _estimate(draws: FloatArray, refusal: str | None, reviews: int) -> Estimate:
    if refusal is not None:
        return Estimate.refused(refusal, reviews)
    low, high = _shortest(draws[np.isfinite(draws)])
    return Estimate(float(np.nanmedian(draws)), low, high, reviews)


def _shortest(draws: FloatArray) -> tuple[float, float]:
    """Return the shortest interval that holds `CREDIBLE` of the draws.

    Near 0 and 1, where posteriors are skewed, it covers better than equal tails (Chen and Shao 1999).
    """
    ordered = np.sort(draws)
    inside = int(np.ceil(CREDIBLE * len(ordered)))
    widths = ordered[inside - 1 :] - ordered[: len(ordered) - inside + 1]
    first = int(np.argmin(widths))
    return float(ordered[first]), float(ordered[first + inside - 1])


def _auc(rates: Rates) -> FloatArray:
    """Return draws (S,) of the AUC over score bins; equal bins count as ties."""
    cells, count = rates.cells, int(rates.cells.bin.max()) + 1
    member = (cells.bin[:, None] == np.arange(count)).astype(np.float64)
    positive = rates.positives @ member
    negative = (cells.sizes - rates.positives) @ member
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.asarray((positive * (below + negative / 2)).sum(axis=1) / pairs)


def _refusals(cells: Cells, rates: Rates, population: Population) -> dict[str, str | None]:
    yes = cells.predicted == 1
    missed, positive = _expected(cells, rates, ~yes), _expected(cells, rates, np.ones(len(yes), dtype=np.bool_))
    everywhere = _unseen(cells, np.ones(len(yes), dtype=np.bool_), population)
    among_said = _unseen(cells, yes, population) or _unknown_part(cells, yes, population)
    recall = everywhere
    if recall is None and missed < MISSED:
        recall = f"{missed:.1f} missed positives can be expected among the reviews; {MISSED} are needed"
    auc = everywhere
    if auc is None and positive < MISSED:
        auc = f"{positive:.1f} positives can be expected among the reviews; {MISSED} are needed"
    if auc is None and len(population.edges) - 1 < FEWEST_BINS:
        auc = f"the population is counted in {len(population.edges) - 1} score bins; {FEWEST_BINS} are needed"
    return {
        "accuracy": everywhere,
        "precision": among_said,
        "recall": recall,
        "false_positive_rate": everywhere,
        "prevalence": everywhere,
        "f1": recall,
        "auc": auc,
    }


def _expected(cells: Cells, rates: Rates, concerned: BoolArray) -> float:
    """Return how many positives the reviews of these cells can be expected to hold.

    Either by the scores, or at least that many (97.5 %) by the reviews. The plain mean of the posterior would answer on
    those days on which chance found many, and the intervals of such days hold the truth less often.
    """
    reviewed = cells.reviewed[concerned]
    by_scores = float(reviewed @ (1 / (1 + np.exp(-cells.odds[concerned]))))
    by_reviews = float(np.quantile(rates.rates[:, concerned] @ reviewed, 0.025))
    return max(by_scores, by_reviews)


def _unknown_part(cells: Cells, yes: BoolArray, population: Population) -> str | None:
    """Say which stratum holds much of a candidate's predicted class and no review of it; None if there is none.

    Production's own predicted class was looked at in every stratum, as the strata follow from it.
    """
    if population.draws is None:
        return None
    strata = len(population.names)
    sizes, reviews = (np.bincount(cells.stratum[yes], of[yes], strata) for of in (cells.size, cells.reviewed))
    missing = (sizes > UNKNOWN_PART * sizes.sum()) & (reviews < FEWEST)
    if not missing.any():
        return None
    names = ", ".join(name for name, none in zip(population.names, missing, strict=True) if none)
    return (
        f"about {sizes[missing].sum() / sizes.sum():.0%} of what would be predicted lies in the stratum {names}, where "
        "too few of such texts were reviewed; a candidate in shadow gets its disagreements reviewed"
    )


def _unseen(cells: Cells, concerned: BoolArray, population: Population) -> str | None:
    """Say why nothing can be known of the concerned cells; None if something can."""
    size, reviewed = cells.size[concerned], cells.reviewed[concerned]
    if not size.sum():
        return "nothing was predicted"
    if reviewed.sum() < FEWEST:
        return f"{int(reviewed.sum())} reviews; {FEWEST} are needed"
    reviews_of = np.bincount(cells.stratum, cells.reviewed, minlength=len(population.names))
    sizes = np.bincount(cells.stratum[concerned], size, minlength=len(population.names))
    empty = (reviews_of == 0) & (sizes > 0)
    if sizes[empty].sum() > UNSEEN * size.sum():
        names = ", ".join(name for name, none in zip(population.names, empty, strict=True) if none)
        share = sizes[empty].sum() / size.sum()
        return f"no reviews in the stratum {names}, which holds {share:.0%} of the predictions"
    return None
