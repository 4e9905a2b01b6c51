"""The banks' electronic receipts, and their journal.

Revision ID: gateway_0009_receipts
Revises: gateway_0008_bank_keys
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.feed import event_columns

revision = "gateway_0009_receipts"
down_revision = "gateway_0008_bank_keys"
branch_labels = None
depends_on = None


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "gateway_receipts",
        _text("profile", 31),
        _text("number", 64),
        _text("instruction_id", 64),
        _text("kind", 8),
        sa.Column("content", sa.LargeBinary, nullable=False),
        _text("digest", 64),
        _text("archive_id", 26),
        sa.Column("recorded_at", UtcTimestamp(), nullable=False),
        sa.PrimaryKeyConstraint("profile", "number"),
    )
    op.create_index("gateway_receipts_by_payment", "gateway_receipts", ["instruction_id"])
    op.create_table(
        "gateway_receipt_events",
        *event_columns(),
        _text("profile", 31),
        _text("number", 64),
        _text("instruction_id", 64),
        _text("kind", 8),
        _text("digest", 64),
        _text("key_id", 16),
        _text("archive_id", 26),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Forget them."""
    op.drop_table("gateway_receipt_events")
    op.drop_index("gateway_receipts_by_payment", "gateway_receipts")
    op.drop_table("gateway_receipts")
