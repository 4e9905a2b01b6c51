"""The tables of the bank's book. All amounts are hundredths of the currency; all instants are business milliseconds."""

from __future__ import annotations

import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS accounts (
  account TEXT PRIMARY KEY, currency TEXT NOT NULL, name TEXT NOT NULL,
  owner TEXT NOT NULL CHECK (owner IN ('company', 'bank')),
  opening INTEGER NOT NULL, booked INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS batches (
  user_id TEXT NOT NULL, batch_number TEXT NOT NULL, debtor_account TEXT NOT NULL,
  received_on TEXT NOT NULL, PRIMARY KEY (user_id, batch_number, received_on)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS payments (
  request_number INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id TEXT NOT NULL, reference TEXT NOT NULL, batch_number TEXT NOT NULL,
  debtor_account TEXT NOT NULL, currency TEXT NOT NULL, amount INTEGER NOT NULL, amount_text TEXT NOT NULL,
  creditor_account TEXT NOT NULL, creditor_name TEXT NOT NULL, channel TEXT NOT NULL, memo TEXT NOT NULL,
  received_on TEXT NOT NULL,
  status TEXT NOT NULL, return_flag TEXT NOT NULL DEFAULT '',
  error_code TEXT NOT NULL DEFAULT 'SUC0000', error_text TEXT NOT NULL DEFAULT '',
  due_at INTEGER,       -- when the execution loop must look at it again; NULL when there is nothing to do
  debit_serial INTEGER, debited_on TEXT,
  return_due_on TEXT,   -- scripted return still to come
  return_serial INTEGER, returned_on TEXT, return_code TEXT NOT NULL DEFAULT '', return_text TEXT NOT NULL DEFAULT '',
  plan TEXT,            -- scripted faults of this payment, JSON
  received_at INTEGER NOT NULL DEFAULT 0,
  noticed TEXT NOT NULL DEFAULT ''  -- the last 'status/return_flag' the company was told by notice
);
CREATE INDEX IF NOT EXISTS payments_reference ON payments (user_id, reference);
CREATE INDEX IF NOT EXISTS payments_batch ON payments (user_id, batch_number);
CREATE INDEX IF NOT EXISTS payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS payments_undebited ON payments (debtor_account, amount)
  WHERE status <> 'FIN' AND debit_serial IS NULL;
CREATE INDEX IF NOT EXISTS payments_return_due ON payments (return_due_on) WHERE return_due_on IS NOT NULL;
CREATE INDEX IF NOT EXISTS payments_returned ON payments (returned_on) WHERE returned_on IS NOT NULL;

-- Lines that left no payment record: duplicates. The judge of the demo counts them.
CREATE TABLE IF NOT EXISTS duplicates (user_id TEXT NOT NULL, reference TEXT NOT NULL, received_at INTEGER NOT NULL);

CREATE TABLE IF NOT EXISTS entries (
  serial INTEGER PRIMARY KEY, posting INTEGER NOT NULL, account TEXT NOT NULL,
  booking_date TEXT NOT NULL, booked_at INTEGER NOT NULL,
  amount INTEGER NOT NULL CHECK (amount <> 0), balance_after INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('PAY', 'RET', 'FEE', 'CRE')), reversal TEXT NOT NULL DEFAULT '',
  request_number INTEGER, reference TEXT NOT NULL DEFAULT '', original_serial INTEGER,
  counterparty_name TEXT NOT NULL DEFAULT '', counterparty_account TEXT NOT NULL DEFAULT '', text TEXT NOT NULL DEFAULT ''
);
CREATE VIEW IF NOT EXISTS listed_entries AS
  SELECT serial, account, booking_date, booked_at, amount, balance_after, kind, reversal, request_number, reference,
  original_serial, counterparty_name, counterparty_account, text FROM entries;
CREATE INDEX IF NOT EXISTS entries_day ON entries (account, booking_date, serial);
CREATE INDEX IF NOT EXISTS entries_posting ON entries (posting);

CREATE TABLE IF NOT EXISTS scheduled_entries (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, amount INTEGER NOT NULL, kind TEXT NOT NULL,
  due_on TEXT NOT NULL, at_day_end INTEGER NOT NULL,
  counterparty_name TEXT NOT NULL, counterparty_account TEXT NOT NULL, text TEXT NOT NULL,
  serial INTEGER        -- NULL until booked
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS scheduled_entries_open ON scheduled_entries (due_on) WHERE serial IS NULL;

-- seen: conditions held; applied: the fault struck; drawn: lots drawn for a chance on messages.
CREATE TABLE IF NOT EXISTS fault_counters (
  rule TEXT PRIMARY KEY, seen INTEGER NOT NULL, applied INTEGER NOT NULL, drawn INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS faults_fired (
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, rule TEXT NOT NULL, fault TEXT NOT NULL,
  function TEXT NOT NULL, subject TEXT NOT NULL
);

-- due_at, sent_at: real milliseconds; due_at NULL when there is nothing more to send.
CREATE TABLE IF NOT EXISTS notices (
  number INTEGER PRIMARY KEY, user_id TEXT NOT NULL, type TEXT NOT NULL, made_at INTEGER NOT NULL,
  records TEXT NOT NULL, due_at INTEGER, sent_at INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
  acknowledged INTEGER NOT NULL DEFAULT 0, plan TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS notices_due ON notices (due_at) WHERE due_at IS NOT NULL;

-- Receipts as they were signed when first asked for: a copy is the same to the byte.
CREATE TABLE IF NOT EXISTS receipts (number TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS messages (
  user_id TEXT NOT NULL, reqid TEXT NOT NULL, received_at INTEGER NOT NULL, PRIMARY KEY (user_id, reqid)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS messages_age ON messages (received_at);
"""

# Columns that books of earlier versions lack.
_ADDED = {
    "payments": ("received_at INTEGER NOT NULL DEFAULT 0", "noticed TEXT NOT NULL DEFAULT ''"),
    "fault_counters": ("drawn INTEGER NOT NULL DEFAULT 0",),
}
_AFTER_COLUMNS = """
CREATE INDEX IF NOT EXISTS payments_unnoticed ON payments (request_number)
  WHERE status IN ('FIN', 'WRF') AND noticed <> status || '/' || return_flag;
CREATE INDEX IF NOT EXISTS payments_rewritten ON payments (request_number) WHERE instr(plan, '"rewrite_entries"');
"""


def create_schema(connection: sqlite3.Connection) -> None:
    """Make what is missing, also in a book of an earlier version."""
    connection.executescript(SCHEMA)
    for table, columns in _ADDED.items():
        known = {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
        for column in columns:
            if column.split()[0] not in known:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    connection.executescript(_AFTER_COLUMNS)
