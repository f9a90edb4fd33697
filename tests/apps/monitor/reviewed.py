"""A site whose sample was drawn and labelled, for the pages of figures."""

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Engine, select, update

from moderation.db import log
from moderation.db.ids import first_id
from moderation.db.log import PredictionRecord, ShadowRecord
from moderation.db.review_models import ReviewItem
from moderation.labels import LABELS
from moderation.policy import LabelThresholds, Policy
from moderation.review.draw import draw
from tests.moderation.db.records import prediction, version
from tests.moderation.review.records import policy

CANDIDATE = "c" * 64
DAY = timedelta(days=1)
_POLICY = Policy({label: LabelThresholds(0.5, 0.9) for label in LABELS})


def site(engine: Engine, days: int = 2, number: int = 400, budget: int = 120, labelled: float = 0.9) -> None:
    """Store ``number`` predictions a day of the last full days, draw, label a share of the sample by the scores.

    Labels are as frequent as the scores say: some are toxic, obscene or insults, hardly any something else. A candidate
    that gives half the scores saw a quarter of them.
    """
    generator = np.random.default_rng(5)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows, shadows = [], []
    for day in range(1, days + 1):
        for k, toxic in enumerate(generator.beta(0.35, 1.5, number).tolist()):
            made = _prediction(midnight - day * DAY + k * DAY / number, toxic)
            rows.append(made)
            if k % 4 == 0:
                shadows.append(shadow_of(made, 0.5))
    with engine.begin() as connection:
        log.record_version(connection, version())
        log.record_version(connection, version(version=CANDIDATE, name="candidate"))
        log.insert(connection, rows, [], shadows)
    draw(engine, policy(daily_budget=budget, floor=10), midnight + 2 * timedelta(hours=1), lambda: 7)
    _label(engine, labelled)


def _prediction(at: datetime, toxic: float) -> PredictionRecord:
    scores = dict.fromkeys(LABELS, 0.001) | {"toxic": toxic, "obscene": 0.7 * toxic, "insult": 0.7 * toxic}
    cached = at.minute % 7 == 0
    verdict = _POLICY.decide(scores, False)
    return prediction(
        id=first_id(at)[:-12] + uuid.uuid4().hex[:12],
        created_at=at,
        text="a comment",
        scores=scores,
        decision=verdict.decision,
        reasons=list(verdict.reasons),
        latency_ms=0.4 if cached else 6 + 9 * toxic,
        cached=cached,
        queue_ms=0.1,
        tokenize_ms=None if cached else 0.3 + toxic / 4,
        inference_ms=None if cached else 5 + 8 * toxic,
    )


def shadow_of(made: PredictionRecord, factor: float) -> ShadowRecord:
    scores = {label: factor * score for label, score in made.scores.items()}
    return ShadowRecord(made.id, made.created_at, CANDIDATE, scores, _POLICY.decide(scores, False).decision, 1.0)


def _label(engine: Engine, share: float) -> None:
    chance = random.Random(9)
    with engine.begin() as connection:
        rows: list[Any] = list(connection.execute(select(ReviewItem.__table__).order_by(ReviewItem.predicted_at)))
        for row in rows:
            labels = {label: chance.random() < score for label, score in row.scores.items()}
            done = {"state": "done", "labels": labels} if chance.random() < share else {"state": "unresolved"}
            connection.execute(update(ReviewItem).where(ReviewItem.id == row.id).values(done))
