"""Back-tests score the designed sample too, and jobs can be cancelled."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
oldest = "0007"
"""The oldest release that works on the tables as they are then: its revision (docs/upgrade.md)."""


def upgrade() -> None:
    """Add the columns; until now back-tests held plain random samples only."""
    op.add_column("backtest_scores", sa.Column("random", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("jobs", sa.Column("cancelled_at", sa.DateTime(timezone=True)))
