"""The registry of attempts and the archive of messages.

Revision ID: gateway_0001
Revises: none
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "gateway_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gateway_attempts",
        sa.Column("instruction_id", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("profile", sa.String(31), nullable=False),
        sa.Column("debtor_account", sa.String(35), nullable=False),
        sa.Column("creditor_account", sa.String(35), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor_units", sa.BigInteger, nullable=False),
        sa.Column("content_digest", sa.String(64), nullable=False),
        sa.Column("exchange_id", sa.String(26), nullable=False),
        sa.Column("claimed_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("known_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("instruction_id", "attempt"),
    )
    op.create_index("gateway_attempts_by_exchange", "gateway_attempts", ["exchange_id"])
    op.create_index("gateway_attempts_by_known", "gateway_attempts", ["debtor_account", "known_at"])
    op.create_table(
        "gateway_messages",
        sa.Column("archive_id", sa.String(26), primary_key=True),
        sa.Column("exchange_id", sa.String(26), nullable=False),
        sa.Column("profile", sa.String(31), nullable=False),
        sa.Column("direction", sa.String(8), nullable=False),
        sa.Column("function", sa.String(32), nullable=False),
        sa.Column("message_id", sa.String(64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("is_verified", sa.Boolean, nullable=False),
        sa.Column("failure", sa.String(64), nullable=False),
    )
    op.create_index("gateway_messages_by_exchange", "gateway_messages", ["exchange_id"])
    op.create_table(
        "gateway_exchange_payments",
        sa.Column("instruction_id", sa.String(64), nullable=False),
        sa.Column("exchange_id", sa.String(26), nullable=False),
        sa.PrimaryKeyConstraint("instruction_id", "exchange_id"),
    )
    op.create_table(
        "gateway_absences",
        sa.Column("instruction_id", sa.String(64), nullable=False),
        sa.Column("archive_id", sa.String(26), nullable=False),
        sa.Column("queried_at", sa.BigInteger, nullable=False),
        sa.Column("control_reference", sa.String(64), nullable=False),
        sa.Column("control_seen", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("instruction_id", "archive_id"),
    )


def downgrade() -> None:
    for table in ("gateway_absences", "gateway_exchange_payments", "gateway_messages", "gateway_attempts"):
        op.drop_table(table)
