import numpy as np
import pytest

from benchmarks.drift_alarm import Site, simulate
from moderation.statistics.alarm import DailyClasses, counts_of, evidence, stabilize
from moderation.statistics.sight import smallest_changes, smallest_step

EACH_OF_SIX = 120.0


@pytest.mark.parametrize(
    ("site", "days"),
    [
        (Site(0.35, 0.05), 40),
        pytest.param(Site(0.7, 0.1), 100, marks=pytest.mark.full),
        pytest.param(Site(0.35, 0.2, comments=300), 60, marks=pytest.mark.full),
    ],
)
def test_the_change_that_is_said_to_be_found_is_found_in_about_that_many_cases(site: Site, days: int) -> None:
    numbers, totals, counts = simulate(np.random.default_rng(1), site, days + 3, 80)
    volume = totals.astype(np.float64)
    series = stabilize(counts, volume)
    step = smallest_step(numbers[:-3], volume[:-3], series[:-3], EACH_OF_SIX)
    later = numbers[:, None] >= days

    def found(part: float) -> float:
        highest = evidence(numbers, volume, series + np.where(later, part * step, 0))[-3:].max(axis=0)
        return float((highest >= EACH_OF_SIX).mean())

    assert found(1.0) >= 0.88
    assert found(0.6) < 0.75


def test_a_site_whose_days_differ_more_or_that_is_younger_sees_less() -> None:
    found = {}
    for spread, days in ((0.03, 120), (0.1, 120), (0.03, 20)):
        numbers, totals, counts = simulate(np.random.default_rng(2), Site(0.35, spread), days, 8)
        volume = totals.astype(np.float64)
        found[spread, days] = np.median(smallest_step(numbers, volume, stabilize(counts, volume), EACH_OF_SIX))
    assert found[0.03, 120] < found[0.1, 120]
    assert found[0.03, 120] < found[0.03, 20]


def test_a_change_is_told_as_a_factor_of_the_share_and_only_of_what_is_watched() -> None:
    numbers, totals, counts = simulate(np.random.default_rng(3), Site(0.35, 0.05), 60, 1)
    rare = np.zeros_like(numbers)
    found = smallest_changes(DailyClasses(numbers, totals, {"toxic": counts[:, 0], "threat": rare}))
    assert set(found) == {"toxic"}
    series = stabilize(counts, totals.astype(np.float64))
    (step,) = smallest_step(numbers, totals.astype(np.float64), series, 20.0)
    usual = series[-14:].mean()
    assert found["toxic"] == pytest.approx(counts_of(usual + step) / counts_of(usual))
    assert 1.1 < found["toxic"] < 1.5
    assert smallest_changes(DailyClasses(numbers[:9], totals[:9], {"toxic": counts[:9, 0]})) == {}
