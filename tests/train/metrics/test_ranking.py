import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.train.metrics.strategies import Row, samples
from train.metrics.ranking import Ranking, average_precision, hard


@given(samples())
def test_ranking_metrics_equal_scikit_learn_with_weights_and_ties(row: Row) -> None:
    truth, scores, weights = row
    if truth.min() == truth.max():
        assert np.isnan(Ranking(truth, scores).roc_auc(weights))
        return
    assert Ranking(truth, scores).roc_auc(weights) == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights))
    expected = average_precision_score(truth, scores, sample_weight=weights)
    assert average_precision(truth, scores, weights) == pytest.approx(expected)


@given(samples(unknown=True))
def test_rows_of_unknown_truth_change_nothing(row: Row) -> None:
    truth, scores, weights = row
    known = ~np.isnan(truth)
    kept = truth[known], scores[known], weights[known]
    assert Ranking(truth, scores).both(weights) == pytest.approx(Ranking(*kept[:2]).both(kept[2]), nan_ok=True)


@given(samples(labels=3))
def test_rows_name_whose_weight_each_entry_has(row: Row) -> None:
    truth, scores, weights = row
    rows = np.repeat(np.arange(len(truth)), 3)
    pooled = Ranking(truth.ravel(), scores.ravel(), rows).both(weights)
    assert pooled == pytest.approx(Ranking(truth.ravel(), scores.ravel()).both(weights[rows]), nan_ok=True)


def test_a_share_of_one_half_counts_as_present_and_an_unknown_one_stays_unknown() -> None:
    np.testing.assert_array_equal(hard([0.0, 0.49, 0.5, 1.0, np.nan]), [0.0, 0.0, 1.0, 1.0, np.nan])
