"""The people's queue, and the evidence of each resend as data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp, big_integer

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "payment_doubts",
        sa.Column("instruction_id", sa.String(30), primary_key=True),
        sa.Column("reason", sa.String(35), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("opened_at", UtcTimestamp, nullable=False),
        sa.Column("closed_at", UtcTimestamp, nullable=True),
        sa.Column("closing", sa.String(20), nullable=False),
        sa.Column("queried_at", UtcTimestamp, nullable=True),
        sa.Column("archive_id", sa.String(64), nullable=False),
        sa.Column("control_reference", sa.String(64), nullable=False),
        sa.Column("control_seen", sa.Boolean, nullable=False),
        sa.Column("safe_window_ms", sa.BigInteger, nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("document_reference", sa.String(64), nullable=False),
        sa.Column("account_servicer_reference", sa.String(64), nullable=False),
        sa.Column("booking_date", sa.String(10), nullable=False),
        sa.Column("note", sa.String(280), nullable=False),
        sa.Column("person", sa.String(100), nullable=False),
        sa.Column("proposed_at", UtcTimestamp, nullable=True),
        sa.Column("resend_attempt", sa.Integer, nullable=False),
    )
    waits = sa.text("closed_at IS NULL")
    op.create_index(
        "payment_doubts_waiting",
        "payment_doubts",
        ["opened_at", "instruction_id"],
        sqlite_where=waits,
        postgresql_where=waits,
    )
    op.create_table(
        "resend_permits",
        sa.Column("permit_number", big_integer(), primary_key=True, autoincrement=True),
        sa.Column("instruction_id", sa.String(30), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("used_at", UtcTimestamp, nullable=False),
        sa.Column("expires_at", UtcTimestamp, nullable=False),
        sa.Column("queried_at", UtcTimestamp, nullable=False),
        sa.Column("archive_id", sa.String(64), nullable=False),
        sa.Column("control_reference", sa.String(64), nullable=False),
        sa.Column("safe_window_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("resend_permits_by_payment", "resend_permits", ["instruction_id", "permit_number"])


def downgrade() -> None:
    """Take the tables away; the journal keeps each decision and each resend in words."""
    op.drop_table("resend_permits")
    op.drop_table("payment_doubts")
