import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import InvalidInputError
from moderation.policy import DECISIONS, LabelThresholds, Policy
from moderation.statistics import backtest

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.1000001, 0.2, 0.5, 0.9, 1.0]), min_size=1, max_size=40)


def test_decisions_are_those_of_the_policy() -> None:
    policy = Policy({"toxic": LabelThresholds(0.3, 0.9), "threat": LabelThresholds(0.5, None)})
    scores, truncated = np.random.default_rng(0).random((500, 2)), np.arange(500) % 3 == 0
    rows = [dict(zip(("toxic", "threat"), row, strict=True)) for row in scores.tolist()]
    said = [policy.decide(row, cut).decision for row, cut in zip(rows, truncated.tolist(), strict=True)]
    found = backtest.decide(scores, truncated, ("toxic", "threat"), policy)
    assert [DECISIONS[place] for place in found] == said
    assert set(said) == set(DECISIONS)


def test_transitions_count_from_which_decision_to_which() -> None:
    found = backtest.transitions(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]))
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_rows_that_stand_for_many_count_as_many() -> None:
    before, after, weights = np.array([0, 1, 1]), np.array([1, 1, 2]), np.array([3.0, 1.0, 6.0])
    assert backtest.transitions(before, after, weights).tolist() == [[0, 3, 0], [0, 1, 6], [0, 0, 0]]
    scores = np.array([0.9, 0.8, 0.2])
    assert backtest.threshold_for_volume(scores, 40, 100, weights) == 0.8  # the first two stand for 40 of 100
    assert backtest.threshold_for_volume(scores, 39, 100, weights) == 0.9


def test_the_interval_of_a_weighted_share_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    population = generator.random(20_000) < np.where(np.arange(20_000) < 2_000, 0.5, 0.02)
    sizes, drawn = (2_000, 18_000), (60, 60)
    strata, weights = np.repeat([0, 1], drawn), np.repeat([2_000 / 60, 18_000 / 60], drawn)
    held = 0
    for _ in range(400):
        rows = np.concatenate([generator.choice(size, n, replace=False) for size, n in zip(sizes, drawn, strict=True)])
        found = backtest.weighted_share(population[rows + 2_000 * strata], weights, strata)
        held += found.low <= population.mean() <= found.high
    assert held / 400 >= 0.93


def test_a_share_of_everything_is_exact() -> None:
    found = backtest.weighted_share(np.array([True, False]), np.ones(2), np.zeros(2, dtype=np.int64))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    nothing = backtest.weighted_share(np.zeros(50, dtype=np.bool_), np.full(50, 10.0), np.zeros(50, dtype=np.int64))
    assert nothing.low == 0 < nothing.high < 0.1
    with pytest.raises(InvalidInputError):
        backtest.weighted_share(np.array([], dtype=np.bool_), np.array([]), np.array([], dtype=np.int64))


@given(SCORES, st.integers(0, 45))
def test_the_threshold_of_a_volume_is_the_lowest_that_keeps_to_it(values: list[float], most: int) -> None:
    scores = np.array(values)
    threshold = backtest.threshold_for_volume(scores, most, len(scores))
    assert (scores >= threshold).sum() <= most
    lower = scores[scores < threshold]
    if len(lower):
        assert (scores >= lower.max()).sum() > most


@given(SCORES, st.integers(0, 45), st.integers(0, 45))
def test_a_larger_budget_never_asks_for_a_higher_threshold(values: list[float], one: int, other: int) -> None:
    scores = np.array(values)
    small, large = sorted((one, other))
    volumes = [backtest.threshold_for_volume(scores, most, len(scores)) for most in (small, large)]
    rates = [backtest.threshold_for_false_positives(scores, 1.1 - scores, most / 45) for most in (small, large)]
    assert volumes[0] >= volumes[1]
    assert rates[0] >= rates[1]


@given(SCORES, st.floats(0, 1))
def test_the_threshold_of_a_false_positive_rate_is_the_lowest_that_keeps_to_it(
    values: list[float], most: float
) -> None:
    scores, negative = np.array(values), 1 - np.array(values) * 0.5
    threshold = backtest.threshold_for_false_positives(scores, negative, most)

    def rate(limit: float) -> float:
        return float(negative[scores >= limit].sum() / negative.sum())

    assert rate(threshold) <= most + 1e-9
    lower = scores[scores < threshold]
    if len(lower):
        assert rate(lower.max()) > most - 1e-9


def test_all_thresholds_move_together_until_the_budget_is_kept() -> None:
    generator = np.random.default_rng(1)
    scores = {"toxic": generator.random(1000), "threat": generator.random(1000) ** 3}
    start = {"toxic": 0.6, "threat": 0.3}
    moved = backtest.thresholds_for_reviews(scores, start, 50, 2000)
    caused = sum(2 for row in range(1000) if any(scores[name][row] >= moved[name] - 1e-12 for name in moved))
    assert 46 <= caused <= 50
    odds = [moved[name] / (1 - moved[name]) / (start[name] / (1 - start[name])) for name in start]
    assert odds[0] == pytest.approx(odds[1])


def test_nonsense_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        backtest.transitions(np.array([0]), np.array([0, 1]))
    with pytest.raises(InvalidInputError):
        backtest.threshold_for_volume(np.array([]), 1, 1)
    with pytest.raises(InvalidInputError):
        backtest.threshold_for_false_positives(np.array([0.5]), np.array([0.0]), 0.1)
