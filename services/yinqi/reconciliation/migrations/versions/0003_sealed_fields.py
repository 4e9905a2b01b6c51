"""Sealed fields (docs/data-at-rest.md): data keys, and room for what is longer than it was. No row is touched.

Revision ID: 0003_sealed_fields
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.data_keys import data_key_columns

revision = "0003_sealed_fields"
down_revision = "0002_journal_seals"
branch_labels = None
depends_on = None

_WIDENED = (
    ("bookings", "counterparty_name", 200),
    ("bookings", "counterparty_account", 64),
    ("entries", "counterparty_name", 200),
    ("entries", "counterparty_account", 64),
    ("entries", "description", 500),
    ("breaks", "counterparty_name", 200),
    ("breaks", "description", 500),
)


def upgrade() -> None:
    """Make the table; PostgreSQL widens the columns without rewriting a row, SQLite never looked at their length."""
    op.create_table("data_keys", *data_key_columns())
    if op.get_bind().dialect.name == "postgresql":
        for table, column, length in _WIDENED:
            op.alter_column(table, column, type_=sa.Text, existing_type=sa.String(length), existing_nullable=False)


def downgrade() -> None:
    """Refuse where something may be sealed: without its keys nothing could be read any more."""
    if op.get_bind().execute(sa.text("SELECT count(*) FROM data_keys")).scalar():
        raise RuntimeError("there are sealed rows; their keys cannot be dropped (docs/data-at-rest.md)")
    if op.get_bind().dialect.name == "postgresql":
        for table, column, length in _WIDENED:
            op.alter_column(table, column, type_=sa.String(length), existing_type=sa.Text, existing_nullable=False)
    op.drop_table("data_keys")
