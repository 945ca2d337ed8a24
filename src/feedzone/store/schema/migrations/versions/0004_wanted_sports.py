"""Wanted sports of an athlete, and an index of the events that wait."""

import sqlalchemy as sa
from alembic import op

from feedzone.store.engine import types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "strava_athletes",
        sa.Column(
            "wanted_sports",
            types.PlainText(),
            nullable=True,
            comment="sport types to fetch details of, comma-separated; null: all",
        ),
    )
    op.create_index(
        "ix_webhook_events_pending",
        "webhook_events",
        ["owner_id"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
