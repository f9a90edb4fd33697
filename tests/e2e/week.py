"""A week of review by three people, made through the queue itself, for pictures of the monitor."""

import random
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from moderation.labels import LABELS
from moderation.review import accounts
from moderation.review.access import sign_in
from moderation.review.draw import draw
from moderation.review.golden import add_golden
from moderation.review.queue import next_item, submit
from tests.apps.monitor.records import fill, prediction
from tests.apps.monitor.reviewing import PASSWORD
from tests.moderation.review.records import policy

DAY = timedelta(days=1)
TEXTS = (
    "Thank you, that helps.",
    "You people should not be allowed to write here.",
    "What a stupid thing to say.",
    "The source says 1912, not 1921.",
    "Shut up, you damn fool.",
    "I will find you and hurt you.",
    "See the talk page, please.",
)
_TRUE = {TEXTS[1]: ["toxic", "identity_hate"], TEXTS[2]: ["toxic", "insult"], TEXTS[4]: ["toxic", "obscene", "insult"],
         TEXTS[5]: ["toxic", "threat"]}  # fmt: skip


def a_week(engine: Engine) -> None:
    """Fill ``engine`` with predictions, draws and verdicts of the last days, and leave some items waiting."""
    now, chance = datetime.now(UTC), random.Random(1)
    for name, role in (("ann", "reviewer"), ("bob", "reviewer"), ("carol", "reviewer"), ("root", "admin")):
        accounts.add(engine, (name, role), now - 9 * DAY, "cli:me", password=PASSWORD)
    golden = [(f"{text} ({number})", _labels(text)) for number in range(3) for text in TEXTS]
    add_golden(engine, golden, now - 9 * DAY, "cli:me")
    rules = policy(daily_budget=40, double_share=0.6, golden_share=0.2)
    for ago in range(7, 0, -1):
        fill(engine, [prediction(_text(ago, k), ago=(ago + 1) * DAY - k * DAY / 90, decision=chance.choice(
            ("allow", "review", "remove")), toxic=chance.random()) for k in range(80)])  # fmt: skip
        at = now - (ago - 1) * DAY
        draw(engine, rules, at)
        for name in ("ann", "bob", "carol"):
            _work(engine, name, at, chance.randint(5, 18), chance)


def _text(ago: int, number: int) -> str:
    return TEXTS[(ago + number) % len(TEXTS)]


def _labels(text: str) -> dict[str, bool]:
    fitting = next((labels for start, labels in _TRUE.items() if text.startswith(start)), [])
    return {label: label in fitting for label in LABELS}


def _work(engine: Engine, name: str, at: datetime, number: int, chance: random.Random) -> None:
    session = sign_in(engine, name, PASSWORD, at)
    for minute in range(number):
        then = at + timedelta(seconds=minute)
        task = next_item(engine, session, policy(golden_share=0.2), then, chance=chance)
        if task is None:
            return
        labels = {label: fits ^ (chance.random() < 0.06) for label, fits in _labels(task.text).items()}
        outcome = "labels" if chance.random() < 0.95 else "skip"
        submit(engine, session, task.review_id, outcome, then, labels if outcome == "labels" else None)
