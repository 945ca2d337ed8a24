"""Gear and photos."""

import sqlalchemy as sa
from alembic import op

from feedzone.store.engine import types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "strava_gear",
        sa.Column("athlete_id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column("id", types.PlainText(), nullable=False, comment="b...: bike, g...: shoes"),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", types.PlainText(), nullable=True),
        sa.Column("nickname", types.PlainText(), nullable=True),
        sa.Column("is_primary", sa.Boolean(), nullable=True),
        sa.Column(
            "retired",
            sa.Boolean(),
            nullable=True,
            comment="the athlete has put it away; null: Strava did not say",
        ),
        sa.Column("distance", sa.Float(precision=53), nullable=True, comment="m"),
        sa.Column(
            "removed_at",
            types.Instant(),
            nullable=True,
            comment="no longer in the profile: deleted at Strava",
        ),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("updated_at", types.Instant(), nullable=False, comment="when it was last seen to change"),
        sa.Column("raw", types.JsonText(), nullable=False, comment="as received with the athlete"),
        sa.CheckConstraint("kind IN ('bike', 'shoe')", name=op.f("ck_strava_gear_kind")),
        sa.PrimaryKeyConstraint("athlete_id", "id", name=op.f("pk_strava_gear")),
    )
    op.create_table(
        "activity_photos",
        sa.Column("activity_id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column(
            "photo_count",
            sa.Integer(),
            nullable=False,
            comment="total_photo_count they were asked for with",
        ),
        sa.Column(
            "photos",
            types.JsonText(),
            nullable=True,
            comment="a list, each entry as received; null: none yet",
        ),
        sa.Column(
            "asked_at",
            types.Instant(),
            nullable=True,
            comment="when Strava first answered; it is asked for a day",
        ),
        sa.Column("fetched_at", types.Instant(), nullable=True, comment="when the photos came"),
        sa.CheckConstraint(
            "state IN ('pending', 'present', 'absent')", name=op.f("ck_activity_photos_state")
        ),
        sa.PrimaryKeyConstraint("activity_id", name=op.f("pk_activity_photos")),
    )
    op.create_index("ix_activity_photos_athlete_id", "activity_photos", ["athlete_id"], unique=False)
    op.add_column(
        "strava_athletes",
        sa.Column(
            "gear_due_at", types.Instant(), nullable=True, comment="when bikes and shoes are asked for again"
        ),
    )
    # Who is connected already is asked for at the next start.
    op.execute("UPDATE strava_athletes SET gear_due_at = connected_at WHERE status <> 'deauthorized'")
