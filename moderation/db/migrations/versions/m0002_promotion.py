"""Promotion: moves of aliases, verdicts of the gate, and where a version comes from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables and the column."""
    op.add_column("versions", sa.Column("provenance", sa.JSON()))
    op.create_table(
        "alias_moves",
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text()),
        sa.Column("moved_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("alias", "moved_at", name="pk_alias_moves"),
    )
    op.create_table(
        "gate_verdicts",
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("against", sa.Text()),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("data_digest", sa.Text(), nullable=False),
        sa.Column("rules_digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("candidate", "created_at", name="pk_gate_verdicts"),
    )
