"""Whoever changes an object locks its jobs of every kind: they are found by key."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_jobs_kind_key", table_name="jobs")
    op.create_index("ix_jobs_key", "jobs", ["key", "kind"])
