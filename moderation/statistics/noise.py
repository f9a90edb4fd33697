"""How a site's daily figures vary while nothing happens: weekdays, yesterday's echo, and the counting of comments.

A series of days is a weekly pattern, which is unknown and free, plus normal noise with covariance σ² V. Between days i
and j::

    V = (1 - c) r^|i - j| + [i = j] c (mean comments of a baseline day) / (comments of day i)

The first part is an autoregression (what moves one day still moves the next), the second the noise of counting, larger
on days with few comments. σ is free; r and c come from a grid, so that what follows can weigh all of them instead of
trusting one estimate: two weeks tell little about autocorrelation.

This module knows nothing of labels, alarms or calendars: days are whole numbers, any seven in a row are a week.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from moderation.statistics.sample import FloatArray, IntArray

BASELINE_DAYS = 14
GRID: tuple[tuple[float, float], ...] = tuple(product((0.0, 0.25, 0.5, 0.75, 0.9), (0.0, 0.4)))
"""Pairs of r and c."""


@dataclass(frozen=True)
class Whitened:
    """Series after the baseline as prediction errors, for each of the G pairs of the grid.

    An error is the series minus its best linear prediction from all days before, over that prediction's standard error
    at σ = 1: independent from day to day and free of the weekly pattern (recursive residuals: Brown, Durbin and Evans,
    *Techniques for testing the constancy of regression relationships over time*, JRSS B 37, 1975, section 2).
    """

    errors: FloatArray
    """(G, M, columns), of the M days after the baseline."""
    baseline_squares: FloatArray
    """(G, columns): the sum of squares that the weekly pattern leaves in the baseline."""
    baseline_freedom: int
    """Degrees of freedom of `baseline_squares`."""
    log_scale: FloatArray
    """(G, 1 + M), after the baseline and after each day: the likelihood's factor without data, see `log_likelihood`."""

    def log_likelihood(self, squares: FloatArray) -> FloatArray:
        """Return the log likelihood of each pair on each day, up to a constant that they share.

        Weekly pattern and σ are integrated out with their right Haar prior, so ratios of it are likelihood ratios of
        what does not depend on them: Perez-Ortiz, Lardy, de Heide and Grünwald, *E-statistics, group invariance and
        anytime-valid testing*, Annals of Statistics 52 (2024), section 4.

        Args:
            squares: (G, 1 + M, columns), the sum of squares after the baseline and after each day.
        """
        freedom = self.baseline_freedom + np.arange(squares.shape[1])
        return self.log_scale[..., None] - freedom[:, None] / 2 * np.log(squares)


def whiten(days: IntArray, totals: FloatArray, columns: FloatArray, baseline: int = BASELINE_DAYS) -> Whitened:
    """Whiten ``columns`` (T, columns) of T ascending days; every weekday must occur in the first ``baseline`` of them.

    Args:
        days: (T,) numbers of days.
        totals: (T,) comments of each day, above 0.
        columns: (T, columns), what to whiten.
        baseline: how many of the days set the weekly pattern before the first prediction.
    """
    pattern = _weekdays(days)
    factors = np.linalg.cholesky(_covariance(days, totals, baseline))
    white = np.linalg.solve(factors, np.hstack([pattern, columns])[None])
    design, series = white[..., : pattern.shape[1]], white[..., pattern.shape[1] :]
    first = design[:, :baseline]
    information = first.mT @ first
    fitted = np.linalg.solve(information, first.mT @ series[:, :baseline])
    squares = ((series[:, :baseline] - first @ fitted) ** 2).sum(axis=1)
    errors, variances = _predict(np.linalg.inv(information), fitted, design[:, baseline:], series[:, baseline:])
    log_det = 2 * np.log(np.diagonal(factors, axis1=1, axis2=2)).cumsum(axis=1)[:, baseline - 1 :]
    log_information = np.linalg.slogdet(information).logabsdet[:, None] + np.log(variances).cumsum(axis=1)
    log_information = np.hstack([np.linalg.slogdet(information).logabsdet[:, None], log_information])
    return Whitened(errors, squares, baseline - pattern.shape[1], -(log_det + log_information) / 2)


@dataclass(frozen=True)
class StepFit:
    """Several series with one step between two ranges of days, fitted with each of the G pairs of the grid."""

    size: FloatArray
    """(G, B), the step of each series."""
    step_squares: FloatArray
    """(G,), what is left of the step's column: the variance of a step's size is σ² over it."""
    spread: FloatArray
    """(G, B, B), the estimate of σ² and of the covariance of the series, with `freedom` degrees."""
    freedom: int
    log_likelihood: FloatArray
    """(G,), of one series that varies as the B do on average, by what the fit leaves over (restricted likelihood)."""
    covariance: FloatArray
    """(G, T, T), V."""


def fit_step(days: IntArray, totals: FloatArray, series: FloatArray, baseline: int) -> StepFit:
    """Fit, by generalised least squares, weekly pattern and a step after ``baseline`` days to ``series`` (T, B)."""
    pattern = _weekdays(days)
    covariance = _covariance(days, totals, baseline)
    factors = np.linalg.cholesky(covariance)
    step = (np.arange(len(days)) >= baseline).astype(np.float64)[:, None]
    white = np.linalg.solve(factors, np.hstack([pattern, step, series])[None])
    weekly = white[..., : pattern.shape[1]]
    basis, triangle = np.linalg.qr(weekly)
    left = white[..., pattern.shape[1] :] - basis @ (basis.mT @ white[..., pattern.shape[1] :])
    steps, series_left = left[..., :1], left[..., 1:]
    step_squares = (steps**2).sum(axis=1)
    size = (steps.mT @ series_left)[:, 0] / step_squares
    rest = series_left - steps * size[:, None]
    freedom = len(days) - pattern.shape[1] - 1
    log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    log_det += np.log(np.abs(np.diagonal(triangle, axis1=1, axis2=2))).sum(axis=1) + np.log(step_squares[:, 0]) / 2
    likelihood = -log_det - freedom / 2 * np.log((rest**2).sum(axis=(1, 2)))
    return StepFit(size, step_squares[:, 0], rest.mT @ rest / freedom, freedom, likelihood, covariance)


def _predict(
    inverse: FloatArray, fitted: FloatArray, design: FloatArray, series: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return errors (G, M, columns) and variances (G, M) of predicting each day by recursive least squares."""
    errors, variances = np.empty_like(series), np.empty(series.shape[:2])
    for day in range(series.shape[1]):
        row = design[:, day, None, :]
        gain = inverse @ row.mT
        variance = 1 + row @ gain
        surprise = series[:, day, None, :] - row @ fitted
        fitted = fitted + gain / variance * surprise
        inverse = inverse - gain / variance * gain.mT
        variances[:, day] = variance[:, 0, 0]
        errors[:, day] = (surprise / np.sqrt(variance))[:, 0]
    return errors, variances


def _covariance(days: IntArray, totals: FloatArray, baseline: int) -> FloatArray:
    """Return V, (G, T, T)."""
    apart = np.abs(days[:, None] - days[None, :])
    counting = np.diag(totals[:baseline].mean() / totals)
    return np.stack([(1 - share) * correlation**apart + share * counting for correlation, share in GRID])


def _weekdays(days: IntArray) -> FloatArray:
    """Return one column, 0 or 1, for each weekday that occurs: (T, up to 7)."""
    return np.asarray(days[:, None] % 7 == np.unique(days % 7)[None, :], dtype=np.float64)
