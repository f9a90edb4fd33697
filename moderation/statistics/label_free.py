"""Prevalence, precision and recall from calibrated scores alone, and whether reviews contradict them.

The first hold only while the scores are calibrated on this traffic; the comparison with reviews tests that.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from moderation.errors import InvalidInputError
from moderation.statistics.live_quality import CREDIBLE, LabelQuality
from moderation.statistics.sample import SCORE_EDGES, BoolArray, Estimate, FloatArray, IntArray, bins_of

DRAWS = 2000
_FREE_SHARE = 0.95
"""Share of the draws in a label-free interval; those of reviews hold `CREDIBLE`."""


@dataclass(frozen=True)
class LabelFree:
    """Figures without a single review; the intervals hold only if the scores are calibrated."""

    prevalence: Estimate
    precision: Estimate
    recall: Estimate


@dataclass(frozen=True)
class Disagreement:
    """The figures in which reviews contradict the scores; none of them by chance with probability 1 − ``level``."""

    figures: tuple[str, ...]
    compared: tuple[str, ...]
    level: float

    @property
    def alarm(self) -> bool:
        """Whether there is any."""
        return bool(self.figures)


def label_free(scores: FloatArray, predicted: BoolArray, counts: IntArray | None = None, seed: int = 0) -> LabelFree:
    """Return what the calibrated ``scores`` (N,) promise for the classes ``predicted`` (N,), with 95 % intervals.

    Every comment is taken to be positive with the probability that its score states: prevalence is the mean score,
    precision that among the predicted, recall their part of the sum. ``counts`` (N,) says how many comments have each
    score, for histograms; None: one each. ``reviews`` is 0. The same seed gives the same answer.

    Raises:
        InvalidInputError: no scores, or arrays of different lengths.
    """
    counts = np.ones(len(scores), dtype=np.int64) if counts is None else counts
    if not len(scores) == len(predicted) == len(counts) or not counts.sum():
        raise InvalidInputError(
            f"label-free: {len(scores)} scores, {len(predicted)} classes, {len(counts)} counts; expected as many"
        )
    generator = np.random.default_rng(seed)
    hits, misses = (_positives(scores[one], counts[one], generator) for one in (predicted, ~predicted))
    said, total = int(counts[predicted].sum()), int(counts.sum())
    expected = float(scores @ counts)
    return LabelFree(
        _estimate((hits + misses) / total, None),
        _estimate(hits / max(said, 1), None if said else "nothing was predicted"),
        _estimate(
            hits / np.maximum(hits + misses, 1),
            None if expected >= 1 else f"{expected:.2g} positives are expected in all; 1 is needed",
        ),
    )


def compare(free: LabelFree, reviewed: LabelQuality, level: float = 0.05) -> Disagreement:
    """Return where reviews contradict the calibrated scores, with false alarms in at most ``level`` of all looks.

    Each difference is compared with both spreads on the scale of log-odds, at ``level`` shared among the figures
    (Bonferroni). Scores are also the prior of the reviewed figures, which makes alarms later rather than sooner.
    """
    pairs = {name: (getattr(free, name), getattr(reviewed, name)) for name in ("prevalence", "precision", "recall")}
    known = {name: pair for name, pair in pairs.items() if pair[0].refusal is None and pair[1].refusal is None}
    limit = NormalDist().inv_cdf(1 - level / (2 * max(len(known), 1)))
    apart = tuple(name for name, pair in known.items() if _deviations(*pair) > limit)
    return Disagreement(apart, tuple(known), level)


def _positives(scores: FloatArray, counts: IntArray, generator: np.random.Generator) -> FloatArray:
    """Return draws (`DRAWS`,) of how many are positive: a binomial for each bin of scores."""
    bins = bins_of(scores)
    size = np.bincount(bins, counts, minlength=len(SCORE_EDGES) - 1)
    mass = np.bincount(bins, counts * scores, minlength=len(SCORE_EDGES) - 1)
    held = size > 0
    rates = np.clip(mass[held] / size[held], 0, 1)
    drawn = generator.binomial(size[held].astype(np.int64), rates, (DRAWS, int(held.sum())))
    return np.asarray(drawn.sum(axis=1), dtype=np.float64)


def _estimate(draws: FloatArray, refusal: str | None) -> Estimate:
    if refusal is not None:
        return Estimate.refused(refusal)
    low, value, high = np.quantile(draws, ((1 - _FREE_SHARE) / 2, 0.5, (1 + _FREE_SHARE) / 2))
    return Estimate(float(value), float(low), float(high), 0)


def _deviations(free: Estimate, reviewed: Estimate) -> float:
    """Return how many standard deviations lie between two estimates, each by the side that faces the other."""
    sides = [(free, _FREE_SHARE), (reviewed, CREDIBLE)]
    (below, below_share), (above, above_share) = sorted(sides, key=lambda side: side[0].value)
    low, high = _log_odds(below.value), _log_odds(above.value)
    spread = np.hypot(
        (_log_odds(below.high) - low) / NormalDist().inv_cdf((1 + below_share) / 2),
        (high - _log_odds(above.low)) / NormalDist().inv_cdf((1 + above_share) / 2),
    )
    return float((high - low) / max(spread, 1e-9))


def _log_odds(share: float) -> float:
    inside = min(max(share, 1e-6), 1 - 1e-6)
    return float(np.log(inside / (1 - inside)))
