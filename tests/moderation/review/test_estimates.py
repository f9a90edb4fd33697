"""What is logged and reviewed becomes what the estimators take."""

import numpy as np
import pytest
from sqlalchemy import Engine

from moderation.labels import LABELS
from moderation.review.draw import draw
from moderation.review.estimates import label_input
from moderation.review.golden import add_golden
from moderation.review.queue import next_item, submit
from moderation.review.sample import live_sample
from moderation.statistics.sample import SCORE_EDGES, GoldenCounts, bins_of
from tests.moderation.db.records import feedback, prediction
from tests.moderation.review.records import ALWAYS, CLOSED, DAY, NO, START, TOXIC, policy, signed_in, store


def test_the_population_is_counted_by_stratum_class_and_bin_as_the_estimators_count_it(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    scores = rng.beta(0.4, 2, (400, len(LABELS)))
    scores[:3, 0] = SCORE_EDGES[1], SCORE_EDGES[-2], 0.5  # a bin holds its lower edge; so does the class
    logged = [prediction(scores=dict(zip(LABELS, map(float, row), strict=True))) for row in scores]
    unknown = prediction(scores={"insult": 0.9})
    given = [feedback(prediction_id=each.id, agree=False) for each in logged[:50]]
    store(engine, [*logged, unknown], given)
    draw(engine, policy(daily_budget=60, golden_share=0.0), CLOSED)
    live = live_sample(engine, signed_in(engine, "vic", "viewer"), START, START + DAY, CLOSED)
    for k, label in enumerate(LABELS):
        found = label_input(live, label)
        total = np.zeros((2, len(SCORE_EDGES) - 1), dtype=np.int64)
        known = [*scores[:, k], 0.9] if label == "insult" else scores[:, k]
        np.add.at(total, (np.array(np.asarray(known) >= 0.5, dtype=np.int64), bins_of(known)), 1)
        assert (found.population.counts.sum(axis=0) == total).all()
        disputed = found.population.counts[found.population.names.index("disagreement")]
        assert disputed.sum() == 50
        assert found.population.informative == {"disagreement"}
        inverse = (1 / found.sample.probabilities).sum()
        assert inverse == pytest.approx(401, abs=40)
        assert (found.sample.predicted == (found.sample.scores >= 0.5)).all()


def test_labels_golden_results_and_non_response_come_through(engine: Engine) -> None:
    store(engine, [prediction() for _ in range(3)])
    rules = policy(golden_share=0.5)
    draw(engine, rules, CLOSED)
    add_golden(engine, [("known", TOXIC)], CLOSED, "cli:me")
    ann = signed_in(engine, "ann")
    for labels in (NO, TOXIC):
        task = next_item(engine, ann, rules, CLOSED, chance=ALWAYS)
        assert task is not None
        submit(engine, ann, task.review_id, "labels", CLOSED, labels)
    found = label_input(live_sample(engine, ann, START, START + DAY, CLOSED), "toxic")
    assert found.golden == GoldenCounts(positives=1, found=0, negatives=0, passed=0)
    assert sorted(found.sample.labels, key=str) == pytest.approx([1.0, np.nan, np.nan], nan_ok=True)
    assert (found.sample.probabilities == 1).all()


def test_without_traffic_there_is_an_empty_population(engine: Engine) -> None:
    live = live_sample(engine, signed_in(engine, "ann"), START, START + DAY, CLOSED)
    found = label_input(live, "toxic")
    assert (found.population.counts.shape, len(found.sample.labels)) == ((0, 2, len(SCORE_EDGES) - 1), 0)
