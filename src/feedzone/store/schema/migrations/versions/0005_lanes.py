"""Turns within a lane; calls that are not ours, and calls that go alone."""

import sqlalchemy as sa
from alembic import op

from feedzone.store.engine import types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    queued = sa.text("state = 'queued'")
    op.drop_index("ix_jobs_queue", "jobs")
    op.drop_index("ix_jobs_athlete_id", "jobs")
    # The order of what waits stays as it is; who comes later takes turns with it.
    op.alter_column("jobs", "rank", new_column_name="turn")
    if op.get_bind().dialect.name == "postgresql":
        # SQLite keeps no comments.
        op.alter_column("jobs", "turn", comment="order within the lane, athletes in turns")
    op.execute(
        "UPDATE jobs SET turn = (SELECT count(*) FROM jobs AS other WHERE other.athlete_id = jobs.athlete_id "
        "AND other.priority = jobs.priority AND other.state <> 'dead' AND other.id < jobs.id)"
    )
    op.create_index(
        "ix_jobs_queue", "jobs", ["priority", "turn"], sqlite_where=queued, postgresql_where=queued
    )
    op.create_index("ix_jobs_athlete_id", "jobs", ["athlete_id", "priority", "turn"])
    op.add_column(
        "api_budget",
        sa.Column(
            "others",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="of used: calls that are not ours",
        ),
    )
    op.add_column(
        "api_budget",
        sa.Column("alone_until", types.Instant(), comment="a call whose answer the others wait for"),
    )
    op.add_column(
        "api_calls",
        sa.Column(
            "calls",
            sa.Integer(),
            nullable=False,
            server_default="1",
            comment="how many; of others more than one",
        ),
    )
