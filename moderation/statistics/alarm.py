"""A drift alarm that may be looked at every day: has the share of comments of a class left its usual range?

Watched are daily shares, such as the comments predicted toxic, on the scale of `stabilize`. While nothing happens they
follow `moderation.statistics.noise`, with a weekly pattern, a spread and an autocorrelation that nobody states. On each
day since the baseline the *evidence* weighs every day on which a lasting step, of any size and direction, may have
begun: the likelihood ratio of that step against none, times that day's share of the year's budget of false alarms.

A sum of such ratios is an e-detector of the Shiryaev-Roberts kind (Shin, Ramdas and Rinaldo, *E-detectors: a
nonparametric framework for sequential change detection*, New England Journal of Statistics in Data Science 2, 2024):
on quiet days its mean stays at or below the budget spent so far, so by Ville's inequality it reaches 1/0.05 in at most
5 % of years, however often somebody looks. Nothing is estimated from 14 days and then taken for the truth: weekly
pattern and spread are integrated out exactly, and the autocorrelation by the average over a grid. The bound is exact
for that average; docs/EXPERIMENTS.md holds the measured rates for single values.

What it cannot see stands in docs/drift.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from moderation.errors import InvalidInputError
from moderation.statistics.noise import BASELINE_DAYS, whiten
from moderation.statistics.sample import FloatArray, IntArray

FALSE_ALARMS_PER_YEAR = 0.05
MIN_POSITIVES = 5
"""Mean per baseline day; with fewer, a day's count is too coarse to be taken for normal."""
STEP_SCALE = 5.0
"""Prior standard deviation of a step, in standard deviations of a day."""
DAYS_VARY = 0.1
"""From which relative spread of days on `stabilize` is a logarithm; 0.2 does as well."""
_YEAR_DAYS = 365
_HEAD_START = 3.0
LARGEST_LOG = 600.0  # exp of it is finite


@dataclass(frozen=True)
class DailyClasses:
    """How many of the comments of each full day were predicted to be of a class.

    Args:
        days: (T,) numbers of days, ascending, such as `datetime.date.toordinal` gives them. Days may be missing.
        totals: (T,) classified comments.
        positives: per label (T,) comments predicted to be of the class.
    """

    days: IntArray
    totals: IntArray
    positives: Mapping[str, IntArray]

    def __post_init__(self) -> None:
        shape = self.days.shape
        if len(shape) != 1 or np.any(np.diff(self.days) <= 0):
            raise InvalidInputError(f"days of shape {shape}: expected one dimension, ascending, each day once")
        for name, counts in (("all", self.totals), *self.positives.items()):
            if counts.shape != shape:
                raise InvalidInputError(f"counts of {name!r} have shape {counts.shape}, expected {shape}")
            if np.any(counts < 0) or np.any(counts > self.totals):
                raise InvalidInputError(f"counts of {name!r}: expected 0 to the day's total on every day")


@dataclass(frozen=True)
class Alarm:
    """What the watch over one label says."""

    days: IntArray
    """(M,) days after the baseline."""
    evidence: FloatArray
    """(M,) evidence against "nothing has changed since the baseline", from 0, as `adjusted` for the other labels."""
    threshold: float
    """The evidence from which the alarm is raised."""
    raised_on: int | None
    """The first day that reached it. An alarm stays raised until the caller starts a new baseline."""
    changed_on: int | None
    """The day on which the change most likely began, judged on the day of the alarm."""
    share: float | None
    """The share of the class from then to the day of the alarm, a mean over days."""
    refusal: str | None
    """Why nothing is watched, in words; then there are no days."""


