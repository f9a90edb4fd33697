"""The tables, as SQLAlchemy models that mean the same on SQLite and on PostgreSQL.

Written for a hundred million predictions:

- ``(created_at, id)`` is the primary key of what grows, because PostgreSQL partitions it by month
  (`moderation.db.partitions`). A record carries both values from its birth, so inserting it again finds the
  same key. The key also serves every time range, and as ids are time-ordered (UUIDv7) it is only ever
  appended to.
- The only other indexes are ``predictions.id`` (a caller's feedback names a prediction by id alone),
  ``predictions.author`` (of rows that have one: erasing finds them), ``predictions.created_at`` of rows that have a
  text, hash or author (retention finds the oldest of them without reading those that have none any more) and
  ``feedback.prediction_id`` (the newest predictions are shown with their feedback). Whatever is asked about
  version, client or decision comes with a time range, and needs none.
- Scores are one double column per label and not JSON. On 300,000 rows in PostgreSQL 15, counting
  predicted classes per hour took 0.3 s against 3.5 s (json) and 0.9 s (jsonb), and a row without its
  text 117 bytes against 283 and 273; in SQLite 0.2 s against 1.0 s. Doubles hold every float32 and
  every threshold exactly, so SQL decides as the policy did; reals would save 24 bytes a row but come
  back as other doubles than were answered.
- Feedback has no foreign key: it and its prediction arrive through an outbox, in any order.
- What is asked over ranges is counted in ``rollups`` when rows are inserted (`moderation.db.rollups`), so that
  no chart reads predictions.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Uuid, sql
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

import moderation.db.review_models  # noqa: F401 - its tables belong to the same metadata
from moderation.db.base import Base
from moderation.labels import LABELS

SUGGESTED = "/v1alpha1/comments:suggestscore"
"""Route of predictions that were made to compare a caller's suggestion with: no traffic, in no count and no sample."""

_HAS_AUTHOR = sql.text("author IS NOT NULL")
_HAS_TEXT = sql.text("text IS NOT NULL OR text_hash IS NOT NULL OR author IS NOT NULL")


class Prediction(Base):
    """One answered prediction; fixed-width columns first, which spares PostgreSQL the padding."""

    __tablename__ = "predictions"
    __table_args__ = (
        Index(None, "id"),
        Index(None, "author", postgresql_where=_HAS_AUTHOR, sqlite_where=_HAS_AUTHOR),
        Index("ix_predictions_with_text", "created_at", postgresql_where=_HAS_TEXT, sqlite_where=_HAS_TEXT),
    )

    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    latency_ms: Mapped[float]
    # NULL: the version does not know the label.
    score_toxic: Mapped[float | None]
    score_severe_toxic: Mapped[float | None]
    score_obscene: Mapped[float | None]
    score_threat: Mapped[float | None]
    score_insult: Mapped[float | None]
    score_identity_hate: Mapped[float | None]
    tokens_read: Mapped[int]
    truncated: Mapped[bool]
    decision: Mapped[str]
    reasons: Mapped[list[str]]
    route: Mapped[str]
    client: Mapped[str]
    request_id: Mapped[str]
    version: Mapped[str]
    text: Mapped[str | None]
    # No release before the one that added this answered from a cache.
    cached: Mapped[bool] = mapped_column(server_default=sql.false())
    # Parts of latency_ms; NULL: not measured.
    queue_ms: Mapped[float | None]
    tokenize_ms: Mapped[float | None]
    inference_ms: Mapped[float | None]
    # NULL, like the text: not stored, or erased.
    text_hash: Mapped[str | None]
    author: Mapped[str | None]
    # NULL as well where nothing of the text may be stored, and in rows from before these were measured.
    language: Mapped[str | None]
    characters: Mapped[int | None]
    unknown_tokens: Mapped[int | None]


class ShadowPrediction(Base):
    """What another version said of a text that was answered by the one in service; the key begins with its key."""

    __tablename__ = "shadow_predictions"

    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    latency_ms: Mapped[float]
    score_toxic: Mapped[float | None]
    score_severe_toxic: Mapped[float | None]
    score_obscene: Mapped[float | None]
    score_threat: Mapped[float | None]
    score_insult: Mapped[float | None]
    score_identity_hate: Mapped[float | None]
    decision: Mapped[str]


