from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from benchmarks.drift_alarm import Site, measure, simulate
from moderation.errors import InvalidInputError
from moderation.statistics.alarm import DailyClasses, adjusted, evidence, stabilize, watch

ONE_LABEL, EACH_OF_SIX = 20, 120


def site_days(seed: int = 0, days: int = 120, changed: int | None = None, site: Site | None = None) -> DailyClasses:
    numbers, totals, positives = simulate(
        np.random.default_rng(seed), site or Site(0.5, 0.05), days, 2, changed, factor=2.0
    )
    return DailyClasses(numbers, totals, {"toxic": positives[:, 0], "insult": positives[:, 1]})


def taken(daily: DailyClasses, rows: slice | np.ndarray) -> DailyClasses:
    return DailyClasses(
        daily.days[rows], daily.totals[rows], {name: counts[rows] for name, counts in daily.positives.items()}
    )


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_quiet_years_looked_at_daily_rarely_raise_an_alarm(correlation: float) -> None:
    highest = measure(np.random.default_rng(1), Site(correlation, 0.05), 365, 40).max(axis=0)
    assert (highest >= ONE_LABEL).mean() <= 0.05
    assert highest.max() > 1  # the alarm is awake


@pytest.mark.parametrize("correlation", [0.0, 0.35, 0.7])
@pytest.mark.parametrize(("changed", "spread"), [(14, 0.0), (27, 0.03), (59, 0.05)])
def test_half_as_many_toxic_comments_again_are_found_within_three_days(
    correlation: float, changed: int, spread: float
) -> None:
    rng = np.random.default_rng(2)
    last = measure(rng, Site(correlation, spread), changed + 3, 100, changed)[-3:].max(axis=0)
    assert (last >= ONE_LABEL).mean() >= 0.95


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "site",
    [
        Site(0.0, 0.05),
        Site(0.7, 0.05),
        Site(0.7, 0.3),
        Site(0.7, 0.1, comments=200, prevalence=0.05),
    ],
)
def test_at_most_five_percent_of_a_thousand_quiet_years_raise_an_alarm(site: Site) -> None:
    rng = np.random.default_rng(3)
    highest = np.concatenate([measure(rng, site, 365, 20).max(axis=0) for _ in range(50)])
    assert (highest >= ONE_LABEL).mean() <= 0.05
    assert (highest >= EACH_OF_SIX).mean() <= 0.05 / 6 + 2 * 0.003  # two standard errors of a thousand years


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("correlation", [0.0, 0.35, 0.7])
@pytest.mark.parametrize(("changed", "spread"), [(14, 0.0), (27, 0.03), (59, 0.05), (180, 0.05)])
def test_the_change_is_found_in_a_thousand_runs_also_at_the_threshold_of_six_labels(
    correlation: float, changed: int, spread: float
) -> None:
    rng = np.random.default_rng(4)
    last = measure(rng, Site(correlation, spread), changed + 3, 1000, changed)[-3:].max(axis=0)
    assert (last >= ONE_LABEL).mean() >= 0.95
    if changed > 14:
        assert (last >= EACH_OF_SIX).mean() >= 0.95


def test_evidence_does_not_depend_on_weekly_pattern_level_and_spread() -> None:
    rng = np.random.default_rng(5)
    days, totals = np.arange(60), np.full(60, 1000.0)
    series = rng.standard_normal((60, 1))
    moved = 3 + 0.01 * series + rng.standard_normal((7, 1))[days % 7]
    np.testing.assert_allclose(evidence(days, totals, series), evidence(days, totals, moved), rtol=1e-6)


def test_evidence_of_a_day_does_not_depend_on_later_days() -> None:
    daily = site_days(changed=60)
    some = watch(taken(daily, slice(80)))["toxic"]
    np.testing.assert_allclose(some.evidence, watch(daily)["toxic"].evidence[: len(some.days)])


def test_an_alarm_says_since_when_and_how_much() -> None:
    found = watch(site_days(changed=60))["toxic"]
    assert found.changed_on == 60
    assert found.raised_on is not None
    assert 60 <= found.raised_on <= 62
    assert found.share == pytest.approx(2 * 0.097 * 0.822 + (1 - 2 * 0.097) * 0.019, rel=0.4)
    assert found.threshold == 1 / 0.05
    assert found.evidence[found.raised_on - 14] >= found.threshold > found.evidence[found.raised_on - 15]


def test_evidence_is_adjusted_as_by_every_mean_with_others() -> None:
    levels = np.random.default_rng(10).exponential(size=(50, 5)) ** 4
    for label in range(5):
        sets = [list(each) for size in range(1, 6) for each in combinations(range(5), size) if label in each]
        least = np.min([levels[:, each].mean(axis=1) for each in sets], axis=0)
        np.testing.assert_allclose(adjusted(levels)[:, label], least)


def test_labels_that_move_together_help_each_other_and_none_helps_a_quiet_one() -> None:
    alone, together = adjusted(np.array([[90.0, 0, 0, 0, 0, 0], [90.0, 80, 70, 0, 0, 0]]))
    assert alone[0] == 90 / 6
    assert together[:3].tolist() == [90 / 4, 80 / 4, 70 / 4]  # each with those that are quiet
    assert together[3:].max() == 0
    np.testing.assert_array_equal(adjusted(np.array([[7.0]])), [[7.0]])


