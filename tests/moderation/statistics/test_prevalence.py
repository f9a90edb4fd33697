import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import InvalidInputError
from moderation.statistics.prevalence import OperatingPoint, prevalence

GOOD = OperatingPoint(0.82, 0.98, 1500, 6800)


@pytest.mark.parametrize("true", [0.003, 0.01, 0.1, 0.3])
@pytest.mark.parametrize(("sensitivity", "specificity", "positives"), [(0.82, 0.98, 1500), (0.55, 0.9985, 47)])
def test_intervals_hold_the_truth(true: float, sensitivity: float, specificity: float, positives: int) -> None:
    rng = np.random.default_rng(1)
    total, negatives, runs = 10_000, 6800, 1000
    held = 0
    for _ in range(runs):
        point = OperatingPoint(
            rng.binomial(positives, sensitivity) / positives,
            rng.binomial(negatives, specificity) / negatives,
            positives,
            negatives,
        )
        found = prevalence(int(rng.binomial(total, true * sensitivity + (1 - true) * (1 - specificity))), total, point)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= true <= found.high
    assert held / runs >= 0.93


def test_the_share_predicted_is_corrected_where_prevalence_shifted() -> None:
    predicted = round(10_000 * (0.3 * 0.82 + 0.7 * 0.02))
    found = prevalence(predicted, 10_000, GOOD)
    assert found.value == pytest.approx(0.3, abs=1e-4)
    assert found.predicted == pytest.approx(0.26)
    assert found.low is not None
    assert found.low > found.predicted


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0, 1), st.floats(0, 1), st.integers(1, 500))
def test_what_comes_out_is_ordered_and_in_range(
    predicted: int, others: int, sensitivity: float, specificity: float, measured: int
) -> None:
    found = prevalence(predicted, predicted + others, OperatingPoint(sensitivity, specificity, measured, measured))
    if found.value is None:
        assert found.refusal
        assert found.low is found.high is None
    else:
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_no_comments_and_a_model_no_better_than_chance_are_refused() -> None:
    assert prevalence(0, 0, GOOD).refusal == "no comments"
    found = prevalence(30, 100, OperatingPoint(0.3, 0.75, 40, 400))
    assert found.value is None
    assert "no better than chance" in (found.refusal or "")


def test_what_is_predicted_of_a_prevalence_corrects_back_to_it() -> None:
    share = GOOD.predicted(0.25)
    assert share == pytest.approx(0.25 * 0.82 + 0.75 * 0.02)
    assert prevalence(round(share * 10_000), 10_000, GOOD).value == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize("point", [(1.2, 0.9, 10, 10), (0.8, -0.1, 10, 10), (0.8, 0.9, 0, 10), (0.8, 0.9, 10, 0)])
def test_figures_that_no_classifier_has_are_refused(point: tuple[float, float, int, int]) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        OperatingPoint(*point)


@pytest.mark.parametrize(("predicted", "total"), [(-1, 10), (11, 10)])
def test_impossible_counts_are_refused(predicted: int, total: int) -> None:
    with pytest.raises(InvalidInputError, match="expected 0 to all"):
        prevalence(predicted, total, GOOD)
