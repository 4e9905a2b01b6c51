"""Tables of reconciliation."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.feed import CURSOR_TABLE, cursor_columns, event_columns

revision = "0001"
down_revision = None


def _text(name: str, length: int) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=False)


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _movement() -> list[sa.Column[Any]]:
    return [
        _text("account", 34),
        _text("booking_date", 10),
        _text("direction", 4),
        _text("currency", 3),
        _number("minor_units"),
        _text("instruction_id", 35),
        _text("end_to_end_id", 35),
        _text("account_servicer_reference", 64),
        _text("counterparty_name", 200),
        _text("counterparty_account", 64),
    ]


def upgrade() -> None:
    op.create_table(
        "bookings",
        sa.Column("booking_id", sa.String(64), primary_key=True),
        *_movement(),
        _text("traceparent", 64),
        sa.Column("is_matched", sa.Boolean, nullable=False),
    )
    op.create_index("ix_bookings_day", "bookings", ["account", "is_matched", "booking_date"])
    op.create_table(
        "entries",
        sa.Column("entry_id", sa.BigInteger, primary_key=True, autoincrement=False),
        *_movement(),
        _text("description", 500),
        sa.Column("is_matched", sa.Boolean, nullable=False),
    )
    op.create_index("ix_entries_day", "entries", ["account", "is_matched", "booking_date"])
    op.create_table(
        "matches",
        sa.Column("entry_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("booking_id", sa.String(64), nullable=False, unique=True),
        _text("run_id", 26),
        _text("rule", 40),
        _text("account", 34),
        _text("booking_date", 10),
        _text("entry_date", 10),
    )
    op.create_index("ix_matches_day", "matches", ["account", "entry_date"])
    op.create_table(
        "breaks",
        sa.Column("break_id", sa.String(26), primary_key=True),
        _text("account", 34),
        _text("date", 10),
        _text("reason", 40),
        _text("direction", 4),
        _text("currency", 3),
        _number("minor_units"),
        _text("booking_id", 64),
        _number("entry_id"),
        _text("instruction_id", 35),
        _text("account_servicer_reference", 64),
        _text("counterparty_name", 200),
        _text("description", 500),
        _text("status", 10),
        sa.Column("opened_at", UtcTimestamp(), nullable=False),
        _text("resolved_by", 100),
        _text("resolution", 500),
        sa.Column("resolved_at", UtcTimestamp()),
    )
    op.create_index("ix_breaks_day", "breaks", ["account", "status", "date"])
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(26), primary_key=True),
        _text("account", 34),
        _text("date", 10),
        sa.Column("ran_at", UtcTimestamp(), nullable=False),
        _text("currency", 3),
        sa.Column("is_statement_complete", sa.Boolean, nullable=False),
        *(
            _number(name)
            for name in (
                "booking_count",
                "entry_count",
                "reference_match_count",
                "amount_match_count",
                "break_count",
                "bank_balance",
                "book_credits_not_at_bank",
                "book_debits_not_at_bank",
                "book_balance",
                "bank_credits_not_in_books",
                "bank_debits_not_in_books",
            )
        ),
        sa.Column("is_latest", sa.Boolean, nullable=False),
    )
    op.create_index("ix_runs_day", "runs", ["account", "date", "is_latest"])
    op.create_table(
        "reconciliation_events",
        *event_columns(),
        _text("type", 40),
        _text("break_id", 26),
        _text("run_id", 26),
        _text("actor", 100),
        sqlite_autoincrement=True,
    )
    op.create_table(CURSOR_TABLE, *cursor_columns())


def downgrade() -> None:
    for table in (CURSOR_TABLE, "reconciliation_events", "runs", "breaks", "matches", "entries", "bookings"):
        op.drop_table(table)