def test_six_labels_of_one_site_that_all_rise_are_found_sooner_than_one_alone() -> None:
    rng = np.random.default_rng(11)
    numbers, totals, positives = simulate(rng, Site(0.35, 0.08), 60, 60, changed=57)
    _, _, quiet_ones = simulate(rng, Site(0.35, 0.08), 60, 50)
    raised = Counter[str]()
    for run in range(10):
        several = {f"label {k}": positives[:, 6 * run + k] for k in range(6)}
        alone = {f"label {k}": quiet_ones[:, 5 * run + k] for k in range(1, 5)} | {"label 0": positives[:, 6 * run]}
        for name, counts in (("several", several), ("alone", alone)):
            raised[name] += watch(DailyClasses(numbers, totals, counts))["label 0"].raised_on is not None
    assert raised["several"] > raised["alone"]


def test_a_drop_is_found_too() -> None:
    numbers, totals, positives = simulate(np.random.default_rng(6), Site(0.5, 0.05), 90, 1, 60, factor=0.6)
    assert watch(DailyClasses(numbers, totals, {"toxic": positives[:, 0]}))["toxic"].changed_on == 60


def test_days_without_comments_and_missing_days_are_no_alarm() -> None:
    daily = site_days(seed=7)
    closed = np.isin(np.arange(120), [3, 30, 31, 32, 77])
    missing = taken(daily, ~closed)
    emptied = DailyClasses(
        daily.days,
        np.where(closed, 0, daily.totals),
        {name: np.where(closed, 0, counts) for name, counts in daily.positives.items()},
    )
    for label, found in watch(emptied).items():
        np.testing.assert_array_equal(found.evidence, watch(missing)[label].evidence)
        assert found.raised_on is None
    assert len(watch(missing)["toxic"].days) == 120 - 5 - 14


def test_a_weekday_that_the_baseline_lacks_is_left_out() -> None:
    daily = site_days(days=60)
    opened = taken(daily, (daily.days % 7 != 6) | (daily.days > 40))
    assert not np.any(watch(opened)["toxic"].days % 7 == 6)


def test_days_with_little_traffic_weigh_less() -> None:
    daily = site_days(days=30)
    totals, positives = daily.totals.copy(), daily.positives["toxic"].copy()
    totals[20], positives[20] = 20, 8
    few = watch(DailyClasses(daily.days, totals, {"toxic": positives}))["toxic"]
    totals[20], positives[20] = 10_000, 4_000
    many = watch(DailyClasses(daily.days, totals, {"toxic": positives}))["toxic"]
    assert few.evidence[6] < many.evidence[6]


@pytest.mark.parametrize(
    ("positives", "words"),
    [
        (np.full(40, 2), "are needed"),
        (np.full(40, 50), "same share"),
        (np.arange(40) + 900, "count the others"),
    ],
)
def test_what_cannot_be_watched_says_why(positives: np.ndarray, words: str) -> None:
    found = watch(DailyClasses(np.arange(40), np.full(40, 1000), {"toxic": positives}))["toxic"]
    assert words in (found.refusal or "")
    assert not len(found.days)
    assert found.raised_on is None


@pytest.mark.parametrize("days", [0, 13])
def test_a_young_site_is_told_to_wait(days: int) -> None:
    assert f"{days} days" in (watch(taken(site_days(), slice(days)))["toxic"].refusal or "")


def test_on_the_last_day_of_the_baseline_nothing_is_known_and_nothing_fails() -> None:
    found = watch(taken(site_days(), slice(14)))["toxic"]
    assert found.refusal is None
    assert found.evidence.shape == (0,)


def test_an_enormous_change_gives_finite_evidence() -> None:
    numbers, totals, positives = simulate(np.random.default_rng(8), Site(0.0, 0.0), 365, 1)
    positives[300:] = totals[300:, None]
    found = watch(DailyClasses(numbers, totals, {"toxic": positives[:, 0]}))["toxic"]
    assert np.isfinite(found.evidence).all()
    assert found.raised_on == 300


def test_the_scale_is_a_root_for_few_and_a_logarithm_for_many() -> None:
    totals = np.full(4, 10_000.0)
    levels = stabilize(np.array([4, 16, 2_500, 10_000]), totals, baseline=4)
    assert levels[1] / levels[0] == pytest.approx(2, rel=0.1)
    assert levels[3] - levels[2] == pytest.approx(np.log(2), rel=0.05)


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": np.array([2, 1])},
        {"days": np.array([1, 1])},
        {"totals": np.array([5, 5, 5])},
        {"positives": {"toxic": np.array([6, 1])}},
        {"positives": {"toxic": np.array([-1, 1])}},
    ],
)
def test_counts_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    right = {"days": np.array([1, 2]), "totals": np.array([5, 5]), "positives": {"toxic": np.array([1, 1])}}
    with pytest.raises(InvalidInputError, match="expected"):
        DailyClasses(**(right | wrong))


@pytest.mark.parametrize("wrong", [{"false_alarms": 0.0}, {"false_alarms": 1.0}, {"baseline": 13}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="expected a share"):
        watch(site_days(), **wrong)  # type: ignore[arg-type]


def test_sites_differ_only_in_what_they_state() -> None:
    numbers, totals, positives = simulate(np.random.default_rng(9), replace(Site(0.0, 0.0), weekly=0.0), 7, 500)
    share = positives.sum() / (totals.sum() * 500)
    assert share == pytest.approx(0.097 * 0.822 + 0.903 * 0.019, rel=0.01)
    assert len(numbers) == 7
