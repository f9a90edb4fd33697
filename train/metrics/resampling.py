"""Bootstrap intervals of any weighted figure."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from train.metrics.ranking import FloatArray

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % percentile bootstrap interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def plain(self) -> dict[str, float | None]:
        """Return the three numbers for JSON, which has no NaN: None stands for it."""
        return {name: None if np.isnan(number) else number for name, number in vars(self).items()}


def resample(weights: FloatArray, resamples: int, seed: int = SEED) -> Iterator[FloatArray]:
    """Yield the weights (N,) of each bootstrap sample, with a progress bar.

    Rows are drawn with replacement: a resample multiplies the weights with multinomial counts
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3).
    """
    generator = np.random.default_rng(seed)
    count = len(weights)
    chances = np.full(count, 1 / count)
    for _ in tqdm(range(resamples), desc="bootstrap", unit=" resamples", leave=False, mininterval=1.0, disable=None):
        yield weights * generator.multinomial(count, chances)


def bootstrap(
    statistic: Callable[[FloatArray], Sequence[float] | FloatArray],
    weights: FloatArray,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Interval]:
    """Return each figure of ``statistic(weights)`` (shape (M,)) with its interval.

    Comparing two models inside one ``statistic`` makes the intervals paired. A resample in which a figure
    is NaN (no positive was drawn) does not count for that figure.
    """
    values = np.asarray(statistic(weights), dtype=np.float64)
    draws = np.array([statistic(drawn) for drawn in resample(weights, resamples, seed)])
    with warnings.catch_warnings():  # a figure that is never defined: NaN, as wanted
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, high = np.nanpercentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
    return [
        Interval(float(value), float(least), float(most)) for value, least, most in zip(values, low, high, strict=True)
    ]
