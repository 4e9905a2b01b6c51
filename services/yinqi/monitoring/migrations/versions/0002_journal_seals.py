"""Seals of the service's journals (docs/audit.md); rows that are there already are sealed after the next start.

Revision ID: 0002_journal_seals
"""

from __future__ import annotations

from alembic import op

from yinqi.runtime.journal.seals import SEAL_TABLE, seal_columns

revision = "0002_journal_seals"
down_revision = "0001_monitoring"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(SEAL_TABLE, *seal_columns())


def downgrade() -> None:
    """Drop the table; the copies outside the database stay."""
    op.drop_table(SEAL_TABLE)
