"""Data keys, for the fields of statement entries that are sealed (docs/data-at-rest.md); rows in clear stay as they are.

Revision ID: account_0003_sealed_fields
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.data_keys import data_key_columns

revision = "account_0003_sealed_fields"
down_revision = "account_0002_journal_seals"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table("data_keys", *data_key_columns())


def downgrade() -> None:
    """Refuse where something may be sealed: without its keys nothing could be read any more."""
    if op.get_bind().execute(sa.text("SELECT count(*) FROM data_keys")).scalar():
        raise RuntimeError("there are sealed rows; their keys cannot be dropped (docs/data-at-rest.md)")
    op.drop_table("data_keys")
