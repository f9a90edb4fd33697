import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from sklearn.isotonic import IsotonicRegression

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.scoring.scorer import to_scores
from tests.train.metrics.strategies import Row, samples
from train.calibration import fit_calibration, fit_calibrations, fit_isotonic, fit_platt, uncalibrated
from train.metrics.calibration import log_odds, recalibration
from train.metrics.ranking import Ranking

Column = npt.NDArray[np.float64]


def sample(count: int, scale: float, offset: float) -> tuple[Column, Column]:
    generator = np.random.default_rng(0)
    logits = generator.normal(-2, 2, count)
    truth = generator.random(count) < 1 / (1 + np.exp(-(scale * logits + offset)))
    return truth.astype(float), logits


def stepped(count: int) -> tuple[Column, Column]:
    """Labels of a rate that jumps, which no sigmoid follows."""
    generator = np.random.default_rng(1)
    logits = generator.uniform(-4, 4, count)
    truth = generator.random(count) < np.where(logits > 0, 0.6, 0.1)
    return truth.astype(float), logits


def test_platt_recovers_the_scale_and_offset_that_made_the_labels() -> None:
    truth, logits = sample(40_000, scale=0.7, offset=-1.0)
    fitted = fit_platt(truth, logits, np.ones_like(logits))
    assert fitted.scale == pytest.approx(0.7, abs=0.03)
    assert fitted.offset == pytest.approx(-1.0, abs=0.06)


def test_weights_restore_the_prevalence_of_thinned_rows() -> None:
    truth, logits = sample(40_000, scale=1.0, offset=0.0)
    kept = (truth == 1) | (np.arange(len(truth)) % 4 == 0)
    weights = np.where(truth == 1, 1.0, 4.0)[kept]
    fitted = fit_platt(truth[kept], logits[kept], weights)
    assert fitted.offset == pytest.approx(0.0, abs=0.08)


def test_logits_that_rank_backwards_are_refused() -> None:
    truth, logits = sample(1_000, scale=1.0, offset=0.0)
    with pytest.raises(InvalidInputError, match="worse than chance"):
        fit_platt(truth, -logits, np.ones_like(logits))


@given(samples(least=4))
def test_isotonic_calibration_leaves_the_ranking_as_it_is(row: Row) -> None:
    truth, scores, weights = row
    logits = log_odds(np.clip(scores.round(3), 0.01, 0.99))  # closer ones would tie in float32
    fitted = to_scores(logits[:, None], [fit_isotonic(truth, logits, weights)])[:, 0]  # type: ignore[arg-type]
    assert ((fitted > 0) & (fitted < 1)).all()
    assert Ranking(truth, fitted).both(weights) == pytest.approx(Ranking(truth, logits).both(weights), nan_ok=True)


def test_isotonic_calibration_keeps_the_ranking_of_thousands_of_logits() -> None:
    truth, logits = stepped(8_000)
    logits = logits.astype(np.float32).astype(float)
    weights = np.random.default_rng(2).uniform(0.5, 2, 8_000)
    calibrated = to_scores(logits[:, None].astype(np.float32), [fit_isotonic(truth, logits, weights)])[:, 0]
    assert Ranking(truth, calibrated).both(weights) == pytest.approx(Ranking(truth, logits).both(weights), abs=1e-6)
    steps = IsotonicRegression().fit_transform(logits, truth, sample_weight=weights)
    assert len(np.unique(steps)) < 100 < len(np.unique(calibrated))  # which steps alone would have tied


def test_isotonic_calibration_follows_the_rates_of_isotonic_regression() -> None:
    truth, logits = stepped(30_000)
    calibrated = to_scores(logits[:, None], [fit_isotonic(truth, logits, np.ones_like(logits))])[:, 0]  # type: ignore[arg-type]
    assert calibrated[logits < -1].mean() == pytest.approx(0.1, abs=0.02)
    assert calibrated[logits > 1].mean() == pytest.approx(0.6, abs=0.02)
    assert recalibration(truth, log_odds(calibrated), np.ones_like(truth))[1] == pytest.approx(1, abs=0.05)


