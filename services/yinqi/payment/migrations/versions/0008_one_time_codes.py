"""What is remembered of people's one-time codes: the last one used, and wrong ones in a row. Never a secret or a code."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp

revision = "0008_one_time_codes"
down_revision = "0007_journal_seals"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "payment_one_time_codes",
        sa.Column("person", sa.String(100), primary_key=True),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("wrong", sa.Integer, nullable=False),
        sa.Column("locked_until", UtcTimestamp, nullable=True),
    )


def downgrade() -> None:
    """Take the table away: codes used within the last minute could be used again."""
    op.drop_table("payment_one_time_codes")
