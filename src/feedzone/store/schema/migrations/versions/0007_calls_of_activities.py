"""Which activity a call asked for, so that its page can tell the whole story."""

import sqlalchemy as sa
from alembic import op

from feedzone.store.engine import types

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_calls",
        sa.Column(
            "activity_id",
            types.BigInt,
            nullable=True,
            comment="that was asked for; null: none, or of an athlete who has left",
        ),
    )
    op.create_index("ix_api_calls_activity_id", "api_calls", ["activity_id"], unique=False)
