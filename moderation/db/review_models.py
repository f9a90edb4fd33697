"""The tables of human review: the drawn sample, what reviewers said of it, who they are, and what everybody did.

An item keeps a copy of what the estimate needs (scores, predicted classes, decision), so that it stays usable after
retention has deleted its prediction; the text is never copied: whoever erases the prediction's takes it from the queue.
What each table is for stands in docs/reviews.md.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, UniqueConstraint, Uuid, sql
from sqlalchemy.orm import Mapped, mapped_column

from moderation.db.base import Base

_OPEN = sql.text("submitted_at IS NULL")


class ReviewWindow(Base):
    """A closed time window from which a sample was drawn, once."""

    __tablename__ = "review_windows"

    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    ended_at: Mapped[datetime]
    drawn_at: Mapped[datetime]
    policy_digest: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    budget: Mapped[int]
    # In the frame, and outside of it: without a stored text, or of a version whose thresholds were unknown.
    predictions: Mapped[int] = mapped_column(BigInteger)
    excluded: Mapped[int] = mapped_column(BigInteger)


class ReviewPopulation(Base):
    """How many predictions of a window, stratum, version and route there were, and their scores."""

    __tablename__ = "review_populations"

    window_at: Mapped[datetime] = mapped_column(primary_key=True)
    stratum: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    predictions: Mapped[int] = mapped_column(BigInteger)
    excluded: Mapped[int] = mapped_column(BigInteger)
    # Per label; see `moderation.review.score_bins`.
    score_bins: Mapped[dict[str, Any]]


class ReviewItem(Base):
    """Something to review: a drawn prediction, one for triage, or a golden item, whose labels are known."""

    __tablename__ = "review_items"
    __table_args__ = (UniqueConstraint("prediction_id", "kind", name="uq_review_items_prediction"),
                      Index(None, "window_at"), Index(None, "kind", "state"))  # fmt: skip

    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    kind: Mapped[str]
    state: Mapped[str]
    drawn_at: Mapped[datetime]
    # Random within a draw, so that the order says nothing of strata.
    place: Mapped[int]
    # How many reviewers are to label it, blind to each other.
    wanted: Mapped[int]
    expires_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    # The consensus once it is done; of a golden item the known ones.
    labels: Mapped[dict[str, bool] | None]
    # NULL: a golden item of our own, with its own text.
    prediction_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    predicted_at: Mapped[datetime | None]
    version: Mapped[str | None]
    route: Mapped[str | None]
    decision: Mapped[str | None]
    scores: Mapped[dict[str, float] | None]
    predicted: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    # NULL: not part of the designed sample.
    window_at: Mapped[datetime | None]
    stratum: Mapped[str | None]
    probability: Mapped[float | None]
    policy_digest: Mapped[str | None]
    text: Mapped[str | None]


class Review(Base):
    """One reviewer's work on an item, from the lease to the verdict; without a reviewer: waiting for one."""

    __tablename__ = "reviews"
    __table_args__ = (
        UniqueConstraint("item_id", "reviewer", "adjudicates", name="uq_reviews_item_reviewer"),
        Index("ix_reviews_open", "item_id", postgresql_where=_OPEN, sqlite_where=_OPEN),
        Index(None, "reviewer", "submitted_at"),
    )

    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    item_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    adjudicates: Mapped[bool]
    reviewer: Mapped[str | None]
    # NULL: waiting, done, or the lease ended and another reviewer took over.
    leased_until: Mapped[datetime | None]
    draft: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    submitted_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    labels: Mapped[dict[str, bool] | None]


class Reviewer(Base):
    """Who may sign in; a name is given out once, since reviews and the audit log know people by it."""

    __tablename__ = "reviewers"
    __table_args__ = (Index(None, "email", unique=True),)

    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    # For sign-in through an identity provider, in lower case.
    email: Mapped[str | None]
    # NULL: no sign-in by password.
    password_hash: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]


class ReviewSession(Base):
    """A sign-in; only the hash of its token is kept."""

    __tablename__ = "review_sessions"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    reviewer: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class AuditEntry(Base):
    """Who did what, when; rows are only ever added."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "reviewer", "action", "at"),)

    at: Mapped[datetime] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    reviewer: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]


class Job(Base):
    """Work that needs a model, which `moderation worker` does."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    kind: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    # Who works on it and until when it is his without another sign of life.
    worker: Mapped[str | None]
    leased_until: Mapped[datetime | None]
    attempts: Mapped[int]
    done: Mapped[int] = mapped_column(BigInteger)
    # NULL: the sample is not drawn yet.
    total: Mapped[int | None] = mapped_column(BigInteger)
    population: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None]
    finished_at: Mapped[datetime | None]
    # Set by who wants it no more, who may write nothing else here; whatever the state, nobody works on it then.
    cancelled_at: Mapped[datetime | None]


class BacktestScore(Base):
    """What a back-test's candidate says of a logged prediction's text; without scores: not scored, or erased before."""

    __tablename__ = "backtest_scores"

    job_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    prediction_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    predicted_at: Mapped[datetime]
    scored: Mapped[bool]
    # Part of the plain random sample; else, or as well, an item of the designed one.
    random: Mapped[bool] = mapped_column(server_default=sql.true())
    score_toxic: Mapped[float | None]
    score_severe_toxic: Mapped[float | None]
    score_obscene: Mapped[float | None]
    score_threat: Mapped[float | None]
    score_insult: Mapped[float | None]
    score_identity_hate: Mapped[float | None]
