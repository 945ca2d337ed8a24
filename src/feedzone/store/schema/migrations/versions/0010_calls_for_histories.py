"""A day's calls for histories are counted: what the rest has cost decides how much is still kept for it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_budget",
        sa.Column(
            "history",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="of used: calls for histories",
        ),
    )
