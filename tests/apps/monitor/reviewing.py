"""Reviewers, and items that wait for them now, for the pages where people work."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, select
from streamlit.testing.v1 import AppTest

from moderation.db.review_models import Review
from moderation.labels import LABELS
from moderation.review import accounts
from moderation.review.access import Session, sign_in
from moderation.review.draw import draw
from moderation.review.queue import Outcome, next_item, submit
from tests.apps.monitor.records import fill, prediction
from tests.moderation.review.records import NEVER, policy

PASSWORD = "correct horse battery"
CLOSED_AGO = timedelta(hours=4)


def waiting(engine: Engine, texts: Sequence[str], reviewers: int = 1) -> list[str]:
    """Predict ``texts`` some hours ago and draw all of them; return the ids. Each wants so many reviewers."""
    now = datetime.now(UTC)
    records = [prediction(text, ago=CLOSED_AGO, decision="review", toxic=0.6) for text in texts]
    fill(engine, records)
    draw(engine, policy(window_hours=1, daily_budget=2_400, double_share=float(reviewers > 1)), now)
    return [record.id for record in records]


def add(engine: Engine, *names: str, role: str = "reviewer") -> None:
    for name in names:
        accounts.add(engine, (name, role), datetime.now(UTC), "cli:me", password=PASSWORD)


def session_of(engine: Engine, name: str) -> Session:
    return sign_in(engine, name, PASSWORD, datetime.now(UTC))


def said(engine: Engine, session: Session, toxic: bool, number: int = 1, outcome: Outcome = "labels") -> None:
    """Give ``number`` verdicts on what waits."""
    for _ in range(number):
        now = datetime.now(UTC)
        task = next_item(engine, session, policy(), now, chance=NEVER)
        assert task is not None
        labels = dict.fromkeys(LABELS, False) | {"toxic": toxic}
        submit(engine, session, task.review_id, outcome, now, labels if outcome == "labels" else None)


def verdicts(engine: Engine) -> list[tuple[str, str, list[str] | None]]:
    """Return who said what, in order; the labels that fit."""
    query = select(Review.reviewer, Review.outcome, Review.labels).where(Review.submitted_at.is_not(None))
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(Review.submitted_at)).all()
    return [(row[0], row[1], row[2] and [label for label, fits in row[2].items() if fits]) for row in rows]


def enter(at: AppTest, name: str, password: str = PASSWORD) -> AppTest:
    """Fill in the sign-in form and send it."""
    at.text_input[0].set_value(name)
    at.text_input[1].set_value(password)
    return press(at, "Sign in")


def press(at: AppTest, label: str) -> AppTest:
    (button,) = [each for each in at.button if each.label == label]
    return button.click().run()


def boxes(at: AppTest) -> list[str]:
    """Return what is shown as HTML."""
    return [each.proto.body for each in at.get("html")]
