"""How far the gateway's notices have been followed."""

from __future__ import annotations

from alembic import op

from yinqi.runtime.feed import CURSOR_TABLE, cursor_columns

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(CURSOR_TABLE, *cursor_columns())


def downgrade() -> None:
    """Drop the table."""
    op.drop_table(CURSOR_TABLE)
