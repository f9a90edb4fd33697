"""How large a change must be for the alarm to find it within days, on a site whose days are as they have been so far.

A site whose days differ much, or that is young, hides changes that another one shows. So the page says which change
would be found: what is learnt of the days until today stands for the coming ones, changes are laid over draws of them,
and the evidence is that of `moderation.statistics.alarm`. It takes the change to begin tomorrow and to last.

It does not know whether the coming days will be like those before.
"""

from dataclasses import dataclass

import numpy as np

from moderation.statistics.alarm import (
    FALSE_ALARMS_PER_YEAR,
    LARGEST_LOG,
    STEP_SCALE,
    DailyClasses,
    budget,
    counts_of,
    watched,
)
from moderation.statistics.noise import BASELINE_DAYS, Whitened, whiten
from moderation.statistics.sample import FloatArray, IntArray

WITHIN_DAYS = 3
FOUND = 0.95
_DRAWS = 500
_HALVINGS = 10


@dataclass(frozen=True)
class _Future:
    """R draws of the coming D days of one series, seen with each of the G pairs of the noise's grid."""

    errors: FloatArray
    """(R, G, D): the prediction errors without a change."""
    steps: FloatArray
    """(G, D, D): what a step of size 1 adds to each day's error, by the day on which it begins."""
    squares: FloatArray
    """(G,), the sum of squares until today."""
    log_scale: FloatArray
    """(G, D), see `Whitened.log_likelihood`."""
    freedom: IntArray
    """(D,), degrees of freedom after each day."""
    prior: FloatArray
    """(D,), of the days on which a step may begin."""

    def found(self, step: float, threshold: float) -> float:
        """Return the share of draws in which a step that begins tomorrow reaches ``threshold``."""
        errors = self.errors + step * self.steps[..., 0]
        size = 1 + STEP_SCALE**2 * (self.steps**2).cumsum(axis=1)
        explained = (self.steps * errors[..., None]).cumsum(axis=2) ** 2 * STEP_SCALE**2 / size
        squares = self.squares[:, None] + (errors**2).cumsum(axis=2)
        likelihood = self.log_scale - self.freedom / 2 * np.log(squares)
        weights = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        log_ratio = -self.freedom[:, None] / 2 * np.log1p(-explained / squares[..., None])
        log_ratio += np.log(self.prior) - np.log(size) / 2
        begun = np.tri(len(self.freedom), dtype=bool)
        ratios = np.where(begun, np.exp(np.minimum(log_ratio, LARGEST_LOG)), 0).sum(axis=3)
        return float(((weights * ratios).sum(axis=1).max(axis=1) >= threshold).mean())


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
    coming = coming[np.isin(coming % 7, days[:baseline] % 7)]
    later = np.concatenate([totals, np.full(len(coming), totals[-7:].mean())])
    columns = np.vstack([series, np.zeros((len(coming), series.shape[1]))])
    units = np.vstack([np.zeros((len(days), len(coming))), np.eye(len(coming))])
    whitened = whiten(np.concatenate([days, coming]), later, np.hstack([columns, units]), baseline)
    rng = np.random.default_rng(0)  # of the same days always the same answer
    return np.array(
        [_bisect(_future(whitened, number, len(coming), rng), threshold) for number in range(series.shape[1])]
    )


def _future(whitened: Whitened, number: int, days: int, rng: np.random.Generator) -> _Future:
    """Draw the coming ``days`` of the series ``number``, whose columns are followed by one per coming day."""
    errors, moves = whitened.errors[..., number], whitened.errors[:, -days:, -days:]
    squares = whitened.baseline_squares[:, number] + (errors[:, :-days] ** 2).sum(axis=1)
    freedom = whitened.baseline_freedom + errors.shape[1] - days
    likelihood = whitened.log_scale[:, -days - 1] - freedom / 2 * np.log(squares)
    weights = np.exp(likelihood - likelihood.max())
    pairs = rng.choice(len(weights), _DRAWS, p=weights / weights.sum())
    sigma = np.sqrt(squares[pairs] / rng.chisquare(freedom, _DRAWS))
    noise = sigma[:, None] * rng.standard_normal((_DRAWS, days))
    # The days' values that have these errors with the pair that made them, and their errors with every pair.
    expected = errors[:, -days:]
    values = np.linalg.solve(moves[pairs], (noise - expected[pairs])[..., None])[..., 0]
    return _Future(
        errors=expected + np.einsum("gmk,rk->rgm", moves, values),
        steps=moves @ np.tri(days),
        squares=squares,
        log_scale=whitened.log_scale[:, -days:],
        freedom=freedom + np.arange(1, days + 1),
        prior=budget(errors.shape[1])[-days:],
    )


def _bisect(future: _Future, threshold: float) -> float:
    low, high = 0.0, 1.0
    while future.found(high, threshold) < FOUND:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if future.found(middle, threshold) >= FOUND else (middle, high)
    return high
