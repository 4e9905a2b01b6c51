"""The archive sealed, with checksums and an end (docs/data-at-rest.md); data keys, and room for what is longer than it was.

No row is touched: messages in clear are read as they are until `yinqi data reseal` has walked over them.

Revision ID: gateway_0010_sealed_archive
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.data_keys import data_key_columns
from yinqi.runtime.feed import event_columns
from yinqi.runtime.sealing import sealed_number_columns

revision = "gateway_0010_sealed_archive"
down_revision = "gateway_0009_receipts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make tables and columns; PostgreSQL widens without rewriting a row, SQLite never looked at the length."""
    op.create_table("data_keys", *data_key_columns())
    op.create_table("sealed_numbers", *sealed_number_columns())
    op.create_table(
        "gateway_purge_events",
        *event_columns(),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("recorded_before", UtcTimestamp, nullable=False),
        sa.Column("message_count", sa.Integer, nullable=False),
        sa.Column("archive_ids", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.add_column("gateway_messages", sa.Column("checksum", sa.BigInteger))
    op.create_index("gateway_messages_by_age", "gateway_messages", ["function", "recorded_at"])
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column(
            "gateway_attempts",
            "creditor_account",
            type_=sa.Text,
            existing_type=sa.String(35),
            existing_nullable=False,
        )


def downgrade() -> None:
    """Refuse where something may be sealed: without its keys nothing could be read any more."""
    if op.get_bind().execute(sa.text("SELECT count(*) FROM data_keys")).scalar():
        raise RuntimeError("there are sealed rows; their keys cannot be dropped (docs/data-at-rest.md)")
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column(
            "gateway_attempts",
            "creditor_account",
            type_=sa.String(35),
            existing_type=sa.Text,
            existing_nullable=False,
        )
    op.drop_index("gateway_messages_by_age", "gateway_messages")
    op.drop_column("gateway_messages", "checksum")
    op.drop_table("gateway_purge_events")
    op.drop_table("sealed_numbers")
    op.drop_table("data_keys")