def test_the_method_with_the_lower_brier_score_out_of_sample_is_taken() -> None:
    truth, logits = stepped(6_000)
    found = fit_calibration(truth, logits, np.ones_like(logits))
    assert found.calibration.method == "isotonic"
    assert found.brier["isotonic"] < found.brier["platt"]
    truth, logits = sample(2_000, scale=0.8, offset=0.5)
    found = fit_calibration(truth, logits, np.ones_like(logits))
    assert found.calibration.method == "platt"
    assert found.brier["platt"] <= found.brier["isotonic"]


def test_a_few_positives_are_calibrated_by_platt_without_a_comparison() -> None:
    truth, logits = stepped(100)
    truth[np.flatnonzero(truth)[19:]] = 0
    found = fit_calibration(truth, logits, np.ones_like(logits))
    assert (found.calibration.method, found.brier) == ("platt", {})


def test_every_label_is_calibrated_on_its_known_rows() -> None:
    truth, logits = sample(3_000, scale=0.5, offset=0.3)
    rows = pd.DataFrame(dict.fromkeys(LABELS, truth)).assign(weight=1.0)
    columns = np.tile(logits[:, None], len(LABELS))
    rows.loc[1_000:, "threat"] = np.nan
    found = dict(zip(LABELS, fit_calibrations(rows, columns), strict=True))
    assert found["toxic"] == fit_calibration(truth, logits, np.ones_like(logits))
    assert found["threat"] == fit_calibration(truth[:1_000], logits[:1_000], np.ones(1_000))


def test_a_label_that_cannot_be_calibrated_is_named() -> None:
    truth, logits = sample(500, scale=1.0, offset=0.0)
    rows = pd.DataFrame(dict.fromkeys(LABELS, truth)).assign(weight=1.0, insult=0.0)
    with pytest.raises(InvalidInputError, match="insult: .*need a positive"):
        fit_calibrations(rows, np.tile(logits[:, None], len(LABELS)))


def test_a_label_that_no_row_states_keeps_the_sigmoid_of_its_logit() -> None:
    truth, logits = sample(500, scale=0.5, offset=0.3)
    rows = pd.DataFrame(dict.fromkeys(LABELS, truth)).assign(weight=1.0, insult=np.nan)
    found = dict(zip(LABELS, fit_calibrations(rows, np.tile(logits[:, None], len(LABELS))), strict=True))
    assert found["insult"].calibration == uncalibrated(1)[0] != found["toxic"].calibration
    assert found["insult"].brier == {}


def test_a_label_that_is_ranked_backwards_is_named() -> None:
    truth, logits = sample(500, scale=1.0, offset=0.0)
    rows = pd.DataFrame(dict.fromkeys(LABELS, truth)).assign(weight=1.0, obscene=1 - truth)
    with pytest.raises(InvalidInputError, match="obscene: calibration has slope -"):
        fit_calibrations(rows, np.tile(logits[:, None], len(LABELS)))


def test_the_state_before_calibration_is_the_sigmoid_of_the_logit() -> None:
    logits = np.array([[-2.0] * len(LABELS), [0.5] * len(LABELS)], dtype=np.float32)
    np.testing.assert_allclose(to_scores(logits, uncalibrated()), 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_steps_of_one_rate_are_one_knot_whatever_the_weights() -> None:
    # Blocks of positives before negatives: each becomes one step with the rate 1 / (1 + 2.466), up to rounding.
    counts = np.random.default_rng(0).integers(1, 40, 60)
    truth = np.concatenate([np.repeat([1.0, 0.0], count) for count in counts])
    weights = np.where(truth == 1, 1.0, 2.466)
    knots = fit_isotonic(truth, np.arange(len(truth), dtype=np.float64), weights).log_odds
    assert len(knots) == 1
    assert knots[0] == pytest.approx(-np.log(2.466))
