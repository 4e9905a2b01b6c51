"""Signed orders as they came, which line of which order each payment is, and the decisions on them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "payment_orders",
        sa.Column("order_digest", sa.String(64), primary_key=True),
        sa.Column("order_id", sa.String(35), nullable=False),
        sa.Column("company", sa.String(140), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("order_bytes", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("leaves", sa.LargeBinary, nullable=False),
        sa.Column("received_at", UtcTimestamp, nullable=False),
    )
    op.create_index("payment_orders_by_id", "payment_orders", ["company", "order_id"], unique=True)
    op.create_index("payment_orders_by_nonce", "payment_orders", ["key_id", "nonce"], unique=True)
    op.create_table(
        "payment_order_lines",
        sa.Column("instruction_id", sa.String(30), primary_key=True),
        sa.Column("order_digest", sa.String(64), nullable=False),
        sa.Column("line_number", sa.Integer, nullable=False),
        sa.Column("debtor_account", sa.String(34), nullable=False),
        sa.Column("creditor_account", sa.String(34), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor_units", sa.BigInteger, nullable=False),
        sa.Column("received_at", UtcTimestamp, nullable=False),
    )
    op.create_index("payment_order_lines_by_order", "payment_order_lines", ["order_digest", "line_number"], unique=True)
    op.create_index(
        "payment_order_lines_by_creditor", "payment_order_lines", ["creditor_account", "debtor_account", "received_at"]
    )
    op.create_table(
        "payment_order_decisions",
        sa.Column("order_digest", sa.String(64), primary_key=True),
        sa.Column("key_id", sa.String(64), primary_key=True),
        sa.Column("decision_bytes", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", UtcTimestamp, nullable=False),
    )


def downgrade() -> None:
    """Take the tables away: payments not yet released can then not be shown to be approved."""
    op.drop_table("payment_order_decisions")
    op.drop_table("payment_order_lines")
    op.drop_table("payment_orders")
