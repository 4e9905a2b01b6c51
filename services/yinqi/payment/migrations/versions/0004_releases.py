"""How often the intention to send a payment was committed.

Payments on their way while this runs count from their attempts on: no number is used twice.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("payments", sa.Column("releases", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE payments SET releases = submission_attempts WHERE submission_attempts > 0")


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("payments", "releases")
