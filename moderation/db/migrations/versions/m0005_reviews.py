"""Human review: windows and their sample, reviews, reviewers and their sign-ins, audit log, jobs."""

import sqlalchemy as sa
from alembic import op

from moderation.labels import LABELS

revision = "0005"
down_revision = "0004"

_INSTANT = sa.DateTime(timezone=True)
_OPEN = sa.text("submitted_at IS NULL")


def upgrade() -> None:
    """Create the tables."""
    _create_sample()
    _create_reviews()
    _create_access()
    _create_jobs()


def _create_sample() -> None:
    op.create_table(
        "review_windows",
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT, nullable=False),
        sa.Column("drawn_at", _INSTANT, nullable=False),
        sa.Column("policy_digest", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("budget", sa.Integer(), nullable=False),
        sa.Column("predictions", sa.BigInteger(), nullable=False),
        sa.Column("excluded", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("started_at", name="pk_review_windows"),
    )
    key = ("window_at", "stratum", "version", "route")
    counts = ("predictions", "excluded", *(f"predicted_{label}" for label in LABELS))
    op.create_table(
        "review_populations",
        sa.Column("window_at", _INSTANT, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in key[1:]),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.Column("score_bins", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint(*key, name="pk_review_populations"),
    )


def _create_reviews() -> None:
    op.create_table(
        "review_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("drawn_at", _INSTANT, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("expires_at", _INSTANT),
        sa.Column("closed_at", _INSTANT),
        sa.Column("labels", sa.JSON()),
        sa.Column("prediction_id", sa.Uuid()),
        sa.Column("predicted_at", _INSTANT),
        *(sa.Column(name, sa.Text()) for name in ("version", "route", "decision")),
        *(sa.Column(name, sa.JSON()) for name in ("scores", "predicted")),
        sa.Column("window_at", _INSTANT),
        sa.Column("stratum", sa.Text()),
        sa.Column("probability", sa.Double()),
        sa.Column("policy_digest", sa.Text()),
        sa.Column("text", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_review_items"),
        sa.UniqueConstraint("prediction_id", "kind", name="uq_review_items_prediction"),
    )
    op.create_index("ix_review_items_window_at", "review_items", ["window_at"])
    op.create_index("ix_review_items_kind_state", "review_items", ["kind", "state"])
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("adjudicates", sa.Boolean(), nullable=False),
        sa.Column("reviewer", sa.Text()),
        sa.Column("leased_until", _INSTANT),
        sa.Column("draft", sa.JSON()),
        sa.Column("submitted_at", _INSTANT),
        sa.Column("outcome", sa.Text()),
        sa.Column("labels", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.UniqueConstraint("item_id", "reviewer", "adjudicates", name="uq_reviews_item_reviewer"),
    )
    op.create_index("ix_reviews_open", "reviews", ["item_id"], postgresql_where=_OPEN, sqlite_where=_OPEN)
    op.create_index("ix_reviews_reviewer_submitted_at", "reviews", ["reviewer", "submitted_at"])


def _create_access() -> None:
    op.create_table(
        "reviewers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("email", sa.Text()),
        sa.Column("password_hash", sa.Text()),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT),
        sa.Column("disabled_at", _INSTANT),
        sa.PrimaryKeyConstraint("name", name="pk_reviewers"),
    )
    op.create_index("ix_reviewers_email", "reviewers", ["email"], unique=True)
    op.create_table(
        "review_sessions",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_review_sessions"),
    )
    op.create_table(
        "audit_log",
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("reviewer", "action", "subject")),
        sa.PrimaryKeyConstraint("at", "id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_reviewer_action_at", "audit_log", ["reviewer", "action", "at"])
    if op.get_bind().dialect.name == "sqlite":  # PostgreSQL does it by rights (moderation.db.roles)
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_log_no_{change.lower()} BEFORE {change} ON audit_log "
                f"BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"
            )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("worker", sa.Text()),
        sa.Column("leased_until", _INSTANT),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger()),
        sa.Column("population", sa.BigInteger()),
        sa.Column("error", sa.Text()),
        sa.Column("finished_at", _INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_table(
        "backtest_scores",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("predicted_at", _INSTANT, nullable=False),
        sa.Column("scored", sa.Boolean(), nullable=False),
        *(sa.Column(f"score_{label}", sa.Double()) for label in LABELS),
        sa.PrimaryKeyConstraint("job_id", "prediction_id", name="pk_backtest_scores"),
    )