def watch(
    daily: DailyClasses, false_alarms: float = FALSE_ALARMS_PER_YEAR, baseline: int = BASELINE_DAYS
) -> dict[str, Alarm]:
    """Watch every label; all of them together raise a false alarm in at most ``false_alarms`` of quiet years.

    The first ``baseline`` days with comments are the baseline. Later days on a weekday that it lacks are left out. A
    new version of the model classifies differently: start with its own days.

    Args:
        daily: Full days only, from the first one of the site (or of the version).
        false_alarms: Share of quiet first years, in (0, 1), in which at least one label is wrongly called changed.
        baseline: Days, at least 14.

    Raises:
        InvalidInputError: ``false_alarms`` or ``baseline`` is out of range.
    """
    if not 0 < false_alarms < 1 or baseline < BASELINE_DAYS:
        raise InvalidInputError(
            f"false_alarms {false_alarms} and baseline {baseline}: expected a share in (0, 1) and at least "
            f"{BASELINE_DAYS} days"
        )
    threshold = 1 / false_alarms
    site = watched(daily, baseline)
    found = {label: _refused(refusal, threshold) for label, refusal in site.refusals.items()}
    if site.labels:
        ratios = list(_ratios(site.days, site.totals, site.series, baseline))
        levels = adjusted(np.stack([each.sum(axis=1) for each in ratios], axis=1))
        for label, column, level, ratio in zip(site.labels, site.series.T, levels.T, ratios, strict=True):
            shares = counts_of(column[baseline:]) / site.totals[:baseline].mean()
            found[label] = _alarm(site.days[baseline:], shares, level, ratio, threshold)
    return {label: found[label] for label in daily.positives}


@dataclass(frozen=True)
class Watched:
    """The days and labels of a site that can be watched, and in words why others are not."""

    days: IntArray
    """(T,)"""
    totals: FloatArray
    """(T,)"""
    labels: list[str]
    series: FloatArray
    """(T, labels), of `stabilize`."""
    refusals: dict[str, str]


def watched(daily: DailyClasses, baseline: int = BASELINE_DAYS) -> Watched:
    """Return what of ``daily`` is watched: days with comments, on weekdays that the baseline has."""
    open_days = np.flatnonzero(daily.totals > 0)
    known = np.isin(daily.days[open_days] % 7, daily.days[open_days[:baseline]] % 7)
    rows = open_days[known]
    totals = daily.totals[rows].astype(np.float64)
    found = {
        label: _refusal(counts[rows[:baseline]], totals[:baseline], baseline)
        for label, counts in daily.positives.items()
    }
    labels = [label for label, refusal in found.items() if refusal is None]
    counts = [daily.positives[label][rows] for label in labels]
    return Watched(
        days=daily.days[rows],
        totals=totals,
        labels=labels,
        series=stabilize(np.stack(counts, axis=1), totals, baseline) if counts else np.empty((len(rows), 0)),
        refusals={label: refusal for label, refusal in found.items() if refusal is not None},
    )


def stabilize(positives: IntArray, totals: FloatArray, baseline: int = BASELINE_DAYS) -> FloatArray:
    """Return counts of T days, (T, …), on a scale where noise is alike at any share: square root, then logarithm.

    Counts of comments vary by their square root, and a site's days by some per cent on top. For such counts Anscombe,
    *The transformation of Poisson, binomial and negative-binomial data*, Biometrika 35 (1948), section 4, gives this
    function of the count that a baseline day would have had. Log-odds and angles raise more false alarms, the first
    where counts are small, the second where days differ much (docs/EXPERIMENTS.md).
    """
    totals = totals.reshape(-1, *[1] * (positives.ndim - 1))
    counts = totals[:baseline].mean() * (positives + 0.375) / (totals + 0.75)
    return np.asarray(np.arcsinh(DAYS_VARY * np.sqrt(counts)))


def counts_of(series: FloatArray) -> FloatArray:
    """Return the counts that `stabilize` puts at ``series``, but for its small additions."""
    return np.asarray((np.sinh(series) / DAYS_VARY) ** 2)


def adjusted(levels: FloatArray) -> FloatArray:
    """Return the evidence (M, S) of each of S series, so that one threshold holds for all of them together.

    A series' evidence counts as the least mean of it with any of the others': Vovk and Wang, *E-values: Calibration,
    combination and applications*, Annals of Statistics 49 (2021), section 5. Among six, one that moves alone needs
    six times the evidence; those that move together help each other, whatever their dependence.
    """
    count = levels.shape[1]
    found = np.empty_like(levels)
    for number in range(count):
        others = np.sort(np.delete(levels, number, axis=1), axis=1)
        least = np.pad(others.cumsum(axis=1), ((0, 0), (1, 0)))
        found[:, number] = ((levels[:, [number]] + least) / np.arange(1, count + 1)).min(axis=1)
    return found


