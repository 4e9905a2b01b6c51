"""Tables of reconciliation."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, MetaData, String, Table

from yinqi.runtime.columns import UtcTimestamp, sealed_text
from yinqi.runtime.feed import cursor_table, event_table
from yinqi.runtime.sealing import Sealed

metadata = MetaData()


def _movement_columns() -> list[Column[Any]]:
    return [
        Column("account", String(34), nullable=False),
        Column("booking_date", String(10), nullable=False),
        Column("direction", String(4), nullable=False),
        Column("currency", String(3), nullable=False),
        Column("minor_units", BigInteger, nullable=False),
        Column("instruction_id", String(35), nullable=False),
        Column("end_to_end_id", String(35), nullable=False),
        Column("account_servicer_reference", String(64), nullable=False),
        Column("counterparty_name", sealed_text(200), nullable=False),
        Column("counterparty_account", sealed_text(64), nullable=False),
    ]


bookings = Table(
    "bookings",
    metadata,
    Column("booking_id", String(64), primary_key=True),
    *_movement_columns(),
    Column("traceparent", String(64), nullable=False),
    Column("is_matched", Boolean, nullable=False),
    Index("ix_bookings_day", "account", "is_matched", "booking_date"),
)
entries = Table(
    "entries",
    metadata,
    Column("entry_id", BigInteger, primary_key=True, autoincrement=False),
    *_movement_columns(),
    Column("description", sealed_text(500), nullable=False),
    Column("is_matched", Boolean, nullable=False),
    Index("ix_entries_day", "account", "is_matched", "booking_date"),
)
matches = Table(
    "matches",
    metadata,
    Column("entry_id", BigInteger, primary_key=True, autoincrement=False),
    Column("booking_id", String(64), nullable=False, unique=True),
    Column("run_id", String(26), nullable=False),
    Column("rule", String(40), nullable=False),
    Column("account", String(34), nullable=False),
    Column("booking_date", String(10), nullable=False),
    Column("entry_date", String(10), nullable=False),
    Index("ix_matches_day", "account", "entry_date"),
)
breaks = Table(
    "breaks",
    metadata,
    Column("break_id", String(26), primary_key=True),
    Column("account", String(34), nullable=False),
    Column("date", String(10), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("direction", String(4), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("minor_units", BigInteger, nullable=False),
    Column("booking_id", String(64), nullable=False),
    Column("entry_id", BigInteger, nullable=False),
    Column("instruction_id", String(35), nullable=False),
    Column("account_servicer_reference", String(64), nullable=False),
    Column("counterparty_name", sealed_text(200), nullable=False),
    Column("description", sealed_text(500), nullable=False),
    Column("status", String(10), nullable=False),
    Column("opened_at", UtcTimestamp(), nullable=False),
    Column("resolved_by", String(100), nullable=False),
    Column("resolution", String(500), nullable=False),
    Column("resolved_at", UtcTimestamp()),
    Index("ix_breaks_day", "account", "status", "date"),
)
ADJUSTMENT = (
    "bank_balance",
    "book_credits_not_at_bank",
    "book_debits_not_at_bank",
    "book_balance",
    "bank_credits_not_in_books",
    "bank_debits_not_in_books",
)
COUNTS = ("booking_count", "entry_count", "reference_match_count", "amount_match_count", "break_count")
runs = Table(
    "runs",
    metadata,
    Column("run_id", String(26), primary_key=True),
    Column("account", String(34), nullable=False),
    Column("date", String(10), nullable=False),
    Column("ran_at", UtcTimestamp(), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("is_statement_complete", Boolean, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in (*COUNTS, *ADJUSTMENT)),
    Column("is_latest", Boolean, nullable=False),
    Index("ix_runs_day", "account", "date", "is_latest"),
)
events = event_table(
    "reconciliation_events",
    metadata,
    Column("type", String(40), nullable=False),
    Column("break_id", String(26), nullable=False),
    Column("run_id", String(26), nullable=False),
    Column("actor", String(100), nullable=False),
)
cursors = cursor_table(metadata)

# What is sealed at rest: who is at the other end, and what for.
SEALED_BOOKINGS = Sealed(bookings, row=("booking_id",), fields=("counterparty_name", "counterparty_account"))
SEALED_ENTRIES = Sealed(entries, row=("entry_id",), fields=("counterparty_name", "counterparty_account", "description"))
SEALED_BREAKS = Sealed(breaks, row=("break_id",), fields=("counterparty_name", "description"))
SEALED = (SEALED_BOOKINGS, SEALED_ENTRIES, SEALED_BREAKS)
