import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from moderation.labels import LABELS
from tests.train.metrics.strategies import Row, samples
from train.metrics.curves import curves, worst_errors

K = len(LABELS)


@given(samples())
def test_curves_that_are_not_thinned_equal_scikit_learn(row: Row) -> None:
    truth, scores, weights = row
    found = curves(np.tile(truth[:, None], K), np.tile(scores[:, None], K), weights)
    if truth.min() == truth.max():
        assert found == {}
        return
    roc = found["toxic"]["roc"]
    false_rate, true_rate, _ = roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)
    assert roc["false_positive_rate"] == pytest.approx(list(false_rate))
    assert roc["true_positive_rate"] == pytest.approx(list(true_rate))
    precision, recall, thresholds = precision_recall_curve(truth, scores, sample_weight=weights)
    ours = found["toxic"]["precision_recall"]
    theirs = dict(zip(thresholds, zip(precision, recall, strict=False), strict=False))
    for point in zip(ours["threshold"], ours["precision"], ours["recall"], strict=True):
        assert theirs[point[0]] == pytest.approx(point[1:])


def test_thinned_curves_keep_their_ends_and_their_area() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random((20_000, K))
    truth = (generator.random((20_000, K)) < scores).astype(float)
    found = curves(truth, scores, np.ones(20_000), points=100)["insult"]
    roc = found["roc"]
    assert 50 < len(roc["threshold"]) <= 100
    assert len(found["precision_recall"]["recall"]) <= 100
    assert (roc["false_positive_rate"][0], roc["true_positive_rate"][-1]) == (0, 1)
    assert found["precision_recall"]["recall"][-1] == 1
    full = roc_curve(truth[:, 4], scores[:, 4])
    area = auc(roc["false_positive_rate"], roc["true_positive_rate"])
    assert area == pytest.approx(auc(full[0], full[1]), abs=1e-3)
    json.dumps(found, allow_nan=False)


def test_the_worst_errors_are_named_by_id_and_row_and_never_by_text() -> None:
    rows = pd.DataFrame({"id": ["a", None, "c"], "comment_text": ["x", "y", "z"], "weight": 1.0}, index=[7, 8, 9])
    rows[list(LABELS)] = np.array([[0.0] * K, [1.0] * K, [np.nan] * K])
    scores = np.tile([[0.3], [0.1], [0.9]], K)
    found = worst_errors(rows, scores, count=2)
    assert list(found.columns) == ["label", "id", "row", "truth", "score"]
    first = found[found["label"] == "toxic"]
    assert first["row"].tolist() == [8, 7]
    assert first["score"].tolist() == [0.1, 0.3]
    assert len(found) == 2 * K  # what is unknown is no error
