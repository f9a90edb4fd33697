"""How large a change must be for the alarm to find it within days, on a site whose days are as they have been so far.

A site whose days differ much, or that is young, hides changes that another one shows. So the page says which change
would be found: what is learnt of the days until today stands for the coming ones, changes are laid over draws of them,
and the evidence is that of `moderation.statistics.alarm`. It takes the change to begin tomorrow and to last.

It does not know whether the coming days will be like those before, and it judges each draw by the autocorrelation that
made it, where the alarm averages over all: a little optimistic while that is unknown.
"""

from dataclasses import dataclass

import numpy as np

from moderation.statistics.alarm import (
    FALSE_ALARMS_PER_YEAR,
    STEP_SCALE,
    DailyClasses,
    budget,
    counts_of,
    watched,
)
from moderation.statistics.noise import BASELINE_DAYS, whiten
from moderation.statistics.sample import FloatArray, IntArray

WITHIN_DAYS = 3
FOUND = 0.95
_DRAWS = 2_000
_HALVINGS = 20


@dataclass(frozen=True)
class _Future:
    """Draws (R, …) of the coming D days: their errors without a change, and what a change of size 1 adds to them."""

    errors: FloatArray
    """(R, D)."""
    steps: FloatArray
    """(R, D, D): what a step adds to each day's error, by the day on which it begins."""
    squares: FloatArray
    """(R,), the sum of squares until today."""
    freedom: int
    """Its degrees of freedom."""
    prior: FloatArray
    """(D,), of the days on which a step may begin."""


def smallest_changes(daily: DailyClasses, false_alarms: float = FALSE_ALARMS_PER_YEAR) -> dict[str, float]:
    """Return for each label that `watch` watches by what its share must be multiplied to be found in time.

    It is for a label that rises alone; those that rise together are found sooner.
    """
    site = watched(daily)
    if not site.labels:
        return {}
    steps = smallest_step(site.days, site.totals, site.series, len(site.labels) / false_alarms)
    usual = site.series[-BASELINE_DAYS:].mean(axis=0)
    return dict(zip(site.labels, (counts_of(usual + steps) / counts_of(usual)).tolist(), strict=True))


def smallest_step(
    days: IntArray, totals: FloatArray, series: FloatArray, threshold: float, baseline: int = BASELINE_DAYS
) -> FloatArray:
    """Return (S,) the least rise of each series that is found within `WITHIN_DAYS` in `FOUND` of cases.

    Args:
        days: (T,) numbers of days, as `moderation.statistics.alarm.evidence` takes them.
        totals: (T,) comments of each day.
        series: (T, S) of `moderation.statistics.alarm.stabilize`; so is the answer.
        threshold: the evidence from which the alarm is raised.
        baseline: days of the baseline.
    """
    coming = days[-1] + 1 + np.arange(WITHIN_DAYS)
    known = np.isin(coming % 7, days[:baseline] % 7)
    coming = coming[known]
    later = np.concatenate([totals, np.full(len(coming), totals[-7:].mean())])
    steps = np.tri(len(later), len(coming), -len(days))
    padded = np.vstack([series, np.zeros((len(coming), series.shape[1]))])
    whitened = whiten(np.concatenate([days, coming]), later, np.hstack([padded, steps]), baseline)
    today = len(days) - baseline
    errors = whitened.errors[..., : series.shape[1]]
    squares = whitened.baseline_squares[:, None, : series.shape[1]]
    squares = squares + np.pad((errors**2).cumsum(axis=1), ((0, 0), (1, 0), (0, 0)))
    likelihood = whitened.log_likelihood(squares)[:, today]
    prior = budget(today + len(coming))[today:]
    rng = np.random.default_rng(0)  # of the same days always the same answer
    found = []
    for number in range(series.shape[1]):
        weights = np.exp(likelihood[:, number] - likelihood[:, number].max())
        pairs = rng.choice(len(weights), _DRAWS, p=weights / weights.sum())
        freedom = whitened.baseline_freedom + today
        own = squares[pairs, today, number]
        noise = np.sqrt(own / rng.chisquare(freedom, _DRAWS))[:, None] * rng.standard_normal((_DRAWS, len(coming)))
        future = _Future(noise, whitened.errors[pairs, today:, series.shape[1] :], own, freedom, prior)
        found.append(_bisect(future, threshold))
    return np.array(found)


def _bisect(future: _Future, threshold: float) -> float:
    low, high = 0.0, 1.0
    while _found(future, high, threshold) < FOUND:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _found(future, middle, threshold) >= FOUND else (middle, high)
    return high


def _found(future: _Future, step: float, threshold: float) -> float:
    """Return the share of draws in which a step that begins tomorrow is found."""
    errors = future.errors + step * future.steps[..., 0]
    size = 1 + STEP_SCALE**2 * (future.steps**2).cumsum(axis=1)
    explained = (future.steps * errors[..., None]).cumsum(axis=1) ** 2 * STEP_SCALE**2 / size
    squares = future.squares[:, None] + (errors**2).cumsum(axis=1)
    freedom = future.freedom + np.arange(1, errors.shape[1] + 1)
    log_ratio = -freedom[:, None] / 2 * np.log1p(-explained / squares[..., None])
    log_ratio += np.log(future.prior) - np.log(size) / 2
    begun = np.tri(errors.shape[1], dtype=bool)
    level = np.where(begun, np.exp(np.minimum(log_ratio, 600.0)), 0).sum(axis=2)
    return float((level.max(axis=1) >= threshold).mean())
