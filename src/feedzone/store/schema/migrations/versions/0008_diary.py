"""Indexes for the page of an athlete and for the download of an athlete's data."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

DIARY = (
    "athlete_id",
    "start_date_local",
    "id",
    "sync_status",
    "sport_type",
    "distance",
    "moving_time",
    "total_elevation_gain",
    "last_fetched_at",
)


def upgrade() -> None:
    op.create_index("ix_strava_activities_diary", "strava_activities", list(DIARY))
    op.drop_index("ix_activity_changes_athlete_id", "activity_changes")
    op.create_index("ix_activity_changes_athlete_id", "activity_changes", ["athlete_id", "id"])
