import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.errors import InvalidInputError
from train.perspective.curve import fit_curve


def sample(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities as rare labels have them, and other scores of the same order, rounded, with noise."""
    generator = np.random.default_rng(seed)
    hidden = generator.normal(size=count)
    noisy = hidden + generator.normal(0, 0.3, count)
    return 1 / (1 + np.exp(5 - 4 * hidden)), np.round(1 / (1 + np.exp(1.5 - 1.5 * noisy)), 2)


def test_as_many_comments_are_flagged_as_perspective_flags_on_comments_of_neither_fit() -> None:
    probabilities, scores = sample(1000)
    curve = fit_curve(probabilities, scores)
    ours, theirs = sample(20_000, seed=1)
    mapped = np.interp(ours, curve.probabilities, curve.scores)
    for threshold in (0.3, 0.5, 0.7, 0.8):
        assert (mapped >= threshold).mean() == pytest.approx((theirs >= threshold).mean(), rel=0.2)


@given(st.integers(0, 2**32 - 1), st.integers(100, 400), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_whatever_ties_and_empty_ends_there_are_the_map_rises_from_0_to_1(seed: int, count: int, digits: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.beta(0.05, 1, count).round(digits + 3)
    curve = fit_curve(probabilities, generator.beta(0.5, 2, count).round(digits))
    assert (curve.probabilities[0], curve.scores[0], curve.probabilities[-1], curve.scores[-1]) == (0, 0, 1, 1)
    assert all(np.diff(curve.probabilities) > 0)
    assert all(np.diff(curve.scores) > 0)


def test_too_few_comments_or_scores_that_do_not_differ_are_refused() -> None:
    probabilities, scores = sample(99)
    with pytest.raises(InvalidInputError, match=r"^99 comments .* needs 100$"):
        fit_curve(probabilities, scores)
    with pytest.raises(InvalidInputError, match="hardly differ"):
        fit_curve(sample(200)[0], np.zeros(200))
