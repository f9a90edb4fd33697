"""What the estimators get, triage, and what leaves for training."""

from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, select

from moderation.db.erasure import erase
from moderation.db.export import reviewed
from moderation.db.log import insert
from moderation.db.review_models import ReviewItem
from moderation.errors import UnauthorizedError
from moderation.labels import LABELS
from moderation.review.access import Session
from moderation.review.draw import draw
from moderation.review.golden import add_golden
from moderation.review.history import QueueCounts, queue_counts
from moderation.review.queue import next_item, submit
from moderation.review.sample import live_sample, windows
from moderation.review.triage import triage
from tests.moderation.db.records import VERSION, feedback, prediction
from tests.moderation.review.records import (
    ALWAYS,
    CLOSED,
    DAY,
    HOUR,
    NO,
    START,
    TOXIC,
    policy,
    signed_in,
    store,
    traffic,
)

OVER = dict.fromkeys(LABELS, 0.25) | {"insult": 0.8}


def test_the_sample_has_everything_and_no_text(engine: Engine) -> None:
    store(engine, [*traffic(60, text="secret"), *traffic(40, scores=OVER, decision="remove", route="/v1"),
                   *traffic(25, text=None)])  # fmt: skip
    rules = policy(daily_budget=10, double_share=1.0, golden_share=0.5, floor=2)
    (found,) = draw(engine, rules, CLOSED)
    add_golden(engine, [("known", TOXIC)], CLOSED, "cli:me")
    ann, bob, eve = (signed_in(engine, name) for name in ("ann", "bob", "eve"))
    golden = next_item(engine, ann, rules, CLOSED, chance=ALWAYS)
    assert golden is not None
    submit(engine, ann, golden.review_id, "labels", CLOSED, NO)
    for hours, (session, labels) in enumerate([(ann, TOXIC), (bob, TOXIC), (eve, NO)]):  # eve's waits for another one
        at = CLOSED + hours * HOUR
        task = next_item(engine, session, policy(), at)
        assert task is not None
        submit(engine, session, task.review_id, "labels", at, labels)
    sample = live_sample(engine, ann, START, START + DAY, CLOSED)
    sizes = {"removed": 40, "rest": 60}
    assert sample.probabilities == pytest.approx([found.items[each] / sizes[each] for each in sample.strata])
    removed = sample.strata == "removed"
    assert set(sample.decisions[removed]) == {"remove"}
    assert (sample.predicted[:, LABELS.index("insult")] == removed).all()
    assert not np.delete(sample.predicted, LABELS.index("insult"), axis=1).any()
    assert sample.scores[removed][:, LABELS.index("insult")] == pytest.approx(0.8)
    assert sorted(sample.states) == ["done"] + 9 * ["pending"]
    done = sample.states == "done"
    assert sample.consensus[done].tolist() == [[1.0, 0, 0, 0, 0, 0]]
    assert np.isnan(sample.consensus[~done]).all()
    assert (sample.golden.reviewers.tolist(), sample.golden.labels[0, 0], sample.golden.truth[0, 0]) == (
        ["ann"], False, True)  # fmt: skip
    assert {(each.stratum, each.predictions, each.excluded) for each in sample.populations} == {
        ("removed", 40, 0), ("rest", 60, 25)}  # fmt: skip
    assert sample.excluded_share == pytest.approx(25 / 125)
    assert "secret" not in repr(sample)


def test_it_is_cut_by_time_version_and_route_and_says_what_expired(engine: Engine) -> None:
    store(engine, [*traffic(20), *traffic(20, route="/v1")])
    rules = policy(daily_budget=20)
    draw(engine, rules, CLOSED)
    ann = signed_in(engine, "ann", "viewer")
    of_route = live_sample(engine, ann, START, START + DAY, CLOSED, version=VERSION, route="/v1")
    assert set(of_route.routes) == {"/v1"}
    assert [each.predictions for each in of_route.populations] == [20]
    assert len(live_sample(engine, ann, START, START + DAY, CLOSED, version="b" * 64).ids) == 0
    nothing = live_sample(engine, ann, START + DAY, START + 2 * DAY, CLOSED)
    assert (nothing.scores.shape, nothing.consensus.shape, nothing.golden.truth.shape) == ((0, 6), (0, 6), (0, 6))
    assert np.isnan(nothing.excluded_share)
    over = CLOSED + rules.expiry
    later = signed_in(engine, "ann", "viewer", now=over)
    assert set(live_sample(engine, later, START, START + DAY, over).states) == {"expired"}
    assert queue_counts(engine, later, over) == QueueCounts(0, 0, 0, 0, 20)
    assert [row["predictions"] for row in windows(engine, later, START, START + DAY, over)] == [40]


def test_what_came_late_and_what_no_window_held_is_excluded_too(engine: Engine) -> None:
    store(engine, [*traffic(30), *traffic(6, text=None), *traffic(7, version="b" * 64)])
    draw(engine, policy(), CLOSED)
    store(engine, [*traffic(14), *traffic(40, created_at=CLOSED)])  # late; of a window that is still open
    ann = signed_in(engine, "ann", "viewer")
    assert live_sample(engine, ann, START, CLOSED, CLOSED).excluded_share == pytest.approx(27 / 57)
    assert live_sample(engine, ann, START, CLOSED, CLOSED, version=VERSION).excluded_share == pytest.approx(20 / 50)
    over = START + 30 * DAY
    store(engine, [prediction(created_at=over)])
    draw(engine, policy(), over + 2 * DAY)
    ann = signed_in(engine, "ann", "viewer", now=over)
    assert live_sample(engine, ann, START, over + DAY, over).excluded_share == pytest.approx(67 / 98)


