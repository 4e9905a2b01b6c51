"""Slots at the banks' doors, shared by all replicas.

Revision ID: gateway_0002
Revises: gateway_0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "gateway_0002"
down_revision = "gateway_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gateway_slot_pools",
        sa.Column("profile", sa.String(31), nullable=False),
        sa.Column("call_class", sa.String(16), nullable=False),
        sa.Column("last_position", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("profile", "call_class"),
    )
    op.create_table(
        "gateway_slots",
        sa.Column("ticket_id", sa.String(26), primary_key=True),
        sa.Column("profile", sa.String(31), nullable=False),
        sa.Column("call_class", sa.String(16), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("company", sa.String(16), nullable=False),
        sa.Column("holder", sa.String(26), nullable=False),
        sa.Column("is_taken", sa.Boolean, nullable=False),
        sa.Column("leased_until", sa.BigInteger, nullable=False),
    )
    op.create_index("gateway_slots_by_class", "gateway_slots", ["profile", "call_class"])


def downgrade() -> None:
    op.drop_table("gateway_slots")
    op.drop_table("gateway_slot_pools")