def evidence(days: IntArray, totals: FloatArray, series: FloatArray, baseline: int = BASELINE_DAYS) -> FloatArray:
    """Return the evidence (M, S) on the M days after the baseline, for S series (T, S) of `stabilize`."""
    found = [ratios.sum(axis=1) for ratios in _ratios(days, totals, series, baseline)]
    return np.stack(found, axis=1)


def _ratios(days: IntArray, totals: FloatArray, series: FloatArray, baseline: int) -> Iterator[FloatArray]:
    """Yield for each of S series (M, M): on each day the weighted likelihood ratio of a step that began on each day.

    With a normal prior of scale `STEP_SCALE` on the step over σ, and weekly pattern and σ integrated out, the ratio is
    that of a linear model with one more column: Liang, Paulo, Molina, Clyde and Berger, *Mixtures of g priors for
    Bayesian variable selection*, JASA 103 (2008), section 2, with the prior on the step instead of on its fit.
    """
    count = len(days) - baseline
    whitened = whiten(days, totals, np.hstack([series, np.tri(len(days), count, -baseline)]), baseline)
    steps = whitened.errors[..., series.shape[1] :]
    size = 1 + STEP_SCALE**2 * (steps**2).cumsum(axis=1)
    prior = np.tri(count) * budget(count) / np.sqrt(size)
    freedom = whitened.baseline_freedom + np.arange(1, count + 1)
    for number in range(series.shape[1]):
        errors = whitened.errors[..., number]
        squares = whitened.baseline_squares[:, number, None] + np.pad((errors**2).cumsum(axis=1), ((0, 0), (1, 0)))
        likelihood = whitened.log_likelihood(squares[..., None])[:, 1:, 0]
        weights = np.exp(likelihood - likelihood.max(axis=0))
        weights /= weights.sum(axis=0)
        found = np.zeros((count, count))
        for pair, weight in enumerate(weights):
            explained = (steps[pair] * errors[pair, :, None]).cumsum(axis=0) ** 2
            explained *= STEP_SCALE**2 / size[pair]
            log_ratio = np.log(1 - explained / squares[pair, 1:, None]) * (-freedom[:, None] / 2)
            found += np.exp(np.minimum(log_ratio, LARGEST_LOG)) * prior[pair] * weight[:, None]
        yield found


def budget(count: int) -> FloatArray:
    """Return the share of the first year's false alarms that each of ``count`` days may spend, 1 over the first year.

    It falls like 1 / day: most is spent while little is known and evidence is dear. Later years get little, yet never
    nothing: the second adds 14 % to the first.
    """
    shares = 1 / (np.arange(max(count, _YEAR_DAYS)) + _HEAD_START)
    return np.asarray((shares / shares[:_YEAR_DAYS].sum())[:count])


def _alarm(days: IntArray, shares: FloatArray, level: FloatArray, ratios: FloatArray, threshold: float) -> Alarm:
    """Return the alarm of one label from its daily shares (M,), its adjusted evidence (M,) and `_ratios` (M, M)."""
    reached = np.flatnonzero(level >= threshold)
    if not len(reached):
        return Alarm(days, level, threshold, None, None, None, None)
    last = int(reached[0])
    began = int(ratios[last].argmax())
    share = float(shares[began : last + 1].mean())
    return Alarm(days, level, threshold, int(days[last]), int(days[began]), share, None)


def _refusal(counts: IntArray, totals: FloatArray, baseline: int) -> str | None:
    """Return what the counts of up to ``baseline`` first days lack."""
    if len(counts) < baseline:
        return f"{len(counts)} days with comments so far; the baseline takes {baseline}"
    if counts.mean() < MIN_POSITIVES:
        return f"{counts.mean():.1f} comments of the class on a baseline day; {MIN_POSITIVES} are needed"
    if counts.sum() > totals.sum() / 2:
        return f"{counts.sum() / totals.sum():.0%} of comments are of the class; count the others instead"
    if len(np.unique(counts / totals)) == 1:
        return "the same share on every baseline day: people do not write like that"
    return None


def _refused(refusal: str, threshold: float) -> Alarm:
    return Alarm(np.empty(0, np.int64), np.empty(0), threshold, None, None, None, refusal)
