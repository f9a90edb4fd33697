"""The statistics of the gate, against scikit-learn and against what must hold."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from moderation.labels import LABELS
from train.gate.calibration import calibration_checks, recalibration_slope, reliability
from train.gate.comparison import LabelFigures, compare, comparison_checks, simultaneous_bounds
from train.gate.frozen import FloatArray, FrozenData
from train.gate.rules import CalibrationRules, ComparisonRules, FloorRules

RULES = ComparisonRules(
    resamples=200,
    margins={figure: {"default": 0.05} for figure in ("roc_auc", "average_precision", "brier_skill")},
)
FLOORS = FloorRules(roc_auc=0.6, brier_skill=-1.0)


def sample(count: int = 600, seed: int = 0) -> tuple[FrozenData, np.ndarray]:
    """Calibrated scores (N, K) and truth that was drawn with them."""
    chance = np.random.default_rng(seed)
    scores = chance.beta(0.5, 1.0, (count, len(LABELS))).astype(np.float32)
    truth = (chance.random(scores.shape) < scores).astype(np.float64)
    return FrozenData([str(n) for n in range(count)], truth, chance.uniform(0.5, 2.0, count), "0" * 64), scores


def test_figures_equal_those_of_scikit_learn() -> None:
    data, scores = sample()
    truth, found, weights = data.truth[:, 0], scores[:, 0], data.weights
    roc_auc, precision, skill = LabelFigures(truth, found)(weights)
    prevalence = np.full(len(truth), np.average(truth, weights=weights))
    losses = [brier_score_loss(truth, each, sample_weight=weights) for each in (found, prevalence)]
    assert roc_auc == pytest.approx(roc_auc_score(truth, found, sample_weight=weights))
    assert precision == pytest.approx(average_precision_score(truth, found, sample_weight=weights))
    assert skill == pytest.approx(1 - losses[0] / losses[1], abs=1e-6)


def test_rows_whose_truth_is_not_known_do_not_count() -> None:
    data, scores = sample()
    truth = data.truth[:, 0].copy()
    truth[:100] = np.nan
    left = LabelFigures(data.truth[100:, 0], scores[100:, 0])(data.weights[100:])
    np.testing.assert_allclose(LabelFigures(truth, scores[:, 0])(data.weights), left)


def test_a_bundle_is_no_worse_than_itself() -> None:
    data, scores = sample()
    found = compare(data, scores, scores, RULES)
    assert found.rival is not None
    assert np.all(found.rival.low == 0)
    assert all(check.passed for check in comparison_checks(found, RULES, FLOORS))


def test_a_worse_label_is_refused_and_named_and_the_others_pass() -> None:
    data, scores = sample(2000)
    worse = scores.copy()
    worse[:, 3] = np.random.default_rng(1).permutation(worse[:, 3])
    checks = comparison_checks(compare(data, worse, scores, RULES), RULES, FLOORS)
    refused = [check for check in checks if not check.passed]
    assert {check.label for check in refused} == {LABELS[3]}
    assert {check.name for check in refused if check.rival is not None} == {
        "ROC-AUC",
        "average precision",
        "Brier skill",
    }
    assert all("worse than production" in check.reason for check in refused if check.rival is not None)


def test_too_little_data_is_said_to_show_nothing() -> None:
    data, scores = sample(60)
    noisy = np.clip(scores + np.random.default_rng(2).normal(0, 0.1, scores.shape), 0.001, 0.999).astype(np.float32)
    checks = comparison_checks(compare(data, noisy, scores, RULES), RULES, FLOORS)
    assert any("not shown to be as good as production" in check.reason for check in checks)


def test_without_production_only_the_floors_are_judged() -> None:
    data, scores = sample()
    checks = comparison_checks(compare(data, scores, None, RULES), RULES, FLOORS)
    assert {check.group for check in checks} == {"floors"}


def test_bounds_hold_for_all_figures_at_once_and_are_not_wasteful() -> None:
    # Sample means of correlated figures, whose true value is 0: how often do all lower bounds stay below it?
    chance, held, trials = np.random.default_rng(0), 0, 400
    for _ in range(trials):
        rows: FloatArray = chance.normal(size=(80, 1)) * 0.7 + chance.normal(size=(80, 8)) * 0.7
        counts = chance.multinomial(80, np.full(80, 1 / 80), size=300)
        low, _ = simultaneous_bounds(rows.mean(axis=0), counts @ rows / 80, 0.95)
        held += bool(np.all(low <= 0))
    assert 0.91 <= held / trials <= 0.98


def test_the_slope_equals_that_of_scikit_learn_and_its_error_is_right() -> None:
    slopes = []
    for seed in range(60):
        data, scores = sample(400, seed)
        truth, found, weights = data.truth[:, 0], scores[:, 0], data.weights
        slope, error = recalibration_slope(truth, found, weights)
        slopes.append((slope, error))
        if seed == 0:
            clipped = np.clip(found.astype(float), 1e-7, 1 - 1e-7)
            model = LogisticRegression(C=np.inf, tol=1e-8).fit(
                np.log(clipped / (1 - clipped))[:, None], truth, sample_weight=weights
            )
            assert slope == pytest.approx(model.coef_[0, 0], rel=1e-3)
    spread, stated = np.std([slope for slope, _ in slopes]), np.mean([error for _, error in slopes])
    assert np.mean([slope for slope, _ in slopes]) == pytest.approx(1, abs=0.1)
    assert stated == pytest.approx(spread, rel=0.35)


def test_over_confident_scores_fail_the_calibration() -> None:
    data, scores = sample(2000)
    odds = np.log(np.clip(scores, 1e-6, 1 - 1e-6) / (1 - np.clip(scores, 1e-6, 1 - 1e-6)))
    bold = (1 / (1 + np.exp(-3 * odds))).astype(np.float32)
    rules = CalibrationRules(slope=(0.7, 1.4))
    assert all(check.passed for check in calibration_checks(data, scores, rules))
    refused = calibration_checks(data, bold, rules)
    assert not any(check.passed for check in refused)
    assert "calibration slope is 0.3" in refused[0].reason


def test_a_slope_that_does_not_exist_fails_and_is_no_number() -> None:
    data, scores = sample(200)
    check = calibration_checks(data, np.full_like(scores, 0.3), CalibrationRules(slope=(0.7, 1.4)))[0]
    assert not check.passed
    assert check.value is None
    assert "does not exist" in check.reason


def test_calibrated_scores_are_near_the_diagonal() -> None:
    data, scores = sample(20_000)
    assert all(abs(score - share) < 0.05 for score, share in reliability(data.truth[:, 0], scores[:, 0], data.weights))
