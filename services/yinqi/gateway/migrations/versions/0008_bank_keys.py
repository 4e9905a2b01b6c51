"""The journal of the bank keys, and which keys each message was signed, sealed and verified with (docs/security.md).

Revision ID: gateway_0008_bank_keys
Revises: gateway_0007_stops
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.feed import event_columns

revision = "gateway_0008_bank_keys"
down_revision = "gateway_0007"
branch_labels = None
depends_on = None

_NAMED = ("gateway_messages", "gateway_message_events")


def upgrade() -> None:
    """Make the journal; messages recorded before name no keys."""
    op.create_table(
        "gateway_key_events",
        *event_columns(),
        sa.Column("profile", sa.String(31), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("public_key", sa.String(130), nullable=False),
        sa.Column("file", sa.String(200), nullable=False),
        sa.Column("valid_from", UtcTimestamp()),
        sa.Column("valid_until", UtcTimestamp()),
        sa.Column("overlap_s", sa.BigInteger, nullable=False),
        sa.Column("signer", sa.String(64), nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("gateway_key_events_by_profile", "gateway_key_events", ["profile", "sequence"])
    for table in _NAMED:
        op.add_column(table, sa.Column("key_id", sa.String(16), nullable=False, server_default=""))
        op.add_column(table, sa.Column("cipher_key_id", sa.String(16), nullable=False, server_default=""))


def downgrade() -> None:
    """Forget the journal and the names."""
    for table in _NAMED:
        op.drop_column(table, "cipher_key_id")
        op.drop_column(table, "key_id")
    op.drop_index("gateway_key_events_by_profile", "gateway_key_events")
    op.drop_table("gateway_key_events")