class Rollup(Base):
    """Counts of the predictions of one version and route in one minute, hour or day; see `moderation.db.rollups`."""

    __tablename__ = "rollups"

    period_s: Mapped[int] = mapped_column(primary_key=True)
    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    predictions: Mapped[int] = mapped_column(BigInteger)
    cached: Mapped[int] = mapped_column(BigInteger)
    truncated: Mapped[int] = mapped_column(BigInteger)
    text_stored: Mapped[int] = mapped_column(BigInteger)
    tokens_read: Mapped[int] = mapped_column(BigInteger)
    decided_allow: Mapped[int] = mapped_column(BigInteger)
    decided_review: Mapped[int] = mapped_column(BigInteger)
    decided_remove: Mapped[int] = mapped_column(BigInteger)
    # Those whose version's thresholds were known when they arrived; the predicted classes are counted among them.
    classified: Mapped[int] = mapped_column(BigInteger)
    predicted_toxic: Mapped[int] = mapped_column(BigInteger)
    predicted_severe_toxic: Mapped[int] = mapped_column(BigInteger)
    predicted_obscene: Mapped[int] = mapped_column(BigInteger)
    predicted_threat: Mapped[int] = mapped_column(BigInteger)
    predicted_insult: Mapped[int] = mapped_column(BigInteger)
    predicted_identity_hate: Mapped[int] = mapped_column(BigInteger)
    # Histograms: number of the bin to count, empty bins left out.
    latency_bins: Mapped[dict[str, int]]
    queue_bins: Mapped[dict[str, int]]
    tokenize_bins: Mapped[dict[str, int]]
    inference_bins: Mapped[dict[str, int]]
    tokens_bins: Mapped[dict[str, int]]
    # NULL: from before these were measured.
    language_bins: Mapped[dict[str, int] | None] = mapped_column(JSON)
    unknown_bins: Mapped[dict[str, int] | None] = mapped_column(JSON)
    density_bins: Mapped[dict[str, int] | None] = mapped_column(JSON)
    score_toxic_bins: Mapped[dict[str, int]]
    score_severe_toxic_bins: Mapped[dict[str, int]]
    score_obscene_bins: Mapped[dict[str, int]]
    score_threat_bins: Mapped[dict[str, int]]
    score_insult_bins: Mapped[dict[str, int]]
    score_identity_hate_bins: Mapped[dict[str, int]]


class Failure(Base):
    """How many requests of a route were answered with one status in one minute by one server; when the last one was."""

    __tablename__ = "failures"

    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    status: Mapped[int]
    number: Mapped[int] = mapped_column(BigInteger)
    route: Mapped[str]


class Erasure(Base):
    """What was erased, so that a row which arrives later is erased as well; see `moderation.db.erasure`."""

    __tablename__ = "erasures"

    kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime]


class Feedback(Base):
    """A caller's or moderator's verdict on a prediction, which may not have arrived yet."""

    __tablename__ = "feedback"
    __table_args__ = (Index(None, "prediction_id"),)

    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    prediction_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    agree: Mapped[bool]
    client: Mapped[str]
    request_id: Mapped[str]
    labels: Mapped[dict[str, bool] | None]
    # NULL: a verdict. Else what a caller suggested in Perspective's way, and where from: counted nowhere.
    origin: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Version(Base):
    """A bundle that has been served, with the thresholds that it decided by last."""

    __tablename__ = "versions"

    version: Mapped[str] = mapped_column(primary_key=True)
    first_seen_at: Mapped[datetime]
    name: Mapped[str]
    labels: Mapped[list[str]]
    thresholds: Mapped[dict[str, dict[str, float | None]]]
    reference: Mapped[dict[str, Any]]
    # NULL: recorded by a release that did not keep it.
    provenance: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # NULL: the bundle, or the release that recorded it, does not state them.
    operating_points: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class AliasMove(Base):
    """A move of an alias in the registry, copied here so that readers of the database know who served when."""

    __tablename__ = "alias_moves"

    alias: Mapped[str] = mapped_column(primary_key=True)
    moved_at: Mapped[datetime] = mapped_column(primary_key=True)
    version: Mapped[str]
    previous: Mapped[str | None]
    moved_by: Mapped[str]
    reason: Mapped[str]


class GateVerdict(Base):
    """What a gate report says; the report itself stays in the registry."""

    __tablename__ = "gate_verdicts"

    candidate: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    against: Mapped[str | None]
    passed: Mapped[bool]
    reasons: Mapped[list[str]]
    data_digest: Mapped[str]
    rules_digest: Mapped[str]


class ApiKey(Base):
    """An API key, without what it is: only the hash of its secret is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "name", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    secret_hash: Mapped[str]
    scopes: Mapped[list[str]]
    # NULL: as much as the server can.
    quota_per_minute: Mapped[int | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class QuotaMinute(Base):
    """How many comments of a key's quota servers asked to grant in one minute."""

    __tablename__ = "quota_minutes"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    minute_at: Mapped[datetime] = mapped_column(primary_key=True)
    asked: Mapped[int] = mapped_column(BigInteger)


SCORE_COLUMNS: dict[str, InstrumentedAttribute[float | None]] = {
    label: getattr(Prediction, f"score_{label}") for label in LABELS
}
"""The column of each label."""
