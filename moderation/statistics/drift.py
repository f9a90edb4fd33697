"""How far a range of days is from the site's first days, and whether days of a quiet site differ as much.

Both distances between two histograms are, for small differences, multiples of one sum over their bins:
PSI ≈ Σ (p - q)² / p, and the squared Jensen-Shannon distance (in bits) is that over 8 ln 2. So one test serves both.
Two histograms of many comments always differ: comments of one day have more in common than draws from an urn, and so
have days that follow each other. The test therefore takes days as what is observed, with the weekly pattern and the
autocorrelation of `moderation.statistics.noise`, and learns their spread from the days themselves.

It answers for one range that was chosen before looking. For looking every day there is `moderation.statistics.alarm`.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

from moderation.errors import InvalidInputError
from moderation.statistics.noise import BASELINE_DAYS, fit_step
from moderation.statistics.sample import FloatArray, IntArray

MIN_EXPECTED = 5
"""Comments that a bin must expect in the smaller range; bins with fewer join the next one (Cochran 1954)."""
MIN_SHARE = 1e-4
"""Shares below it count as it, so that an empty bin does not make PSI infinite."""


@dataclass(frozen=True)
class DailyHistogram:
    """Counts of comments per day and bin: of a label's scores, of lengths, of languages, of predicted classes.

    Args:
        days: (T,) numbers of days, ascending, such as `datetime.date.toordinal` gives them. Days may be missing.
        counts: (T, B), from 0.
    """

    days: IntArray
    counts: IntArray

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or self.days.shape != self.counts.shape[:1]:
            raise InvalidInputError(f"days {self.days.shape} and counts {self.counts.shape}: expected (T,) and (T, B)")
        if np.any(np.diff(self.days) <= 0) or np.any(self.counts < 0):
            raise InvalidInputError("expected ascending days and no negative counts")

    def between(self, first: int, last: int) -> "DailyHistogram":
        """Return the days from ``first`` to ``last``, both included, that have comments."""
        rows = (self.days >= first) & (self.days <= last) & (self.counts.sum(axis=1) > 0)
        return DailyHistogram(self.days[rows], self.counts[rows])


@dataclass(frozen=True)
class Distance:
    """How far two distributions are apart."""

    psi: float
    """Population stability index, from 0."""
    jensen_shannon: float
    """The Jensen-Shannon distance to base 2, 0 to 1."""


@dataclass(frozen=True)
class Drift:
    """A later range against the baseline, and beside it against the training reference."""

    from_baseline: Distance | None
    quiet_psi: float | None
    """The mean PSI between two such ranges of a site where nothing changes but its days."""
    p_value: float | None
    """How often a quiet site's ranges differ by as much or more, given its own day-to-day noise."""
    from_reference: Distance | None
    refusal: str | None
    """Why there is no comparison with the baseline, in words."""


def compare(baseline: DailyHistogram, later: DailyHistogram, reference: FloatArray | None = None) -> Drift:
    """Compare a range of days with the baseline's.

    Args:
        baseline: The site's first days (or the version's), at least 14 with comments.
        later: Days after them, of the same B bins.
        reference: (B,) shares of the bundle's held-out split; only distances are given.

    Raises:
        InvalidInputError: other bins, or ranges that overlap.
    """
    bins = {each.counts.shape[1] for each in (baseline, later)} | (set() if reference is None else {len(reference)})
    if len(bins) > 1:
        raise InvalidInputError(f"baseline, later range and reference have {sorted(bins)} bins: expected one number")
    if len(baseline.days) and len(later.days) and baseline.days[-1] >= later.days[0]:
        raise InvalidInputError(f"later range begins on day {later.days[0]}, the baseline ends on {baseline.days[-1]}")
    ranges = [DailyHistogram(each.days, each.counts).between(-(2**62), 2**62) for each in (baseline, later)]
    beside = None
    if reference is not None and later.counts.sum():
        beside = distance(later.counts.sum(axis=0), reference)
    if refusal := _refusal(*ranges):
        return Drift(None, None, None, beside, refusal)
    counts = _merge(*(each.counts for each in ranges))
    apart = distance(*(part.sum(axis=0) for part in counts))
    quiet, p_value = _significance(np.concatenate([each.days for each in ranges]), *counts)
    return Drift(apart, quiet, p_value, beside, None)


