"""Sealed fields (docs/data-at-rest.md): data keys, the way back from tokens, and room for what is longer than it was.

No row is touched: what was written in clear is read as it is until `yinqi data reseal` has walked over it.

Revision ID: 0009_sealed_fields
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.data_keys import data_key_columns
from yinqi.runtime.sealing import sealed_number_columns

revision = "0009_sealed_fields"
down_revision = "0008_one_time_codes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; PostgreSQL widens the columns without rewriting a row, SQLite never looked at their length."""
    op.create_table("data_keys", *data_key_columns())
    op.create_table("sealed_numbers", *sealed_number_columns())
    if op.get_bind().dialect.name == "postgresql":
        for column, length in (("creditor_name", 140), ("creditor_account", 34)):
            op.alter_column("payments", column, type_=sa.Text, existing_type=sa.String(length), existing_nullable=False)


def downgrade() -> None:
    """Refuse where something may be sealed: without its keys nothing could be read any more."""
    if op.get_bind().execute(sa.text("SELECT count(*) FROM data_keys")).scalar():
        raise RuntimeError("there are sealed rows; their keys cannot be dropped (docs/data-at-rest.md)")
    if op.get_bind().dialect.name == "postgresql":
        for column, length in (("creditor_name", 140), ("creditor_account", 34)):
            op.alter_column("payments", column, type_=sa.String(length), existing_type=sa.Text, existing_nullable=False)
    op.drop_table("sealed_numbers")
    op.drop_table("data_keys")
