"""Updates that keep coming put a fetch off by time, not by number: a slow storm is shown soon, too."""

import sqlalchemy as sa
from alembic import op

from feedzone.store.engine import types

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "settle_until",
            types.Instant(),
            nullable=True,
            comment="more updates put due_at off up to then; null: they do not",
        ),
    )
