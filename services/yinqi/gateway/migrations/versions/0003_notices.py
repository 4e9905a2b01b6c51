"""Notices that banks send by themselves, and what they meant.

Revision ID: gateway_0003
Revises: gateway_0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.feed import event_columns

revision = "gateway_0003"
down_revision = "gateway_0002"
branch_labels = None
depends_on = None


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def upgrade() -> None:
    op.create_table(
        "gateway_notices",
        _text("profile", 31),
        _text("number", 32),
        _text("content_digest", 64),
        sa.PrimaryKeyConstraint("profile", "number"),
    )
    op.create_table(
        "gateway_notice_signatures",
        _text("profile", 31),
        _text("number", 32),
        _text("signature_digest", 64),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("profile", "number", "signature_digest"),
    )
    op.create_table(
        "gateway_notice_records",
        sa.Column("instruction_id", sa.String(64), primary_key=True),
        _text("record_number", 64),
        _text("status", 16),
    )
    op.create_table(
        "gateway_notice_events",
        *event_columns(),
        _text("profile", 31),
        _text("archive_id", 26),
        _text("number", 32),
        _text("type", 16),
        _text("refusal", 64),
        _text("instruction_id", 64),
        _text("status", 16),
        _text("reason_code", 64),
        _text("proprietary_code", 64),
        _text("reason_text", 500),
        _text("account_servicer_reference", 64),
        _text("booking_date", 10),
        sqlite_autoincrement=True,
    )
    op.create_index("gateway_notice_events_by_time", "gateway_notice_events", ["occurred_at"])


def downgrade() -> None:
    for table in ("notice_events", "notice_records", "notice_signatures", "notices"):
        op.drop_table(f"gateway_{table}")
