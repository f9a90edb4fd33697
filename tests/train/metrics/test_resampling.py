import json

import numpy as np
import numpy.typing as npt
import pytest

from train.metrics.resampling import Interval, bootstrap


def test_bootstrap_interval_of_a_mean_has_the_known_width() -> None:
    values = np.random.default_rng(1).normal(size=400)
    (interval,) = bootstrap(lambda drawn: np.array([np.average(values, weights=drawn)]), np.ones(400), 2000)
    half_width = 1.96 * values.std() / np.sqrt(400)
    assert interval.value == pytest.approx(values.mean())
    assert (interval.high - interval.low) / 2 == pytest.approx(half_width, rel=0.1)


def test_the_same_seed_gives_the_same_interval() -> None:
    def statistic(drawn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.array([drawn[:3].sum()])

    assert bootstrap(statistic, np.ones(10), 50, seed=3) == bootstrap(statistic, np.ones(10), 50, seed=3)


def test_a_figure_that_is_never_defined_is_null_in_json() -> None:
    intervals = bootstrap(lambda drawn: [float("nan"), float(drawn.mean())], np.ones(5), 20)
    assert json.dumps(intervals[0].plain()) == '{"value": null, "low": null, "high": null}'
    assert intervals[1] == Interval(1.0, 1.0, 1.0)
