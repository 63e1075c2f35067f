"""Find the jobs whose left-overs are still there without looking at all that have ended."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_jobs_cleaned_finished_at", "jobs", ["cleaned", "finished_at"])


def downgrade() -> None:
    """Back to the older form."""
    op.drop_index("ix_jobs_cleaned_finished_at", "jobs")
