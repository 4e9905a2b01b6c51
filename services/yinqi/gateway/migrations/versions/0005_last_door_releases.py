"""What the last door let out.

Revision ID: gateway_0005
Revises: gateway_0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp

revision = "gateway_0005"
down_revision = "gateway_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gateway_releases",
        sa.Column("end_to_end_id", sa.String(35), primary_key=True),
        sa.Column("instruction_id", sa.String(64), nullable=False),
        sa.Column("order_digest", sa.String(64), nullable=False),
        sa.Column("line_number", sa.Integer, nullable=False),
        sa.Column("debtor_account", sa.String(35), nullable=False),
        sa.Column("creditor_account", sa.String(35), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor_units", sa.BigInteger, nullable=False),
        sa.Column("released_at", UtcTimestamp, nullable=False),
    )
    op.create_index(
        "gateway_releases_by_creditor", "gateway_releases", ["creditor_account", "debtor_account", "released_at"]
    )


def downgrade() -> None:
    op.drop_table("gateway_releases")
