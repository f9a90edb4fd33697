import numpy as np
import pytest
from hypothesis import given
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from tests.train.metrics.strategies import Row, samples
from train.metrics.calibration import log_odds, recalibration, reliability
from train.metrics.figures import CALIBRATED, Column

ECE = CALIBRATED.index("ece")


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1.0), (2.0, 0.7)])
def test_recalibration_recovers_what_made_the_labels(slope: float, intercept: float) -> None:
    generator = np.random.default_rng(0)
    odds = generator.normal(-1, 2, 60_000)
    truth = (generator.random(60_000) < expit(intercept + slope * odds)).astype(float)
    found = recalibration(truth, odds, np.ones(60_000))
    assert found == pytest.approx((intercept, slope), abs=0.05)


@given(samples(least=20))
def test_recalibration_equals_scikit_learn(row: Row) -> None:
    truth, scores, weights = row
    odds = np.clip(log_odds(scores), -3, 3)
    intercept, slope = recalibration(truth, odds, weights)
    if np.isnan(slope) or abs(slope) > 5:
        return
    rival = LogisticRegression(C=np.inf, tol=1e-10, max_iter=2000, solver="newton-cholesky")
    model = rival.fit(odds[:, None], truth, sample_weight=weights)
    assert (intercept, slope) == pytest.approx((model.intercept_[0], model.coef_[0, 0]), abs=1e-3)


@given(samples(least=10))
def test_a_start_changes_nothing(row: Row) -> None:
    truth, scores, weights = row
    odds = np.clip(log_odds(scores), -3, 3)
    found = recalibration(truth, odds, weights)
    started = recalibration(truth, odds, weights, (0.3, 0.8))
    assert started == pytest.approx(found, abs=1e-6) or np.isnan([*found, *started]).any()


@pytest.mark.parametrize(
    ("truth", "odds"),
    [([0, 0, 0, 0], [1, 2, 3, 4]), ([0, 0, 1, 1], [1, 2, 3, 4]), ([0, 1, 0, 1], [2, 2, 2, 2]), ([], [])],
    ids=["one class", "separated", "all equal", "empty"],
)
def test_where_no_finite_fit_exists_there_is_no_slope(truth: list[float], odds: list[float]) -> None:
    found = recalibration(np.array(truth, dtype=float), np.array(odds, dtype=float), np.ones(len(truth)))
    assert np.isnan(found).all()


def test_overconfident_scores_have_a_slope_below_one_and_their_recalibration_has_one() -> None:
    generator = np.random.default_rng(1)
    odds = generator.normal(-2, 1.5, 20_000)
    truth = (generator.random(20_000) < expit(odds)).astype(float)
    intercept, slope = recalibration(truth, 2.5 * odds, np.ones(20_000))
    assert slope == pytest.approx(0.4, abs=0.03)
    assert recalibration(truth, intercept + slope * 2.5 * odds, np.ones(20_000)) == pytest.approx((0, 1), abs=1e-6)


@given(samples())
def test_reliability_bins_equal_scikit_learn(row: Row) -> None:
    truth, scores, _ = row
    inside = scores + 0.001 * (scores < 1) - 0.001 * (scores == 1)  # scikit-learn closes bins on the right
    bins = reliability(truth, inside, np.ones(len(truth)), count=10)
    rates, means = calibration_curve(truth, inside, n_bins=10)
    assert [found["rate"] for found in bins] == pytest.approx(list(rates))
    assert [found["mean_score"] for found in bins] == pytest.approx(list(means))


@given(samples())
def test_the_calibration_error_is_the_mean_gap_of_the_bins(row: Row) -> None:
    truth, scores, weights = row
    bins = reliability(truth, scores, weights)
    gaps = sum(found["weight"] * abs(found["rate"] - found["mean_score"]) for found in bins)
    ece = Column(truth, scores, scores >= 0.5).calibrated(weights)[ECE]
    assert ece == pytest.approx(gaps / weights.sum(), abs=1e-12)
