import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from train.metrics import average_precision, bootstrap, f1, roc_auc

rows = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        arrays(np.int8, n, elements=st.integers(0, 1)),
        arrays(np.float64, n, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0])),
        arrays(np.float64, n, elements=st.sampled_from([1.0, 2.466, 0.5])),
    )
)
Row = tuple[npt.NDArray[np.int8], npt.NDArray[np.float64], npt.NDArray[np.float64]]


@given(rows)
def test_ranking_metrics_equal_scikit_learn_with_weights_and_ties(row: Row) -> None:
    truth, scores, weights = row
    if truth.min() == truth.max():
        assert np.isnan(roc_auc(truth, scores, weights))
        return
    assert roc_auc(truth, scores, weights) == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights))
    expected = average_precision_score(truth, scores, sample_weight=weights)
    assert average_precision(truth, scores, weights) == pytest.approx(expected)


@given(rows)
def test_f1_equals_scikit_learn(row: Row) -> None:
    truth, scores, weights = row
    predicted = scores >= 0.5
    expected = f1_score(truth, predicted, sample_weight=weights, zero_division=0)
    assert f1(truth, predicted, weights) == pytest.approx(expected)


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
