"""Precision and recall of a version that never decided (benchmarks/candidate_quality.py has the simulated days)."""

import numpy as np
import pytest

from benchmarks.candidate_quality import WORLDS, one_run, simulate
from benchmarks.live_quality import PREVALENCES
from moderation.statistics.candidate import Rescored, candidate_quality
from moderation.statistics.sample import FloatArray


def items(generator: np.random.Generator, number: int, drawn: int, labels: FloatArray | None = None) -> Rescored:
    """One stratum of ``number`` predictions with calibrated scores, of which ``drawn`` are reviewed."""
    scores = generator.beta(0.5, 1.5, number)
    rows = generator.choice(number, drawn, replace=False)
    truth = (generator.random(drawn) < scores[rows]).astype(np.float64) if labels is None else labels
    return Rescored(
        names=("rest",),
        totals=np.array([number]),
        strata=np.zeros(drawn, dtype=np.int64),
        probabilities=np.full(drawn, drawn / number),
        answered=np.ones(drawn),
        scores=scores[rows],
        logged=scores[rows],
        labels=truth,
        others=scores[:500],
    )


@pytest.mark.parametrize("world", WORLDS)
def test_intervals_hold_the_truth_on_a_few_days(world: str) -> None:
    rows = {str(row["figure"]): row for row in simulate(12, world, max(PREVALENCES))}
    for figure, row in rows.items():
        answered = round(12 * (1 - float(str(row["refused"]))))
        assert answered >= (12 if figure == "recall" else 4)
        assert round((1 - float(str(row["coverage"]))) * answered) <= 3, row


def test_what_nobody_reviewed_of_the_candidates_class_is_refused() -> None:
    """At 0.3 % the large stratum holds much of what the candidate would predict, and no review of that."""
    found = {figure: interval for figure, _, interval in one_run("calibrated", min(PREVALENCES), 0)}
    assert found["precision"] is None
    assert found["recall"] is not None


def test_everything_drawn_and_reviewed_leaves_no_doubt() -> None:
    every = items(np.random.default_rng(0), 400, 400)
    said = every.scores >= 0.4
    found = candidate_quality(every, 0.4)
    for estimate, truth in (
        (found.precision, every.labels[said].mean()),
        (found.recall, said[every.labels == 1].mean()),
    ):
        assert (estimate.low, estimate.value, estimate.high) == pytest.approx((truth, truth, truth))


def test_a_small_sample_has_wide_intervals_and_more_reviews_narrower_ones() -> None:
    widths = []
    for drawn in (100, 400, 1600):
        found = candidate_quality(items(np.random.default_rng(1), 20_000, drawn), 0.4).recall
        widths.append(found.high - found.low)
    assert widths[0] > widths[1] > widths[2] > 0


def test_without_labels_or_scores_it_says_so() -> None:
    generator = np.random.default_rng(2)
    unlabelled = candidate_quality(items(generator, 1_000, 50, np.full(50, np.nan)), 0.4)
    assert "0 reviews; 5 are needed" in str(unlabelled.precision.refusal)
    assert "no text of the review sample was scored" in str(
        candidate_quality(items(generator, 1_000, 0), 0.4).recall.refusal
    )


def test_a_threshold_that_no_score_reaches_predicts_nothing() -> None:
    found = candidate_quality(items(np.random.default_rng(3), 5_000, 300), 2.0)
    assert found.precision.refusal == "nothing was predicted"
    assert (found.recall.value, found.false_positive_rate.value) == (0, 0)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("prevalence", PREVALENCES)
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_hold_the_truth_on_many_days(world: str, prevalence: float) -> None:
    for row in simulate(300, world, prevalence):
        assert row["coverage"] is None or float(str(row["coverage"])) >= 0.93, row
