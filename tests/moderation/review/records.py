"""A policy, traffic and reviewers for the tests of human review."""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, insert, select

from moderation.db import log
from moderation.db.log import FeedbackRecord, PredictionRecord, ShadowRecord
from moderation.db.review_models import Reviewer, ReviewItem
from moderation.labels import LABELS
from moderation.review.access import Identity, Session, session_for_identity
from moderation.review.draw import draw
from moderation.review.policy import ReviewPolicy, read_review_policy
from tests.moderation.db.records import NOON, prediction, version

START = NOON.replace(hour=0)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
CLOSED = START + DAY + 2 * HOUR
"""When the window that begins at START is closed."""
NEVER, ALWAYS = random.Random(0), random.Random(0)
NEVER.random, ALWAYS.random = lambda: 1.0, lambda: 0.0  # type: ignore[method-assign]
NO = dict.fromkeys(LABELS, False)
TOXIC = NO | {"toxic": True}


@dataclass
class Scored:
    scores: npt.NDArray[np.float32]


@dataclass
class Lengths:
    """Scores a text by the number at its end; stops after some calls, as a killed worker would."""

    calls_left: int = 1_000
    seen: list[str] = field(default_factory=list)

    def score(self, texts: Sequence[str]) -> Scored:
        if not self.calls_left:
            raise KeyboardInterrupt
        self.calls_left -= 1
        self.seen += texts
        return Scored(np.array([[int(text.split()[1]) / 1_000] * 6 for text in texts], dtype=np.float32))


def policy(**fields: object) -> ReviewPolicy:
    usual = read_review_policy(Path(__file__).parents[3] / "configs" / "review.yaml")
    return ReviewPolicy(**usual.model_dump() | {"double_share": 0.0, "golden_share": 0.0} | fields)


def traffic(number: int, **fields: object) -> list[PredictionRecord]:
    """Predictions spread over the window; their texts are numbered."""
    return [
        prediction(**{"created_at": START + DAY * k / number, "text": f"text {k}", **fields}) for k in range(number)
    ]


def store(
    engine: Engine,
    predictions: Sequence[PredictionRecord],
    feedback: Sequence[FeedbackRecord] = (),
    shadows: Sequence[ShadowRecord] = (),
) -> None:
    with engine.begin() as connection:
        log.record_version(connection, version())
        log.insert(connection, predictions, feedback, shadows)


def drawn(engine: Engine, number: int = 5, **fields: object) -> ReviewPolicy:
    """Store ``number`` predictions and draw all of them."""
    rules = policy(**fields)
    store(engine, traffic(number))
    draw(engine, rules, CLOSED)
    return rules


def signed_in(engine: Engine, name: str, role: str = "reviewer", now: datetime = CLOSED) -> Session:
    email = f"{name}@example.org"
    with engine.begin() as connection:
        if not connection.execute(select(Reviewer.name).where(Reviewer.name == name)).first():
            connection.execute(insert(Reviewer).values(name=name, role=role, email=email, created_at=now))
    return session_for_identity(engine, Identity(email, str(uuid.uuid4()), now), now)


def states(engine: Engine) -> dict[str, str]:
    """Return the state of each item by its prediction."""
    query = select(ReviewItem.prediction_id, ReviewItem.state).where(ReviewItem.kind != "golden")
    with engine.connect() as connection:
        return dict(map(tuple, connection.execute(query)))
