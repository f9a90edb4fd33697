import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import InvalidInputError
from train.calibration import best_f1_threshold, fit_platt
from train.metrics import f1

Column = npt.NDArray[np.float64]


def sample(count: int, scale: float, offset: float) -> tuple[Column, Column]:
    generator = np.random.default_rng(0)
    logits = generator.normal(-2, 2, count)
    truth = generator.random(count) < 1 / (1 + np.exp(-(scale * logits + offset)))
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


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(1, 3)), min_size=3, max_size=40))
def test_no_other_threshold_between_two_scores_has_a_higher_f1(rows: list[tuple[int, int, int]]) -> None:
    truth, scores, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    scores /= 20
    between = (np.unique(scores)[1:] + np.unique(scores)[:-1]) / 2
    if truth.max() == 0 or not len(between):
        return
    chosen = f1(truth, scores >= best_f1_threshold(truth, scores, weights), weights)
    assert chosen == pytest.approx(max(f1(truth, scores >= threshold, weights) for threshold in between))
