"""What reconciliation has of a payment, for an evidence bundle: what it was paired with, and what remained open."""

from __future__ import annotations

from sqlalchemy import Connection, or_, select

from yinqi.reconciliation.tables import (
    SEALED_BOOKINGS,
    SEALED_BREAKS,
    SEALED_ENTRIES,
    bookings,
    breaks,
    entries,
    events,
    matches,
    runs,
)
from yinqi.runtime.evidence import Found, Subject, journal_rows, or_missing, records


def collect(connection: Connection, subject: Subject) -> Found:
    """Return the items of one payment."""
    key = subject.instruction_id
    of_payment = select(bookings.c.booking_id).where(bookings.c.instruction_id == key)
    pairs = list(records(connection, matches, matches.c.booking_id.in_(of_payment)))
    is_open = or_(breaks.c.instruction_id == key, breaks.c.booking_id.in_(of_payment))
    opened = list(records(connection, breaks, is_open, sealed=SEALED_BREAKS))
    entry_ids, run_ids = ([one["row"][name] for one in pairs] for name in ("entry_id", "run_id"))
    told = or_(events.c.run_id.in_(run_ids), events.c.break_id.in_([one["row"]["break_id"] for one in opened]))
    return Found(
        subject,
        [
            *records(connection, bookings, bookings.c.instruction_id == key, "traceparent", sealed=SEALED_BOOKINGS),
            *or_missing("MATCH", pairs),
            *records(connection, entries, entries.c.entry_id.in_(entry_ids), sealed=SEALED_ENTRIES),
            *opened,
            *records(connection, runs, runs.c.run_id.in_(run_ids)),
            *(journal_rows(connection, "reconciliation", events, told) if run_ids or opened else ()),
        ],
    )
