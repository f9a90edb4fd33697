import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from moderation.labels import LABELS
from tests.train.metrics.strategies import Row, samples
from train.metrics.figures import CALIBRATED, COMPARED, DECIDED, FIGURES, Column, Figures

K = len(LABELS)
HALF = [0.5] * K


@given(samples())
def test_decisions_equal_scikit_learn(row: Row) -> None:
    truth, scores, weights = row
    predicted = scores >= 0.5
    found = dict(zip(DECIDED, Column(truth, scores, predicted).decided(weights), strict=True))
    keep = {"sample_weight": weights, "zero_division": 0}
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted, sample_weight=weights))
    assert found["f1"] == pytest.approx(f1_score(truth, predicted, **keep))
    assert found["precision"] == pytest.approx(precision_score(truth, predicted, **keep))
    assert found["recall"] == pytest.approx(recall_score(truth, predicted, **keep))


@given(samples())
def test_the_brier_score_equals_scikit_learn_and_its_skill_is_over_the_prevalence(row: Row) -> None:
    truth, scores, weights = row
    found = dict(zip(CALIBRATED, Column(truth, scores, scores >= 0.5).calibrated(weights), strict=True))
    assert found["brier"] == pytest.approx(brier_score_loss(truth, scores, sample_weight=weights))
    if truth.min() != truth.max():
        constant = np.full(len(truth), np.average(truth, weights=weights))
        reference = brier_score_loss(truth, constant, sample_weight=weights)
        assert found["brier_skill"] == pytest.approx(1 - found["brier"] / reference)


@given(samples(unknown=True))
def test_what_the_gate_compares_are_the_same_figures(row: Row) -> None:
    truth, scores, weights = row
    column = Column(truth, scores, scores >= 0.5)
    if column.positives:
        every = dict(zip(FIGURES, column.all(weights), strict=True))
        assert column.compared(weights) == pytest.approx([every[name] for name in COMPARED], nan_ok=True)


@given(samples(labels=K))
def test_macro_micro_and_exact_match_equal_scikit_learn(row: Row) -> None:
    truth, scores, weights = row
    predicted = scores >= 0.5
    figures = Figures(truth, scores, HALF)
    exact = accuracy_score(truth.astype(int), predicted.astype(int), sample_weight=weights)
    assert figures.exact_match(weights) == pytest.approx(exact)
    pooled = dict(zip(FIGURES, figures.pooled(weights), strict=True))
    keep = {"sample_weight": weights, "zero_division": 0, "average": "micro"}
    assert pooled["f1"] == pytest.approx(f1_score(truth, predicted, **keep))
    assert pooled["recall"] == pytest.approx(recall_score(truth, predicted, **keep))
    if (truth.min(axis=0) != truth.max(axis=0)).all():
        mean = dict(zip(FIGURES, figures.by_label(weights)[-1], strict=True))
        for average, found in (("macro", mean), ("micro", pooled)):
            both = {"sample_weight": weights, "average": average}
            assert found["roc_auc"] == pytest.approx(roc_auc_score(truth, scores, **both))
            assert found["average_precision"] == pytest.approx(average_precision_score(truth, scores, **both))


@given(samples(unknown=True))
def test_rows_of_unknown_truth_change_no_figure(row: Row) -> None:
    truth, scores, weights = row
    known = ~np.isnan(truth)
    whole = Column(truth, scores, scores >= 0.5).all(weights)
    part = Column(truth[known], scores[known], scores[known] >= 0.5).all(weights[known])
    assert whole == pytest.approx(part, nan_ok=True, abs=1e-6)


def test_a_label_without_a_positive_is_left_out_of_the_mean() -> None:
    truth = np.tile([[1.0], [0.0], [1.0], [0.0]], K)
    truth[:, 1], truth[:, 2] = 0.0, np.nan
    scores = np.tile([[0.9], [0.1], [0.4], [0.2]], K)
    table = Figures(truth, scores, HALF).by_label(np.ones(4))
    f1_column = FIGURES.index("f1")
    assert np.isnan(table[1, 0])
    assert np.isnan(table[2]).all()
    assert table[-1, f1_column] == pytest.approx(2 / 3)
    assert table[-1, 0] == 1.0


def test_exact_match_asks_for_the_known_labels_only() -> None:
    truth = np.zeros((3, K))
    truth[0, 1:] = np.nan  # one known label, right
    truth[2] = np.nan  # nothing known
    scores = np.full((3, K), 0.2)
    scores[1, 3] = 0.9  # one of six wrong
    assert Figures(truth, scores, HALF).exact_match(np.array([1.0, 3.0, 7.0])) == pytest.approx(0.25)
