"""The journal of messages to and from banks, and the seals of the service's journals (docs/audit.md).

Revision ID: gateway_0006_journal_seals
Revises: gateway_0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.feed import event_columns
from yinqi.runtime.journal.seals import SEAL_TABLE, seal_columns

revision = "gateway_0006_journal_seals"
down_revision = "gateway_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. Messages archived before have no line in the journal."""
    op.create_table(
        "gateway_message_events",
        *event_columns(),
        sa.Column("archive_id", sa.String(26), nullable=False),
        sa.Column("exchange_id", sa.String(26), nullable=False),
        sa.Column("profile", sa.String(31), nullable=False),
        sa.Column("direction", sa.String(8), nullable=False),
        sa.Column("function", sa.String(32), nullable=False),
        sa.Column("message_id", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("is_verified", sa.Boolean, nullable=False),
        sa.Column("failure", sa.String(64), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(SEAL_TABLE, *seal_columns())


def downgrade() -> None:
    """Drop the tables; the archive itself and the copies outside the database stay."""
    op.drop_table(SEAL_TABLE)
    op.drop_table("gateway_message_events")
