"""Precision and recall of a version that never decided here: reviews of the designed sample under its own scores.

The sample was drawn by what production said, so its strata are informative whatever they are called: among texts to
which a candidate gives the same score, those that production removed are worse than the others. Before any review the
two scores are believed alike, by the mean of their log-odds (a logarithmic opinion pool: Genest and Zidek, *Statistical
Science* 1, 1986), and a stratum's reviews may move its rates far from that. How many predictions
lie in each cell of stratum, candidate's class and score bin is known of the drawn items only, and of a plain random
sample the candidate's share of positives; posterior draws carry that doubt into the intervals.

Counts within a stratum are multinomial with a Dirichlet prior, a sampled stratum's rest predicted from it (Ericson,
*JRSS B* 31, 1969); items drawn with different probabilities count at Kish's effective size. It knows nothing of texts
that the candidate could not score: they are taken to be like the scored ones of their stratum.
"""

from dataclasses import dataclass

import numpy as np

from moderation.statistics.live_quality import LabelQuality, label_quality, refused
from moderation.statistics.rates import DRAWS
from moderation.statistics.sample import (
    SCORE_EDGES,
    FloatArray,
    GoldenCounts,
    IntArray,
    Population,
    Sample,
    bins_of,
)

_BINS = len(SCORE_EDGES) - 1
_PROPOSALS = 4 * DRAWS
_SPLIT = 0.5
"""Jeffreys' prior of a stratum's share of positives, in items of each class: none among 300 is not none at all."""
_ANY = 1e-3
"""Share of the prior that lies in bins where no item was seen."""


@dataclass(frozen=True)
class Rescored:
    """One label: N drawn items that the candidate could score, of strata that hold ``totals`` (H,) predictions.

    ``strata`` indexes ``names``, ``labels`` are 1, 0 or NaN, ``scores`` the candidate's, ``logged`` production's (NaN
    where unknown), all (N,). ``probabilities`` (N,) are those of having been drawn, ``answered`` (N,) the share of what
    was drawn alike that is labelled, in (0, 1]. ``others`` (M,) are the candidate's scores of a plain random sample of
    the same predictions.
    """

    names: tuple[str, ...]
    totals: IntArray
    strata: IntArray
    probabilities: FloatArray
    answered: FloatArray
    scores: FloatArray
    logged: FloatArray
    labels: FloatArray
    others: FloatArray


def candidate_quality(
    items: Rescored, threshold: float, golden: GoldenCounts | None = None, seed: int = 0
) -> LabelQuality:
    """Return the figures, had the candidate's ``threshold`` been in force; the same seed gives the same intervals."""
    if not len(items.scores):
        return refused("no text of the review sample was scored")
    said = items.scores >= threshold
    beliefs = _pooled(items.scores, np.where(np.isnan(items.logged), items.scores, items.logged))
    reviewed = items.probabilities * items.answered
    sample = Sample(items.strata, reviewed, items.scores, said, items.labels, beliefs)
    draws = _populations(items, threshold, np.random.default_rng(seed))
    counts = np.ceil(draws.mean(axis=0)).astype(np.int64)
    population = Population(items.names, counts, informative=frozenset(items.names), draws=draws)
    return label_quality(sample, population, golden, seed)


def _pooled(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the probabilities whose log-odds lie in the middle of both."""
    clipped = np.clip((one, other), 1e-6, 1 - 1e-6)
    odds = np.sqrt((clipped / (1 - clipped)).prod(axis=0))
    return np.asarray(odds / (1 + odds))


def _populations(items: Rescored, threshold: float, generator: np.random.Generator) -> IntArray:
    """Return draws (S, H, 2, B) of how many predictions lie in each cell."""
    said = (items.scores >= threshold).astype(np.int64)
    shape = (len(items.names), 2, _BINS)
    cells = np.ravel_multi_index((items.strata, said, bins_of(items.scores)), shape)
    drawn = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)
    left = np.maximum(items.totals - drawn.sum(axis=(1, 2)), 0)
    seen = _effective(items, cells, shape)
    by_class = seen.sum(axis=2) + _SPLIT
    shares = generator.beta(by_class[:, 1], by_class[:, 0], (_PROPOSALS, len(items.names)))
    shares *= threshold <= 1  # none above the highest score
    shares = shares[_agreeing(drawn[:, 1].sum() + shares @ left, items, threshold, generator)]
    prior = _prior(items, threshold)
    chances = np.zeros((DRAWS, *shape))
    for place in range(shape[0]):
        for class_, share in ((0, 1 - shares[:, place]), (1, shares[:, place])):
            held = prior[class_] > 0
            among = generator.dirichlet((seen[place, class_] + prior[class_])[held], DRAWS)
            chances[:, place, class_, held] = among * share[:, None]
    flat = chances.reshape(DRAWS, shape[0], -1)
    rest = generator.multinomial(np.broadcast_to(left, (DRAWS, shape[0])), flat / flat.sum(axis=2, keepdims=True))
    return np.asarray(drawn[None] + rest.reshape(DRAWS, *shape), dtype=np.int64)


def _effective(items: Rescored, cells: IntArray, shape: tuple[int, int, int]) -> FloatArray:
    """Return what the items say of those that were not drawn, as counts (H, 2, B) at Kish's effective size."""
    for_others = np.maximum(1 / items.probabilities - 1, 1e-6)
    mass = np.bincount(items.strata, for_others, minlength=shape[0])
    squares = np.bincount(items.strata, for_others**2, minlength=shape[0])
    scale = np.divide(mass, squares, out=np.zeros(shape[0]), where=squares > 0)
    found = np.bincount(cells, for_others * scale[items.strata], minlength=int(np.prod(shape)))
    return np.asarray(found.reshape(shape), dtype=np.float64)


def _agreeing(positives: FloatArray, items: Rescored, threshold: float, generator: np.random.Generator) -> IntArray:
    """Return which proposals to keep, as many as `DRAWS`, by what the plain random sample says of all ``positives``.

    Importance resampling with truncated weights (Ionides 2008).
    """
    share = np.clip(positives / items.totals.sum(), 1e-9, 1 - 1e-9)
    hits = int((items.others >= threshold).sum())
    log_weights = hits * np.log(share) + (len(items.others) - hits) * np.log1p(-share)
    weights = np.exp(log_weights - log_weights.max())
    weights = np.minimum(weights, weights.mean() * np.sqrt(len(weights)))
    return np.asarray(generator.choice(len(share), DRAWS, p=weights / weights.sum()))


def _prior(items: Rescored, threshold: float) -> FloatArray:
    """Return the prior of the bins of each class (2, B), one item's worth, from all scores; 0 in impossible bins."""
    scores = np.concatenate([items.scores, items.others])
    weights = np.concatenate([1 / items.probabilities, np.ones(len(items.others))])
    first = int(bins_of(np.array([min(threshold, 1.0)]))[0])
    found = np.zeros((2, _BINS))
    for class_, possible in enumerate((np.arange(_BINS) <= first, np.arange(_BINS) >= first)):
        of_class = (scores >= threshold) == bool(class_)
        usual = np.bincount(bins_of(scores[of_class]), weights[of_class], minlength=_BINS)
        found[class_] = _ANY * possible / possible.sum()
        if usual.sum():
            found[class_] += (1 - _ANY) * usual / usual.sum()
    return found
