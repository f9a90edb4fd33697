"""Records for database tests."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

from moderation.db.log import FailureRecord, FeedbackRecord, PredictionRecord, VersionRecord
from moderation.labels import LABELS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERSION = "a" * 64


def prediction(**fields: object) -> PredictionRecord:
    usual = PredictionRecord(
        id=str(uuid.uuid4()),
        created_at=NOON,
        request_id="request",
        client="client",
        route="/predict",
        version=VERSION,
        scores=dict.fromkeys(LABELS, 0.25),
        decision="allow",
        reasons=[],
        latency_ms=5.0,
        tokens_read=7,
        truncated=False,
        text="a comment",
    )
    return replace(usual, **fields)


def feedback(**fields: object) -> FeedbackRecord:
    usual = FeedbackRecord(
        id=str(uuid.uuid4()),
        created_at=NOON,
        request_id="request",
        client="client",
        prediction_id=str(uuid.uuid4()),
        agree=True,
        labels=None,
    )
    return replace(usual, **fields)


def failure(**fields: object) -> FailureRecord:
    usual = FailureRecord(str(uuid.uuid4()), NOON, "/predict", 503, 3)
    return replace(usual, **fields)


def version(**fields: object) -> VersionRecord:
    usual = VersionRecord(
        version=VERSION,
        first_seen_at=NOON,
        name="starter",
        labels=list(LABELS),
        thresholds={label: {"review": 0.5, "remove": 0.9} for label in LABELS},
        reference={"prevalence": dict.fromkeys(LABELS, 0.1)},
    )
    return replace(usual, **fields)
