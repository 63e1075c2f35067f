"""Count the attempts in a row that got no further."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the count, and where the job stood when it began."""
    # not in a batch: that makes the table anew on SQLite, where other tables refer to its rows
    op.add_column("jobs", sa.Column("stalls", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("stalled_at", sa.Float(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Back to the older form."""
    op.drop_column("jobs", "stalled_at")
    op.drop_column("jobs", "stalls")
