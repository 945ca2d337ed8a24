"""The breaker also opens when Strava fails at one call after the other."""

import sqlalchemy as sa
from alembic import op

from feedzone.store.engine import types

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "application_state",
        sa.Column("failing_since", types.Instant(), comment="Strava has failed at one call after the other"),
    )
