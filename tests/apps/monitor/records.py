"""Rows for the monitor to show."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from moderation.db.ids import first_id
from moderation.db.log import FeedbackRecord, PredictionRecord, VersionRecord, insert, record_version
from moderation.labels import LABELS
from moderation.policy import Decision

VERSION = "ab" * 32


def prediction(
    text: str | None = "hello", ago: timedelta = timedelta(minutes=5), decision: Decision = "allow", toxic: float = 0.1
) -> PredictionRecord:
    scores = dict.fromkeys(LABELS, 0.01) | {"toxic": toxic}
    reasons = [] if decision == "allow" else ["toxic"]
    made = datetime.now(UTC) - ago
    return PredictionRecord(
        id=first_id(made)[:-12] + uuid.uuid4().hex[:12],  # it holds its time, as those that are answered do
        created_at=made,
        request_id="request",
        client="127.0.0.1",
        route="/predict",
        version=VERSION,
        scores=scores,
        decision=decision,
        reasons=reasons,
        latency_ms=12.5,
        tokens_read=3,
        truncated=False,
        text=text,
    )


def feedback(on: PredictionRecord, agree: bool, labels: Mapping[str, bool] | None = None) -> FeedbackRecord:
    return FeedbackRecord(
        id=str(uuid.uuid4()),
        created_at=on.created_at + timedelta(seconds=1),
        request_id="request",
        client="127.0.0.1",
        prediction_id=on.id,
        agree=agree,
        labels=None if labels is None else dict(labels),
    )


def fill(engine: Engine, predictions: list[PredictionRecord], verdicts: list[FeedbackRecord] | None = None) -> None:
    """Insert the rows and the version that they name."""
    thresholds: dict[str, dict[str, float | None]] = {label: {"review": 0.5, "remove": 0.9} for label in LABELS}
    version = VersionRecord(VERSION, datetime.now(UTC) - timedelta(days=40), "tiny", list(LABELS), thresholds, {})
    with engine.begin() as connection:
        record_version(connection, version)
        insert(connection, predictions, verdicts or [])
