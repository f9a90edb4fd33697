"""Feedback can be what a caller of Perspective's ``comments:suggestscore`` suggested."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
oldest = "0007"
"""A release before it reads suggestions as the feedback that they are, and asks for no more."""


def upgrade() -> None:
    """Add the column; what is there are verdicts."""
    op.add_column("feedback", sa.Column("origin", sa.JSON()))
