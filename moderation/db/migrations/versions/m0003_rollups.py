"""The prediction log at scale: roll-ups, partitions by month (PostgreSQL), shadow predictions, erasures.

An existing table of predictions becomes the partition of everything before the next month; nothing is moved.
Roll-ups of what it holds are made here, which reads it once; servers keep what they answer meanwhile in their outboxes.
"""

from itertools import islice

import sqlalchemy as sa
from alembic import context, op

from moderation import clock
from moderation.db import partitions, rollups
from moderation.db.log import PredictionRecord, prediction_record
from moderation.db.models import Prediction
from moderation.labels import LABELS

revision = "0003"
down_revision = "0002"

_ROWS_AT_ONCE = 10_000
_LATER = ("language", "characters", "unknown_tokens", "language_bins", "unknown_bins", "density_bins")
_HAS_AUTHOR = sa.text("author IS NOT NULL")
_HAS_TEXT = sa.text("text IS NOT NULL OR text_hash IS NOT NULL OR author IS NOT NULL")


def upgrade() -> None:
    """Create and convert the tables, and count what they hold."""
    _add_columns()
    _create_rollups()
    op.create_table(
        "erasures",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", name="pk_erasures"),
    )
    op.create_table(
        "shadow_predictions",
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        *(sa.Column(f"score_{label}", sa.Double()) for label in LABELS),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("created_at", "id", "version", name="pk_shadow_predictions"),
        postgresql_partition_by="RANGE (created_at)",
    )
    if partitions.exist(op.get_bind()):
        _partition()
    for name, column, where in (("author", "author", _HAS_AUTHOR), ("with_text", "created_at", _HAS_TEXT)):
        op.create_index(f"ix_predictions_{name}", "predictions", [column], postgresql_where=where, sqlite_where=where)
    _count_existing()


def _add_columns() -> None:
    op.add_column("predictions", sa.Column("cached", sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in ("queue_ms", "tokenize_ms", "inference_ms"):
        op.add_column("predictions", sa.Column(name, sa.Double()))
    for name in ("text_hash", "author"):
        op.add_column("predictions", sa.Column(name, sa.Text()))


def _create_rollups() -> None:
    counts = (
        *("predictions", "cached", "truncated", "text_stored", "tokens_read"),
        *("decided_allow", "decided_review", "decided_remove", "classified"),
        *(f"predicted_{label}" for label in LABELS),
    )
    histograms = (
        *("latency_bins", "queue_bins", "tokenize_bins", "inference_bins", "tokens_bins"),
        *(f"score_{label}_bins" for label in LABELS),
    )
    op.create_table(
        "rollups",
        sa.Column("period_s", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        *(sa.Column(name, sa.JSON(), nullable=False) for name in histograms),
        sa.PrimaryKeyConstraint("period_s", "started_at", "version", "route", name="pk_rollups"),
    )


def _partition() -> None:
    connection, now = op.get_bind(), clock.now()
    newest = connection.execute(sa.text("SELECT max(created_at) FROM predictions")).scalar_one()
    boundary = partitions.month_after(max(now, newest or now))
    old = f"predictions_before_{boundary:%Y_%m}"
    for statement in (
        f"ALTER TABLE predictions RENAME TO {old}",
        f"ALTER INDEX pk_predictions RENAME TO pk_{old}",
        f"ALTER INDEX ix_predictions_id RENAME TO ix_{old}_id",
        f"CREATE TABLE predictions (LIKE {old} INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)",
        "ALTER TABLE predictions ADD CONSTRAINT pk_predictions PRIMARY KEY (created_at, id)",
        "CREATE INDEX ix_predictions_id ON predictions (id)",
        f"ALTER TABLE predictions ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{boundary.isoformat()}')",
        "CREATE TABLE predictions_default PARTITION OF predictions DEFAULT",
        "CREATE TABLE shadow_predictions_default PARTITION OF shadow_predictions DEFAULT",
    ):
        op.execute(statement)
    partitions.make_ahead(connection, now)


def _count_existing() -> None:
    """Make the roll-ups of what there is; rows inserted from now on are counted as they arrive."""
    connection, table = op.get_bind(), Prediction.__table__
    total = connection.execute(sa.text("SELECT count(*) FROM predictions")).scalar_one()
    thresholds = rollups.read_thresholds(connection, connection.scalars(sa.text("SELECT version FROM versions")).all())
    # By name: the model has got columns since, which this revision does not have.
    names = set(PredictionRecord.__dataclass_fields__) - {"scores", *_LATER} | {f"score_{label}" for label in LABELS}
    query = sa.select(*(table.c[name] for name in sorted(names))).order_by(table.c.created_at)
    rows = connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}).mappings()
    records = map(prediction_record, context.config.attributes["progress"](iter(rows), total))
    while some := list(islice(records, _ROWS_AT_ONCE)):
        rollups.write(connection, rollups.collect(some, thresholds), without=_LATER)
