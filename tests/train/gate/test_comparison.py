"""The statistics of the gate against what must hold; its figures are tested with those of `train.metrics`."""

import dataclasses

import numpy as np

from moderation.labels import LABELS
from train.gate.calibration import calibration_checks, reliability_points
from train.gate.comparison import compare, comparison_checks, simultaneous_bounds
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
    points = reliability_points(*sample(20_000))
    assert list(points) == list(LABELS)
    assert all(abs(score - share) < 0.06 for found in points.values() for score, share in found)


def test_labels_that_the_data_do_not_know_are_left_out_and_change_nothing() -> None:
    data, scores = sample(2000)
    truth = data.truth.copy()
    truth[:, 1], truth[:, 4] = np.nan, np.nan
    part = dataclasses.replace(data, truth=truth)
    known = [label for k, label in enumerate(LABELS) if k not in (1, 4)]
    worse = np.clip(scores * 0.9 + 0.05, 0, 1).astype(np.float32)
    whole, found = (compare(each, worse, scores, RULES) for each in (data, part))
    assert found.labels == part.labels == tuple(known)
    np.testing.assert_array_equal(found.candidate, np.delete(whole.candidate, [1, 4], axis=0))
    checks = comparison_checks(found, RULES, FLOORS)
    assert [check.label for check in checks] == known * 5
    assert all(check.value is not None and np.isfinite(check.value) for check in checks)
    slopes = CalibrationRules(slope=(0.1, 9))
    assert [check.label for check in calibration_checks(part, scores, slopes)] == known
