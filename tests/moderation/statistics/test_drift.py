from math import log

import numpy as np
import pytest
from scipy import stats

from moderation.errors import InvalidInputError
from moderation.statistics.drift import DailyHistogram, compare, distance, f_tail

BINS = 20


def site(seed: int, days: int, comments: int, spread: float, correlation: float, moved: float = 0.0) -> DailyHistogram:
    """Days whose scores rise and fall together, by log-odds that follow an autoregression; ``moved`` from day 14 on."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(days)
    totals = np.round(comments * np.where(numbers % 7 < 5, 1.05, 0.875)).astype(int)
    state = rng.standard_normal(days)
    for day in range(1, days):
        state[day] = correlation * state[day - 1] + np.sqrt(1 - correlation**2) * state[day]
    tilt = spread * state + 0.15 * rng.standard_normal(7)[numbers % 7] + np.where(numbers >= 14, moved, 0)
    shares = np.r_[0.85, np.geomspace(0.03, 0.003, BINS - 1)] * np.exp(tilt[:, None] * np.linspace(0, 1, BINS))
    shares /= shares.sum(axis=1, keepdims=True)
    return DailyHistogram(
        numbers, np.stack([rng.multinomial(total, share) for total, share in zip(totals, shares, strict=True)])
    )


def p_values(runs: int, last: int, **how: float) -> np.ndarray:
    found = []
    for seed in range(runs):
        days = site(seed, last + 1, **how)  # type: ignore[arg-type]
        found.append(compare(days.between(0, 13), days.between(14, last)).p_value)
    return np.array(found)


@pytest.mark.parametrize(("spread", "correlation"), [(0.0, 0.0), (0.1, 0.0), (0.1, 0.7)])
def test_quiet_ranges_rarely_look_drifted_though_their_days_do(spread: float, correlation: float) -> None:
    found = p_values(100, 27, comments=10_000, spread=spread, correlation=correlation)
    assert (found < 0.05).mean() <= 0.08


def test_the_same_ranges_look_drifted_to_a_test_that_takes_comments_for_independent() -> None:
    rejected = 0
    for seed in range(50):
        counts = site(seed, 28, 10_000, 0.1, 0.7).counts
        rejected += stats.chi2_contingency(np.stack([counts[:14].sum(axis=0), counts[14:].sum(axis=0)])).pvalue < 0.05
    assert rejected >= 15  # six times the 5 % that it states


def test_a_real_change_is_significant_and_more_so_with_more_comments() -> None:
    many = p_values(30, 27, comments=10_000, spread=0.05, correlation=0.35, moved=0.4)
    few = p_values(30, 27, comments=300, spread=0.05, correlation=0.35, moved=0.4)
    assert (many < 0.01).mean() > 0.9
    assert np.median(few) > np.median(many)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("correlation", [0.0, 0.35, 0.7])
@pytest.mark.parametrize("spread", [0.0, 0.1])
@pytest.mark.parametrize("comments", [300, 10_000])
def test_size_over_a_thousand_sites(correlation: float, spread: float, comments: int) -> None:
    found = p_values(1000, 27, comments=comments, spread=spread, correlation=correlation)
    assert (found < 0.05).mean() <= 0.06
    assert (found < 0.01).mean() <= 0.02


def test_quiet_psi_is_the_mean_of_quiet_sites_or_above() -> None:
    found = []
    for seed in range(60):
        days = site(seed, 28, 10_000, 0.1, 0.0)
        found.append(compare(days.between(0, 13), days.between(14, 27)))
    psi = np.mean([each.from_baseline.psi for each in found if each.from_baseline])
    quiet = np.mean([each.quiet_psi for each in found])
    assert psi * 0.8 <= quiet <= psi * 3


def test_distances_against_their_definitions() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    found = distance(p * 50, q)
    assert found.psi == pytest.approx(0.1 * log(0.5 / 0.4) - 0.1 * log(0.3 / 0.4))
    middle = (p + q) / 2
    assert found.jensen_shannon**2 == pytest.approx((stats.entropy(p, middle, 2) + stats.entropy(q, middle, 2)) / 2)
    small = distance(p, p + np.array([0.001, -0.001, 0]))
    assert small.psi == pytest.approx(8 * log(2) * small.jensen_shannon**2, rel=0.01)


def test_nothing_in_common_is_far_and_finite() -> None:
    found = distance(np.array([10, 0]), np.array([0, 10]))
    assert found.jensen_shannon == pytest.approx(1, abs=0.01)
    assert np.isfinite(found.psi)
    assert distance(np.array([3, 7]), np.array([3, 7])).psi == 0


@pytest.mark.parametrize("above", [1.0, 3.5, 19.0])
@pytest.mark.parametrize("below", [7.0, 30.0, 400.0])
def test_tail_of_f_against_scipy(above: float, below: float) -> None:
    for expected in (0.5, 0.05, 0.01, 0.001):
        value = stats.f.isf(expected, above, below)
        assert f_tail(value, above, below) == pytest.approx(expected, abs=0.004, rel=0.2)


def test_the_reference_is_shown_also_when_the_baseline_is_too_short() -> None:
    days = site(1, 20, 1000, 0.0, 0.0)
    reference = days.counts.sum(axis=0) / days.counts.sum()
    found = compare(days.between(0, 9), days.between(10, 19), reference)
    assert found.refusal is not None
    assert "10 days" in found.refusal
    assert found.from_baseline is None
    assert found.from_reference is not None
    assert found.from_reference.psi < 0.1


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (DailyHistogram(np.array([20]), np.zeros((1, BINS), int)), "no comments"),
        (DailyHistogram(np.array([20]), np.eye(1, BINS, dtype=int)), "expected in the smaller range"),
        (DailyHistogram(np.array([20]), np.full((1, BINS), 7)), None),
    ],
)
def test_ranges_that_say_little(later: DailyHistogram, words: str | None) -> None:
    found = compare(site(2, 14, 1000, 0.0, 0.0), later)
    assert (found.refusal is None) if words is None else (words in (found.refusal or ""))


def test_a_range_of_weekdays_unknown_to_the_baseline_is_refused() -> None:
    days = site(3, 70, 1000, 0.0, 0.0)
    workdays = days.days % 7 < 5
    baseline = DailyHistogram(days.days[workdays][:15], days.counts[workdays][:15])
    assert "weekday" in (compare(baseline, days.between(61, 62)).refusal or "")


@pytest.mark.parametrize("first", [13, 5])
def test_overlapping_ranges_are_refused(first: int) -> None:
    days = site(4, 30, 1000, 0.0, 0.0)
    with pytest.raises(InvalidInputError, match="later range begins"):
        compare(days.between(0, 13), days.between(first, 29))


def test_other_bins_are_refused() -> None:
    days = site(5, 30, 1000, 0.0, 0.0)
    with pytest.raises(InvalidInputError, match="expected one number"):
        compare(days.between(0, 13), days.between(14, 29), np.ones(5))
    with pytest.raises(InvalidInputError, match=r"expected \(T,\)"):
        DailyHistogram(np.arange(3), np.ones((2, 5), int))
    with pytest.raises(InvalidInputError, match="ascending"):
        DailyHistogram(np.array([2, 1]), np.ones((2, 5), int))