def test_what_belongs_to_an_item_stays_together_in_whatever_order_the_database_gives_it(engine: Engine) -> None:
    rng = np.random.default_rng(1)
    for route in ("/predict", "/v1"):
        for scores in rng.random((30, len(LABELS))).tolist():
            store(engine, traffic(1, scores=dict(zip(LABELS, scores, strict=True)), route=route))
    rules = policy(daily_budget=40, double_share=0.0)
    draw(engine, rules, CLOSED)
    ann = signed_in(engine, "ann")
    before = live_sample(engine, ann, START, START + DAY, CLOSED).fingerprint
    assert live_sample(engine, ann, START, START + DAY, CLOSED).fingerprint == before
    for number in range(20):
        task = next_item(engine, ann, rules, CLOSED)
        assert task is not None
        submit(engine, ann, task.review_id, "labels", CLOSED, TOXIC if number % 3 else NO)
    found = live_sample(engine, ann, START, START + DAY, CLOSED)
    assert found.fingerprint != before
    with engine.connect() as connection:
        rows = {row.prediction_id: row for row in connection.execute(select(ReviewItem.__table__))}
    assert set(found.ids) == set(rows)
    for place, key in enumerate(found.ids):
        row = rows[key]
        assert (found.routes[place], found.strata[place], found.decisions[place]) == (
            row.route, row.stratum, row.decision)  # fmt: skip
        assert found.probabilities[place] == row.probability
        assert found.scores[place].tolist() == [row.scores[label] for label in LABELS]
        assert [label for label, yes in zip(LABELS, found.predicted[place], strict=True) if yes] == row.predicted
        assert (found.states[place] == "done") == (row.labels is not None)
        if row.labels is not None:
            assert found.consensus[place].tolist() == [float(row.labels[label]) for label in LABELS]


def test_only_who_signed_in_reads_it(engine: Engine) -> None:
    with pytest.raises(UnauthorizedError):
        live_sample(engine, Session("guess", "ann", "admin", CLOSED + DAY), START, CLOSED, CLOSED)


def test_disagreements_after_the_draw_go_to_triage_outside_of_the_sample(engine: Engine) -> None:
    logged = traffic(13)
    early = feedback(prediction_id=logged[9].id, agree=False, created_at=CLOSED - HOUR)
    store(engine, logged, [early])
    rules = policy(daily_budget=5, floor=1, daily_triage=3)
    draw(engine, rules, CLOSED, lambda: 1)
    with engine.connect() as connection:
        sampled = set(connection.scalars(select(ReviewItem.prediction_id)))
    late = [
        feedback(prediction_id=each.id, agree=each is logged[0], created_at=CLOSED + timedelta(minutes=place))
        for place, each in enumerate(logged, start=1)
    ]
    with engine.begin() as connection:
        insert(connection, [], late)
    others = [each.id for each in logged[1:] if each.id not in sampled]
    assert triage(engine, rules, CLOSED + HOUR) == 3
    assert triage(engine, rules, CLOSED + 2 * HOUR) == 0  # the day's number is reached
    with engine.connect() as connection:
        rows = connection.execute(select(ReviewItem.__table__).where(ReviewItem.kind == "triage")).all()
    assert {row.prediction_id for row in rows} == set(others[-3:])
    assert {(row.probability, row.window_at, row.stratum) for row in rows} == {(None, None, None)}
    assert triage(engine, rules, CLOSED + 25 * HOUR) == 3
    ann = signed_in(engine, "ann", "viewer")
    assert set(live_sample(engine, ann, START, START + DAY, CLOSED).ids) == sampled
    texts = []
    bob = signed_in(engine, "bob")
    while (task := next_item(engine, bob, rules, CLOSED + HOUR)) is not None:
        texts.append(task.text)
        submit(engine, bob, task.review_id, "labels", CLOSED + HOUR, NO)
    assert len(texts) == 11
    assert set(texts[:5]) == {each.text for each in logged if each.id in sampled}  # the estimate first


def test_settled_items_leave_with_the_inverse_of_their_probability(engine: Engine) -> None:
    store(engine, traffic(50))
    rules = policy(daily_budget=5)
    draw(engine, rules, CLOSED)
    ann = signed_in(engine, "ann")
    for outcome in ("labels", "labels", "skip"):
        task = next_item(engine, ann, rules, CLOSED)
        assert task is not None
        submit(engine, ann, task.review_id, outcome, CLOSED, TOXIC if outcome == "labels" else None)
    rows = list(reviewed(engine, CLOSED, CLOSED + HOUR))
    assert [(row.weight, row.labels, row.version) for row in rows] == [(10.0, TOXIC, VERSION)] * 2
    assert all(row.text and row.text.startswith("text ") for row in rows)
    erase(engine, ids=[rows[0].prediction_id])
    assert [row.text for row in reviewed(engine, CLOSED, CLOSED + HOUR)].count(None) == 1
    assert list(reviewed(engine, CLOSED + HOUR, CLOSED + DAY)) == []