def distance(counts: FloatArray | IntArray, others: FloatArray | IntArray) -> Distance:
    """Return the distance of two histograms, (B,) counts or shares each."""
    p, q = (np.maximum(each / each.sum(), MIN_SHARE) for each in (counts, others))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    divergence = (p @ np.log2(p / middle) + q @ np.log2(q / middle)) / 2
    return Distance(float((p - q) @ np.log(p / q)), sqrt(max(float(divergence), 0.0)))


def f_tail(value: float, above: float, below: float) -> float:
    """Return P(F > value) for F with ``above`` and ``below`` (at least 3) degrees of freedom, within about 0.002.

    Paulson, *An approximate normalization of the analysis of variance distribution*, Annals of Mathematical Statistics
    13 (1942).
    """
    root, a, b = value ** (1 / 3), 2 / (9 * above), 2 / (9 * below)
    return 1 - NormalDist().cdf(((1 - b) * root - (1 - a)) / sqrt(b * root**2 + a))


def _significance(days: IntArray, baseline: IntArray, later: IntArray) -> tuple[float, float]:
    """Return the PSI of quiet days and the p-value.

    Dempster's test of two means with more dimensions than days (1958), in the form of Bai and Saranadasa, *Effect of
    high dimension*, Statistica Sinica 6 (1996), sections 2 and 3: the sum of squared differences over the trace of the
    covariance, with the degrees of freedom that the covariance's own estimate gives. Each pair of the noise's grid has
    a p-value, and they are averaged by the pairs' likelihoods.
    """
    counts = np.concatenate([baseline, later])
    totals = counts.sum(axis=1).astype(np.float64)
    pooled = counts.sum(axis=0) / counts.sum()
    fit = fit_step(days, totals, counts / totals[:, None] / np.sqrt(pooled), len(baseline))
    traces = np.trace(fit.spread, axis1=1, axis2=2)
    # Unbiased for the trace of the squared covariance (Bai and Saranadasa, section 3).
    unbiased = fit.freedom**2 / ((fit.freedom - 1) * (fit.freedom + 2))
    squares = unbiased * ((fit.spread**2).sum(axis=(1, 2)) - traces**2 / fit.freedom)
    dimensions = np.clip(traces**2 / np.maximum(squares, np.finfo(np.float64).tiny), 1, len(pooled) - 1)
    # Bins count as one series where they move together and as many where only counting moves them: between the two.
    likelihood = np.sqrt(dimensions.min()) * fit.log_likelihood
    weights = np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    values = fit.step_squares * (fit.size**2).sum(axis=1) / traces
    tails = [f_tail(value, each, each * fit.freedom) for value, each in zip(values, dimensions, strict=True)]
    step = np.arange(len(days)) >= len(baseline)
    difference = totals * np.where(step, 1 / totals[step].sum(), -1 / totals[~step].sum())
    quiet = traces * np.einsum("i,gij,j->g", difference, fit.covariance, difference)
    return float(weights @ quiet), float(weights @ tails)


def _merge(baseline: IntArray, later: IntArray) -> tuple[IntArray, IntArray]:
    """Join neighbouring bins until each expects `MIN_EXPECTED` comments in the smaller range."""
    totals = baseline.sum(), later.sum()
    expected = (baseline.sum(axis=0) + later.sum(axis=0)) * (min(totals) / sum(totals))
    starts, waiting = [0], 0.0
    for number, share in enumerate(expected):
        waiting += share
        if waiting >= MIN_EXPECTED and number + 1 < len(expected) and expected[number + 1 :].sum() >= MIN_EXPECTED:
            starts.append(number + 1)
            waiting = 0.0
    return np.add.reduceat(baseline, starts, axis=1), np.add.reduceat(later, starts, axis=1)


def _refusal(baseline: DailyHistogram, later: DailyHistogram) -> str | None:
    if len(baseline.days) < BASELINE_DAYS:
        return f"{len(baseline.days)} days with comments in the baseline; {BASELINE_DAYS} are needed"
    if not len(later.days):
        return "no comments in this range"
    if not np.isin(later.days % 7, baseline.days % 7).any():
        return "no weekday of this range occurs in the baseline"
    if _merge(baseline.counts, later.counts)[0].shape[1] < 2:
        return f"all comments are in one bin, or fewer than {2 * MIN_EXPECTED} are expected in the smaller range"
    return None
