"""The service's tables. Amounts are minor units; dates are the bank's; instants are UTC."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Date, Index, MetaData, String, Table, Text, UniqueConstraint

from yinqi.runtime.columns import UtcTimestamp, big_integer
from yinqi.runtime.feed import JOURNAL, cursor_table, event_table
from yinqi.runtime.sealing import Sealed

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
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

# Where each payment's money stands (see booking.py), and the trace its story goes on in.
payment_standings = Table(
    "payment_standings",
    metadata,
    Column("instruction_id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("minor_units", BigInteger, nullable=False),
    Column("standing", String(10), nullable=False),
    Column("hold_count", BigInteger, nullable=False),
    Column("traceparent", String(64), nullable=False),
)

ledger_postings = Table(
    "ledger_postings",
    metadata,
    Column("sequence", big_integer(), primary_key=True, autoincrement=True),
    Column("transaction_id", Text, nullable=False),
    Column("ledger_account", Text, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("minor_units", BigInteger, nullable=False),
    Column("booking_date", Date, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("instruction_id", Text, nullable=False),
    Column("recorded_at", UtcTimestamp(), nullable=False),
    # The second guard behind the cursor: no transaction is ever booked twice.
    UniqueConstraint("transaction_id", "ledger_account", "currency", name="ledger_postings_once"),
    Index("ledger_postings_by_day", "ledger_account", "booking_date"),
    Index("ledger_postings_by_payment", "instruction_id"),
    sqlite_autoincrement=True,
    info={JOURNAL: True},  # written under the ledger's lock, so in the order of their commits
)

ledger_balances = Table(
    "ledger_balances",
    metadata,
    Column("ledger_account", Text, primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("minor_units", BigInteger, nullable=False),
)

statements = Table(
    "statements",
    metadata,
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
    Index("statements_by_day", "to_date", "account"),
)

# Decides what is new. The feed's own table cannot: its rows are written at the end of the commit.
statement_entry_keys = Table(
    "statement_entry_keys",
    metadata,
    Column("account", Text, primary_key=True),
    Column("booking_date", Date, primary_key=True),
    Column("account_servicer_reference", Text, primary_key=True),
    Column("source", String(10), primary_key=True),
    Column("signed_minor_units", BigInteger, nullable=False),
)

statement_entries = event_table(
    "statement_entries",
    metadata,
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
    UniqueConstraint("account", "booking_date", "account_servicer_reference", "source", name="statement_entries_once"),
    Index("statement_entries_by_day", "booking_date", "sequence"),
    Index("statement_entries_by_payment", "instruction_id"),
)

feed_cursor = cursor_table(metadata)

# What is sealed at rest: who is at the other end of an entry, and what for. The journal's chain is over what is stored, so it is
# checked without a key.
SEALED_ENTRIES = Sealed(
    statement_entries,
    row=("account", "booking_date", "account_servicer_reference", "source"),
    fields=("counterparty_name", "counterparty_account", "remittance_information"),
    is_journal=True,
)
SEALED = (SEALED_ENTRIES,)
