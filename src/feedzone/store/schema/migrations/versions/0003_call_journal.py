"""The journal of calls."""

import sqlalchemy as sa
from alembic import op

from feedzone.store.engine import types

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "api_calls",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column("sent_at", types.Instant(), nullable=False),
        sa.Column(
            "lane",
            sa.String(length=16),
            nullable=False,
            comment="of the job it was made for; none: outside of jobs",
        ),
        sa.Column(
            "athlete_id", types.BigInt, nullable=True, comment="null: for nobody, or for one who has left"
        ),
        sa.Column("endpoint", sa.String(length=64), nullable=False, comment="GET activities/{id}: no ids"),
        sa.Column("status", sa.Integer(), nullable=True, comment="null: no answer"),
        sa.Column("ms", sa.Integer(), nullable=False, comment="from sending to the answer's end"),
        sa.Column(
            "usage",
            types.JsonText(),
            nullable=True,
            comment="what the rate limit headers said; null: nothing",
        ),
        sa.Column("counted", sa.Boolean(), nullable=False, comment="false: it surely never reached Strava"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_calls")),
    )
    op.create_index("ix_api_calls_athlete_id", "api_calls", ["athlete_id"], unique=False)
    op.create_index("ix_api_calls_sent_at", "api_calls", ["sent_at"], unique=False)
