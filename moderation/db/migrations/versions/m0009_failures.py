"""Requests that were refused or failed, and columns that nobody read."""

import sqlalchemy as sa
from alembic import op

from moderation.labels import LABELS

revision = "0009"
down_revision = "0008"
oldest = "0007"
"""Releases before it still fill the columns that nobody reads, so these stay for now."""


def upgrade() -> None:
    """Create the table; the counts by predicted class stand in ``score_bins`` already."""
    op.create_table(
        "failures",
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("created_at", "id", name="pk_failures"),
    )
    with op.batch_alter_table("review_populations") as table:  # SQLite makes such a change by a copy
        for label in LABELS:
            table.alter_column(f"predicted_{label}", existing_type=sa.BigInteger(), nullable=True)
