"""Accounts, the ledger, statements and their entries.

Revision ID: account_0001
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Date, String, Text, UniqueConstraint

from yinqi.runtime.columns import UtcTimestamp, big_integer
from yinqi.runtime.feed import CURSOR_TABLE, cursor_columns, event_columns

revision = "account_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _create_accounts()
    _create_ledger()
    _create_statements()
    op.create_table(CURSOR_TABLE, *cursor_columns())


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        Column("identification", Text, primary_key=True),
        Column("currency", String(3), nullable=False),
        Column("name", Text, nullable=False),
        Column("bank_profile", Text, nullable=False),
        Column("opened_on", Date),
        Column("bank_booked_minor_units", BigInteger),
        Column("bank_available_minor_units", BigInteger),
        Column("bank_as_of", UtcTimestamp()),
        Column("bank_date", Date),
        Column("bank_date_since", UtcTimestamp()),
    )


def _create_ledger() -> None:
    op.create_table(
        "payment_standings",
        Column("instruction_id", Text, primary_key=True),
        Column("account", Text, nullable=False),
        Column("currency", String(3), nullable=False),
        Column("minor_units", BigInteger, nullable=False),
        Column("standing", String(10), nullable=False),
        Column("hold_count", BigInteger, nullable=False),
        Column("traceparent", String(64), nullable=False),
    )
    op.create_table(
        "ledger_postings",
        Column("sequence", big_integer(), primary_key=True, autoincrement=True),
        Column("transaction_id", Text, nullable=False),
        Column("ledger_account", Text, nullable=False),
        Column("currency", String(3), nullable=False),
        Column("minor_units", BigInteger, nullable=False),
        Column("booking_date", Date, nullable=False),
        Column("kind", String(20), nullable=False),
        Column("instruction_id", Text, nullable=False),
        Column("recorded_at", UtcTimestamp(), nullable=False),
        UniqueConstraint("transaction_id", "ledger_account", "currency", name="ledger_postings_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("ledger_postings_by_day", "ledger_postings", ["ledger_account", "booking_date"])
    op.create_index("ledger_postings_by_payment", "ledger_postings", ["instruction_id"])
    op.create_table(
        "ledger_balances",
        Column("ledger_account", Text, primary_key=True),
        Column("currency", String(3), primary_key=True),
        Column("minor_units", BigInteger, nullable=False),
    )


def _create_statements() -> None:
    op.create_table(
        "statements",
        Column("account", Text, primary_key=True),
        Column("source", String(10), primary_key=True),
        Column("statement_id", Text, primary_key=True),
        Column("from_date", Date, nullable=False),
        Column("to_date", Date, nullable=False),
        Column("currency", String(3), nullable=False),
        Column("opening_minor_units", BigInteger),
        Column("closing_minor_units", BigInteger),
        Column("cursor", Text, nullable=False),
        Column("balance_at_cursor_minor_units", BigInteger),
        Column("entry_count", BigInteger, nullable=False),
        Column("net_minor_units", BigInteger, nullable=False),
        Column("is_final", Boolean, nullable=False),
        Column("flaw", String(30), nullable=False),
        Column("fetched_at", UtcTimestamp()),
    )
    op.create_index("statements_by_day", "statements", ["to_date", "account"])
    op.create_table(
        "statement_entry_keys",
        Column("account", Text, primary_key=True),
        Column("booking_date", Date, primary_key=True),
        Column("account_servicer_reference", Text, primary_key=True),
        Column("source", String(10), primary_key=True),
        Column("signed_minor_units", BigInteger, nullable=False),
    )
    op.create_table(
        "statement_entries",
        *event_columns(),
        Column("account", Text, nullable=False),
        Column("account_servicer_reference", Text, nullable=False),
        Column("instruction_id", Text, nullable=False),
        Column("end_to_end_id", Text, nullable=False),
        Column("currency", String(3), nullable=False),
        Column("minor_units", BigInteger, nullable=False),
        Column("credit_debit_indicator", String(4), nullable=False),
        Column("is_reversal", Boolean, nullable=False),
        Column("booking_date", Date, nullable=False),
        Column("value_date", Date),
        Column("counterparty_name", Text, nullable=False),
        Column("counterparty_account", Text, nullable=False),
        Column("remittance_information", Text, nullable=False),
        Column("balance_after_minor_units", BigInteger),
        Column("source", String(10), nullable=False),
        Column("traceparent", String(64), nullable=False),
        UniqueConstraint(
            "account", "booking_date", "account_servicer_reference", "source", name="statement_entries_once"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("statement_entries_by_day", "statement_entries", ["booking_date", "sequence"])
    op.create_index("statement_entries_by_payment", "statement_entries", ["instruction_id"])


def downgrade() -> None:
    """Drop the tables; all accounts, bookings and entries are lost."""
    for name in (
        CURSOR_TABLE,
        "statement_entries",
        "statement_entry_keys",
        "statements",
        "ledger_balances",
        "ledger_postings",
        "payment_standings",
        "accounts",
    ):
        op.drop_table(name)
