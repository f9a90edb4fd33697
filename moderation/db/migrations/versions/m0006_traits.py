"""What drift is seen by: traits of a text, their histograms, and how well a version's thresholds do."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; what was logged before has none of it."""
    op.add_column("predictions", sa.Column("language", sa.Text()))
    op.add_column("predictions", sa.Column("characters", sa.Integer()))
    op.add_column("predictions", sa.Column("unknown_tokens", sa.Integer()))
    for name in ("language_bins", "unknown_bins", "density_bins"):
        op.add_column("rollups", sa.Column(name, sa.JSON()))
    op.add_column("versions", sa.Column("operating_points", sa.JSON()))
