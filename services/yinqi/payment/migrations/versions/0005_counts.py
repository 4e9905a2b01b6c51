"""An index that holds all that counting payments by status, account and currency needs."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    columns = ["status", "debtor_account", "currency", "amount_minor_units"]
    op.create_index("payments_by_status", "payments", columns)


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("payments_by_status", "payments")
