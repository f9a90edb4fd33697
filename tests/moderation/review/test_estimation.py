"""From the drawn sample to figures: the population's scores are counted as the estimators would count them."""

from datetime import datetime

import numpy as np
import pytest
from sqlalchemy import Engine

from moderation.db.log import PredictionRecord
from moderation.labels import LABELS
from moderation.review.draw import draw
from moderation.review.estimation import MIN_GOLDEN, frames, golden_counts
from moderation.review.golden import add_golden
from moderation.review.queue import next_item, submit
from moderation.review.sample import LiveSample, live_sample
from moderation.review.score_bins import EDGES, EXACT_MATCH
from moderation.statistics.live_quality import chance_of_match
from moderation.statistics.sample import SCORE_EDGES, bins_of, count_population
from tests.moderation.db.records import VERSION
from tests.moderation.review.records import ALWAYS, CLOSED, DAY, NO, START, TOXIC, policy, signed_in, store, traffic

NUMBER = 150
generator = np.random.default_rng(3)
SCORES = np.round(generator.beta(0.3, 2, (NUMBER, len(LABELS))), 6)
SCORES[:4, 0] = [0.0, 1.0, 0.5, 0.05]  # on edges


def fill(engine: Engine) -> None:
    rows = traffic(NUMBER)
    scored = [
        traffic(1, created_at=row.created_at, scores=dict(zip(LABELS, scores.tolist(), strict=True)))[0]
        for row, scores in zip(rows, SCORES, strict=True)
    ]
    store(engine, [*scored, *traffic(9, text=None)])
    draw(engine, policy(daily_budget=40), CLOSED)


def sampled(engine: Engine) -> LiveSample:
    return live_sample(engine, signed_in(engine, "ann", "viewer"), START, START + DAY, CLOSED)


def test_the_population_is_counted_in_the_database_as_by_hand(engine: Engine) -> None:
    fill(engine)
    found = frames(sampled(engine))
    predicted = SCORES >= 0.5
    none = np.zeros(NUMBER, dtype=np.int64)
    for place, label in enumerate(LABELS):
        by_hand = count_population(("all",), none, SCORES[:, place], predicted[:, place]).counts.sum(axis=0)
        merged = np.add.reduceat(found[label].counts.sum(axis=0), [EDGES.index(e) for e in SCORE_EDGES[:-1]], axis=1)
        assert merged.tolist() == by_hand.tolist()
        assert found[label].sums.sum() == pytest.approx(SCORES[:, place].sum())
    chance = chance_of_match(SCORES, predicted)
    exact = found[EXACT_MATCH].counts.sum(axis=0)
    assert exact[0].sum() == 0
    assert exact[1].tolist() == np.bincount(bins_of(chance, EDGES), minlength=len(EDGES) - 1).tolist()


@pytest.mark.parametrize("threshold", [0.05, 0.35, 0.95, 1.5])
def test_another_threshold_moves_population_and_sample_alike(engine: Engine, threshold: float) -> None:
    fill(engine)
    moved = frames(sampled(engine))["toxic"].under(threshold)
    assert moved.counts[:, 1].sum() == (SCORES[:, 0] >= threshold).sum()
    assert moved.counts.sum() == NUMBER
    assert (moved.sample.predicted == (moved.sample.scores >= threshold)).all()


def test_scores_alone_say_how_many_there_are(engine: Engine) -> None:
    fill(engine)
    free = frames(sampled(engine))["toxic"].free()
    assert free is not None
    assert free.prevalence.value == pytest.approx(SCORES[:, 0].mean(), abs=0.02)


def test_without_predictions_there_is_nothing(engine: Engine) -> None:
    assert frames(sampled(engine)) == {}


def test_a_label_that_a_version_does_not_know_is_no_part_of_its_figures(engine: Engine) -> None:
    store(engine, [*traffic(20), *traffic(30, scores={"toxic": 0.3})])
    draw(engine, policy(daily_budget=50), CLOSED)
    found = frames(sampled(engine))
    assert (found["toxic"].counts.sum(), len(found["toxic"].sample.labels)) == (50, 50)
    assert (found["threat"].counts.sum(), len(found["threat"].sample.labels)) == (20, 20)
    assert (found[EXACT_MATCH].counts.sum(), len(found[EXACT_MATCH].sample.labels)) == (20, 20)


def test_reviewers_errors_count_from_enough_golden_items_on(engine: Engine) -> None:
    fill(engine)
    ann = signed_in(engine, "ann")
    rules = policy(golden_share=0.5)
    for number in range(MIN_GOLDEN):
        add_golden(engine, [(f"yes {number}", TOXIC), (f"no {number}", NO)], CLOSED, "cli:me")
        assert golden_counts(sampled(engine)) == {}
        for _ in range(2):
            task = next_item(engine, ann, rules, CLOSED, chance=ALWAYS)
            assert task is not None
            said = TOXIC if task.text.startswith("yes") and number else NO  # the first one is missed
            submit(engine, ann, task.review_id, "labels", CLOSED, said)
    counts = golden_counts(sampled(engine))
    assert set(counts) == {"toxic"}
    toxic = counts["toxic"]
    assert (toxic.positives, toxic.found, toxic.negatives, toxic.passed) == (10, 9, 10, 10)


def test_everything_reviewed_gives_the_true_figures(engine: Engine) -> None:
    store(engine, [*traffic(60, scores=dict.fromkeys(LABELS, 0.7)), *traffic(60)])
    rules = policy(daily_budget=120)
    draw(engine, rules, CLOSED)
    ann = signed_in(engine, "ann")
    for number in range(120):
        task = next_item(engine, ann, rules, CLOSED)
        assert task is not None
        submit(engine, ann, task.review_id, "labels", CLOSED, TOXIC if number % 2 else NO)
    found = frames(live_sample(engine, ann, START, START + DAY, CLOSED, version=VERSION))
    quality = found["toxic"].quality()
    said, true = found["toxic"].sample.predicted, found["toxic"].sample.labels == 1
    assert quality.precision.value == pytest.approx(true[said].mean())
    assert quality.recall.value == pytest.approx(said[true].mean())
    assert quality.auc.refusal is None


def test_a_window_that_is_half_reviewed_counts_as_much_as_one_that_is_done(engine: Engine) -> None:
    """All of the first day is toxic and reviewed, nothing of the second is, and a sixth of it reviewed."""
    store(engine, [*traffic(60), *shifted(60, START + DAY)])
    rules = policy(daily_budget=60)
    draw(engine, rules, CLOSED)
    draw(engine, rules, CLOSED + DAY)
    ann = signed_in(engine, "ann", now=CLOSED + DAY)
    for number in range(70):
        task = next_item(engine, ann, rules, CLOSED + DAY)
        assert task is not None
        submit(engine, ann, task.review_id, "labels", CLOSED + DAY, TOXIC if number < 60 else NO)
    live = live_sample(engine, ann, START, START + 2 * DAY, CLOSED + DAY)
    found = frames(live)["toxic"].quality().prevalence
    assert found.value == pytest.approx(0.5, abs=0.1)  # 60 of 70 labels are positive
    assert found.high - found.low > 0.2


def shifted(number: int, start: datetime) -> list[PredictionRecord]:
    return [each for k in range(number) for each in traffic(1, created_at=start + DAY * k / number, text=f"text {k}")]
