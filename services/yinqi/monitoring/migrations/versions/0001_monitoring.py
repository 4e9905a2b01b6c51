"""The first schema of the monitoring service."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.feed import CURSOR_TABLE, cursor_columns, event_columns

revision = "0001_monitoring"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "screening",
        sa.Column("instruction_id", sa.String(64), primary_key=True),
        sa.Column("verdict", sa.Integer, nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("description", sa.String(1000), nullable=False),
        sa.Column("description_zh", sa.String(1000), nullable=False),
        sa.Column("subject_digest", sa.String(64), nullable=False),
        sa.Column("screened_at", UtcTimestamp(), nullable=False),
    )
    op.create_table(
        "screening_repeat",
        sa.Column("repeat_key", sa.String(64), primary_key=True),
        sa.Column("payment_count", sa.Integer, nullable=False),
    )
    op.create_table(
        "alert",
        sa.Column("alert_id", sa.String(26), primary_key=True),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("severity", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("summary", sa.String(2000), nullable=False),
        sa.Column("summary_zh", sa.String(2000), nullable=False),
        sa.Column("raised_at", UtcTimestamp(), nullable=False),
        sa.Column("acknowledged_by", sa.String(128), nullable=False),
        sa.Column("acknowledged_at", UtcTimestamp()),
        sa.Column("note", sa.String(500), nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=False),
        sa.Column("delivered_at", UtcTimestamp()),
        sa.Column("delivery_attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", UtcTimestamp()),
        sa.UniqueConstraint("rule", "subject", name="alert_rule_subject"),
    )
    op.create_index("alert_newest", "alert", ["raised_at", "alert_id"])
    op.create_index("alert_subject", "alert", ["subject"])
    op.create_index("alert_next_attempt", "alert", ["next_attempt_at"])
    op.create_table(
        "alert_event",
        *event_columns(),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("alert_id", sa.String(26), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "alert_delivery",
        sa.Column("alert_id", sa.String(26), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("delivered_at", UtcTimestamp(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", "channel"),
    )
    op.create_table(
        "unknown_payment",
        sa.Column("instruction_id", sa.String(64), primary_key=True),
        sa.Column("end_to_end_id", sa.String(64), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("since", UtcTimestamp(), nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=False),
        sa.Column("is_alerted", sa.Boolean, nullable=False),
    )
    op.create_index("unknown_payment_since", "unknown_payment", ["is_alerted", "since"])
    op.create_table(
        "payment_activity",
        sa.Column("start_s", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("payment_count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("start_s", "kind"),
    )
    op.create_table(CURSOR_TABLE, *cursor_columns())


def downgrade() -> None:
    for table in (
        CURSOR_TABLE,
        "payment_activity",
        "unknown_payment",
        "alert_delivery",
        "alert_event",
        "alert",
        "screening_repeat",
        "screening",
    ):
        op.drop_table(table)
