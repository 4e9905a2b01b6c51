"""Payments and their journal, which is also the feed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.feed import event_columns

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "payments",
        sa.Column("instruction_id", sa.String(30), primary_key=True),
        sa.Column("end_to_end_id", sa.String(35), nullable=False, unique=True),
        sa.Column("order_bytes", sa.LargeBinary, nullable=False),
        sa.Column("request_hash", sa.LargeBinary, nullable=False),
        sa.Column("debtor_account", sa.String(34), nullable=False),
        sa.Column("creditor_name", sa.String(140), nullable=False),
        sa.Column("creditor_account", sa.String(34), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor_units", sa.BigInteger, nullable=False),
        sa.Column("requested_execution_date", sa.String(10), nullable=False),
        sa.Column("category_purpose", sa.String(4), nullable=False),
        sa.Column("payment_information_id", sa.String(35), nullable=False),
        sa.Column("traceparent", sa.String(55), nullable=False),
        sa.Column("initiation_traceparent", sa.String(55), nullable=False),
        sa.Column("received_at", UtcTimestamp, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("reason_code", sa.String(35), nullable=False),
        sa.Column("reason_proprietary_code", sa.String(35), nullable=False),
        sa.Column("reason_text", sa.String(500), nullable=False),
        sa.Column("updated_at", UtcTimestamp, nullable=False),
        sa.Column("submission_attempts", sa.Integer, nullable=False),
        sa.Column("account_servicer_reference", sa.String(64), nullable=False),
        sa.Column("settlement_date", sa.String(10), nullable=False),
        sa.Column("return_date", sa.String(10), nullable=False),
        sa.Column("first_submitted_at", UtcTimestamp, nullable=True),
        sa.Column("last_submitted_at", UtcTimestamp, nullable=True),
        sa.Column("step_tries", sa.Integer, nullable=False),
        sa.Column("next_action_at", UtcTimestamp, nullable=True),
        sa.Column("contradiction", sa.String(20), nullable=False),
    )
    is_open = sa.text("next_action_at IS NOT NULL")
    op.create_index(
        "payments_by_next_action",
        "payments",
        ["status", "next_action_at"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index("payments_by_received_at", "payments", ["received_at", "instruction_id"])
    has_settled = sa.text("settlement_date <> ''")
    op.create_index(
        "payments_by_settlement",
        "payments",
        ["settlement_date", "debtor_account"],
        sqlite_where=has_settled,
        postgresql_where=has_settled,
    )
    op.create_table(
        "payment_events",
        *event_columns(),
        sa.Column("instruction_id", sa.String(30), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("from_status", sa.String(20), nullable=True),
        sa.Column("to_status", sa.String(20), nullable=False),
        sa.Column("reason_code", sa.String(35), nullable=False),
        sa.Column("reason_proprietary_code", sa.String(35), nullable=False),
        sa.Column("reason_text", sa.String(500), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("submission_attempts", sa.Integer, nullable=False),
        sa.Column("account_servicer_reference", sa.String(64), nullable=False),
        sa.Column("settlement_date", sa.String(10), nullable=False),
        sa.Column("return_date", sa.String(10), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("payment_events_by_payment", "payment_events", ["instruction_id", "sequence"])


def downgrade() -> None:
    """Take the tables away, and with them every payment; only for an empty store."""
    op.drop_table("payment_events")
    op.drop_table("payments")
