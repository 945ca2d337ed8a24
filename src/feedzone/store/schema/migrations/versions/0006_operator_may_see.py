"""Whether the operator may see an athlete's activities, and what was agreed to on the way to Strava."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "strava_athletes",
        sa.Column(
            "operator_may_see",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="the athlete has agreed that the operator sees the activities on the pages",
        ),
    )
    op.add_column(
        "oauth_states",
        sa.Column(
            "operator_may_see",
            sa.Boolean(),
            nullable=True,
            comment="what was agreed to on the way to Strava; null: not asked",
        ),
    )
