from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from benchmarks.live_quality import DISPUTED, draw
from benchmarks.worlds import STRATA, traffic
from moderation.errors import InvalidInputError
from moderation.statistics.label_free import LabelFree, compare, label_free
from moderation.statistics.live_quality import CREDIBLE, label_quality, refused
from moderation.statistics.sample import Estimate, count_population


def looks(world: str, runs: int) -> list[bool]:
    """Whether each of so many days raises the alarm."""
    found = []
    for seed in range(runs):
        generator = np.random.default_rng(seed)
        day = traffic(world, 0.1, generator)
        population = count_population(STRATA, day.strata, day.scores, day.predicted, DISPUTED)
        reviewed = label_quality(draw(day, generator, False)[0], population)
        found.append(compare(label_free(day.scores, day.predicted), reviewed).alarm)
    return found


def test_calibrated_scores_hold_the_truth() -> None:
    held = []
    for seed in range(20):
        day = traffic("calibrated", 0.1, np.random.default_rng(seed))
        found = label_free(day.scores, day.predicted)
        held += [found.recall.low <= day.figures["recall"] <= found.recall.high]
        held += [found.precision.low <= day.figures["precision"] <= found.precision.high]
    assert sum(held) >= 34  # 95 % of 40, less three standard deviations


def test_a_histogram_says_the_same_as_the_scores() -> None:
    scores = np.array([0.1, 0.1, 0.1, 0.9, 0.9])
    each = label_free(scores, scores > 0.5)
    counted = label_free(np.array([0.1, 0.9]), np.array([False, True]), np.array([3, 2]))
    assert counted == each


def test_reviews_and_calibrated_scores_seldom_disagree() -> None:
    assert sum(looks("calibrated", 20)) <= 3  # at 5 % of looks, more than 3 of 20 have a probability of 1.6 %


def test_reviews_contradict_scores_that_drifted() -> None:
    assert sum(looks("drifted", 6)) >= 5


def estimate(odds: float, deviation: float, share: float) -> Estimate:
    """Return what is normal on the scale of log-odds, with ``share`` of it in the interval."""
    width = NormalDist().inv_cdf((1 + share) / 2) * deviation
    value, low, high = (1 / (1 + np.exp(-each)) for each in (odds, odds - width, odds + width))
    return Estimate(value, low, high, 100)


@pytest.mark.parametrize(("apart", "alarms"), [(0, 0.05), (3, 0.851)])
def test_the_alarm_is_as_powerful_as_its_level_allows(apart: float, alarms: float) -> None:
    """Of two normal estimates ``apart`` standard deviations, |z| > 1.96 is known in closed form."""
    generator, none = np.random.default_rng(0), Estimate.refused("not compared")
    found = []
    for free, reviewed in generator.normal((0, apart * np.hypot(0.05, 0.2)), (0.05, 0.2), (2_000, 2)):
        by_scores = LabelFree(none, estimate(free, 0.05, 0.95), none)
        by_reviews = replace(refused("not compared"), precision=estimate(reviewed, 0.2, CREDIBLE))
        found.append(compare(by_scores, by_reviews).alarm)
    assert np.mean(found) == pytest.approx(alarms, abs=0.025)  # three standard deviations of 2,000 looks


def test_what_cannot_be_said_is_refused() -> None:
    nothing = label_free(np.array([0.01, 0.02]), np.array([False, False]))
    assert nothing.precision.refusal == "nothing was predicted"
    assert "1 is needed" in (nothing.recall.refusal or "")
    with pytest.raises(InvalidInputError, match="expected as many"):
        label_free(np.array([0.5]), np.array([True, False]))
