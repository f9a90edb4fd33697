"""What callers suggest in Perspective's way: shown to people where it differs, and no part of any count or sample."""

from datetime import timedelta

from sqlalchemy import Engine, select

from moderation.db.models import SUGGESTED, Feedback, Rollup
from moderation.db.queries import feedback_summary
from moderation.db.review_models import ReviewItem, ReviewPopulation
from moderation.db.rollups import DAY_S
from moderation.review.draw import draw
from moderation.review.triage import triage
from tests.moderation.db.records import feedback, prediction
from tests.moderation.review.records import CLOSED, DAY, HOUR, START, policy, store, traffic

ORIGIN = {"community_id": "story", "session_id": None, "client_token": "comment:1", "suggested": {"TOXICITY": 1.0}}
AT = START + HOUR


def suggestion(engine: Engine, agree: bool, text: str | None = "suggested") -> str:
    record = prediction(route=SUGGESTED, created_at=AT, text=text)
    given = feedback(prediction_id=record.id, agree=agree, origin=ORIGIN, created_at=AT + timedelta(seconds=1))
    store(engine, [record], [given])
    return record.id


def triaged(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        query = select(ReviewItem.prediction_id).where(ReviewItem.kind == "triage").order_by(ReviewItem.place)
        return list(connection.scalars(query))


def test_a_suggestion_that_differs_is_shown_to_a_person(engine: Engine) -> None:
    differs, _, _ = suggestion(engine, False), suggestion(engine, True), suggestion(engine, False, text=None)
    assert triage(engine, policy(), AT + HOUR) == 1
    assert triaged(engine) == [differs]
    assert triage(engine, policy(), AT + 2 * HOUR) == 0


def test_verdicts_come_before_suggestions(engine: Engine) -> None:
    answered = traffic(40)
    store(engine, answered)
    draw(engine, policy(daily_budget=5, floor=1), CLOSED)
    with engine.connect() as connection:
        drawn = set(connection.scalars(select(ReviewItem.prediction_id)))
    disputed = next(each.id for each in answered if each.id not in drawn)
    store(engine, [], [feedback(prediction_id=disputed, agree=False, created_at=CLOSED + HOUR)])
    for _ in range(5):
        suggestion(engine, False)
    assert triage(engine, policy(daily_triage=2), CLOSED + 2 * HOUR) == 2
    assert triaged(engine)[0] == disputed


def test_suggestions_take_at_most_half_of_a_days_room(engine: Engine) -> None:
    answered = traffic(40)
    store(engine, answered)
    draw(engine, policy(daily_budget=5, floor=1), CLOSED)
    for _ in range(10):
        suggestion(engine, False)
    assert triage(engine, policy(daily_triage=4), CLOSED + HOUR) == 2
    assert triage(engine, policy(daily_triage=4), CLOSED + 2 * HOUR) == 0
    with engine.connect() as connection:
        drawn = set(connection.scalars(select(ReviewItem.prediction_id)))
    disputed = [each.id for each in answered if each.id not in drawn][:3]
    for each in disputed:
        store(engine, [], [feedback(prediction_id=each, agree=False, created_at=CLOSED + HOUR)])
    assert triage(engine, policy(daily_triage=4), CLOSED + 3 * HOUR) == 2
    assert len(set(triaged(engine)) & set(disputed)) == 2


def test_a_suggestion_is_in_no_count_and_no_sample(engine: Engine) -> None:
    store(engine, traffic(10))
    for agree in (True, False):
        suggestion(engine, agree)
    draw(engine, policy(), CLOSED)
    summary = feedback_summary(engine, START, START + DAY)
    assert (summary.received, summary.agreed) == (0, 0)
    with engine.connect() as connection:
        counted = connection.execute(select(Rollup.route, Rollup.predictions).where(Rollup.period_s == DAY_S)).all()
        assert [tuple(row) for row in counted] == [("/predict", 10)]
        assert set(connection.scalars(select(ReviewPopulation.route))) <= {"/predict"}
        assert len(list(connection.scalars(select(ReviewItem.id).where(ReviewItem.kind != "golden")))) == 10
        assert list(connection.scalars(select(Feedback.origin))) == [ORIGIN, ORIGIN]
