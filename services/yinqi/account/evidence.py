"""What account has of a payment, for an evidence bundle: its bookings in the ledger and the bank's statement entries."""

from __future__ import annotations

from sqlalchemy import Connection, and_, or_

from yinqi.account.tables import SEALED_ENTRIES, ledger_postings, payment_standings, statement_entries
from yinqi.runtime.evidence import Found, Subject, journal_rows, or_missing, records

_SERVICE = "account"


def collect(connection: Connection, subject: Subject) -> Found:
    """Return the items of one payment."""
    key, c = subject.instruction_id, statement_entries.c
    # A statement from a file may know the payment by the caller's id alone.
    by_caller = and_(c.instruction_id == "", c.end_to_end_id == subject.end_to_end_id)
    is_entry = or_(c.instruction_id == key, by_caller) if subject.end_to_end_id else c.instruction_id == key
    postings = journal_rows(connection, _SERVICE, ledger_postings, ledger_postings.c.instruction_id == key)
    entries = journal_rows(connection, _SERVICE, statement_entries, is_entry)
    return Found(
        subject,
        [
            *records(connection, payment_standings, payment_standings.c.instruction_id == key, "traceparent"),
            *or_missing("POSTINGS", postings),
            *or_missing("STATEMENT_ENTRY", entries),
            # The journal's rows are proved as they are stored, sealed; these are the same in clear.
            *records(connection, statement_entries, is_entry, sealed=SEALED_ENTRIES),
        ],
    )
