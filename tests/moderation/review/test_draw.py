"""Which windows are drawn, which predictions they hold, and with which probability each item was drawn."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select

from moderation.db.database import connect, migrate
from moderation.db.log import ShadowRecord, record_version
from moderation.db.review_models import Review, ReviewItem, ReviewPopulation, ReviewWindow
from moderation.labels import LABELS
from moderation.review.draw import draw
from tests.moderation.db.records import VERSION, feedback, prediction, version
from tests.moderation.review.records import CLOSED, DAY, HOUR, MINUTE, START, policy, store, traffic

NEAR = dict.fromkeys(LABELS, 0.25) | {"threat": 0.45}
OVER = dict.fromkeys(LABELS, 0.25) | {"insult": 0.8}


def items(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(ReviewItem.__table__).order_by(ReviewItem.place)))


def test_each_prediction_belongs_to_the_first_stratum_that_fits(engine: Engine) -> None:
    removed = prediction(decision="remove", scores=NEAR)
    disputed, near, shadowed, rest, agreed = (prediction(scores=s) for s in (NEAR, NEAR, OVER, OVER, OVER))
    given = [
        feedback(prediction_id=disputed.id, agree=False),
        feedback(prediction_id=removed.id, agree=False),
        feedback(prediction_id=agreed.id, agree=True),
        feedback(prediction_id=rest.id, agree=False, created_at=CLOSED + HOUR),  # not known at the draw
    ]
    shadows = [
        ShadowRecord(each.id, each.created_at, "b" * 64, dict(NEAR), decision, 1.0)
        for each, decision in ((shadowed, "remove"), (rest, "allow"))
    ]
    store(engine, [removed, disputed, near, shadowed, rest, agreed], given, shadows)
    draw(engine, policy(), CLOSED)
    assert {row.prediction_id: row.stratum for row in items(engine)} == {
        removed.id: "removed",
        disputed.id: "disagreement",
        near.id: "near_threshold",
        shadowed.id: "shadow",
        rest.id: "rest",
        agreed.id: "rest",
    }


def test_the_window_keeps_what_was_not_drawn_by_stratum_and_predicted_class(engine: Engine) -> None:
    plain, over, unstored = traffic(300), traffic(40, scores=OVER, route="/v1"), traffic(10, text=None)
    other = traffic(4, version="b" * 64)  # its thresholds are not recorded
    store(engine, [*plain, *over, *unstored, *other, *traffic(20, scores=NEAR)])
    rules = policy(daily_budget=50)
    (found,) = draw(engine, rules, CLOSED)
    assert (found.started_at, found.ended_at) == (START, START + DAY)
    assert (found.predictions, found.excluded) == (360, 14)
    assert sum(found.items.values()) == 50
    with engine.connect() as connection:
        rows = connection.execute(select(ReviewPopulation.__table__)).all()
        window = connection.execute(select(ReviewWindow.__table__)).one()

    def insults(row: Any) -> int:
        return sum(number for _, predicted, number, _ in row.score_bins.get("insult", []) if predicted)

    assert {(row.stratum, row.version, row.route): (row.predictions, row.excluded, insults(row)) for row in rows} == {
        ("rest", VERSION, "/predict"): (300, 10, 0),
        ("rest", VERSION, "/v1"): (40, 0, 40),
        ("rest", "b" * 64, "/predict"): (0, 4, 0),
        ("near_threshold", VERSION, "/predict"): (20, 0, 0),
    }  # fmt: skip
    assert (window.predictions, window.excluded, window.budget) == (360, 14, 50)
    assert window.policy_digest == rules.digest


def test_an_item_knows_its_probability_scores_and_policy(engine: Engine) -> None:
    store(engine, [*traffic(200), *traffic(100, scores=OVER, decision="remove")])
    rules = policy(daily_budget=40)
    (found,) = draw(engine, rules, CLOSED)
    for row in items(engine):
        size = {"removed": 100, "rest": 200}[row.stratum]
        assert row.probability == pytest.approx(found.items[row.stratum] / size)
        assert row.scores == (OVER if row.stratum == "removed" else dict.fromkeys(LABELS, 0.25))
        assert row.predicted == (["insult"] if row.stratum == "removed" else [])
        assert (row.version, row.policy_digest, row.window_at) == (VERSION, rules.digest, START)
        assert (row.state, row.expires_at) == ("open", CLOSED + timedelta(days=rules.expiry_days))
        assert row.text is None


def test_the_same_seed_draws_the_same_sample_and_another_one_another(engine: Engine, tmp_path: Path) -> None:
    logged = traffic(300)
    samples = []
    for number, seed in enumerate((7, 7, 8)):
        own = connect(f"sqlite:///{tmp_path / f'{number}.db'}")
        migrate(own)
        store(own, logged)
        draw(own, policy(daily_budget=30), CLOSED, lambda seed=seed: seed)
        samples.append([row.prediction_id for row in items(own)])
        own.dispose()
    store(engine, logged)
    draw(engine, policy(daily_budget=30), CLOSED, lambda: 7)
    assert samples[0] == samples[1] == [row.prediction_id for row in items(engine)]
    assert set(samples[0]) != set(samples[2])


def test_every_prediction_of_a_stratum_has_the_same_chance(engine: Engine) -> None:
    """Ten of 40 from each of 20 windows: each tenth of the places 20 times, standard deviation below 4.3."""
    logged = [record for day in range(20) for record in traffic(40)
              for record in [prediction(created_at=record.created_at + day * DAY, text=record.text)]]  # fmt: skip
    store(engine, logged)
    draw(engine, policy(daily_budget=10, expiry_days=60), START + 21 * DAY, iter(range(100)).__next__)
    place = {record.id: int(str(record.text).split()[1]) for record in logged}
    counts = Counter(place[row.prediction_id] // 4 for row in items(engine))
    assert sum(counts.values()) == 200
    assert len(counts) == 10
    assert all(abs(count - 20) < 5 * 4.3 for count in counts.values())


def test_only_closed_windows_are_drawn_and_each_once(engine: Engine) -> None:
    rules = policy()
    store(engine, traffic(50))
    assert draw(engine, rules, START + DAY + rules.delay - MINUTE) == []
    assert len(draw(engine, rules, START + DAY + rules.delay)) == 1
    assert draw(engine, rules, START + DAY + 12 * HOUR) == []
    store(engine, traffic(5))  # late: in no population, and never drawn
    following = draw(engine, rules, START + 2 * DAY + rules.delay)
    assert [each.predictions for each in following] == [0]
    assert len(items(engine)) == 50


def test_windows_touch_and_never_overlap_when_their_length_changes(engine: Engine) -> None:
    store(engine, [prediction(created_at=START + k * HOUR) for k in range(72)])
    draw(engine, policy(), START + DAY + HOUR)
    short = draw(engine, policy(window_hours=5), START + 2 * DAY)
    spans = [(START, START + DAY), *((each.started_at, each.ended_at) for each in short)]
    assert len(spans) == 5
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert sum(each.predictions for each in short) == 20


def test_what_is_older_than_an_items_life_is_not_drawn(engine: Engine) -> None:
    store(engine, [prediction(), prediction(created_at=START + 30 * DAY)])
    found = draw(engine, policy(), START + 32 * DAY)
    assert [(each.started_at, each.predictions) for each in found] == [(START + 30 * DAY, 1)]


def test_without_predictions_nothing_is_drawn(engine: Engine) -> None:
    assert draw(engine, policy(), CLOSED) == []


def test_processes_that_draw_at_once_draw_each_window_once(engine: Engine) -> None:
    store(engine, [prediction(created_at=START + k * HOUR / 2) for k in range(96)])
    rules = policy(window_hours=6)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: draw(engine, rules, START + 2 * DAY + HOUR), range(4)))
    assert sorted(each.started_at for some in found for each in some) == [START + k * 6 * HOUR for k in range(8)]
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(ReviewItem)) == 96
        assert connection.scalar(select(func.count()).select_from(Review)) == 96


def test_a_share_of_the_items_goes_to_two_reviewers(engine: Engine) -> None:
    store(engine, traffic(300))
    draw(engine, policy(daily_budget=200, double_share=0.25), CLOSED, lambda: 1)
    wanted = Counter(row.wanted for row in items(engine))
    assert 30 <= wanted[2] <= 70
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Review)) == wanted[1] + 2 * wanted[2]


def test_the_draw_reads_no_text(engine: Engine) -> None:
    store(engine, traffic(500))
    asked: list[str] = []

    def remember(_: Any, __: Any, statement: str, *___: Any) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", remember)
    draw(engine, policy(daily_budget=20), CLOSED)
    event.remove(engine, "before_cursor_execute", remember)
    reads = [each for each in asked if each.lstrip().startswith("SELECT") and "predictions" in each]
    assert reads
    assert all("predictions.text" not in each.replace("predictions.text IS NOT NULL", "") for each in reads)
    assert len(items(engine)) == 20


def test_versions_decide_by_their_own_thresholds(engine: Engine) -> None:
    strict = "c" * 64
    with engine.begin() as connection:
        limits = {label: {"review": 0.2, "remove": None} for label in LABELS}
        record_version(connection, version(version=strict, thresholds=limits))
    store(engine, [*traffic(3), *traffic(2, version=strict)])
    draw(engine, policy(), CLOSED)
    assert Counter((row.version, tuple(row.predicted), row.stratum) for row in items(engine)) == {
        (VERSION, (), "rest"): 3,
        (strict, LABELS, "near_threshold"): 2,
    }
