"""Under which release of the caller an attempt was made.

Revision ID: gateway_0004
Revises: gateway_0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "gateway_0004"
down_revision = "gateway_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("gateway_attempts", sa.Column("release", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("gateway_attempts", "release")
