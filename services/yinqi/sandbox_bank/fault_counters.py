"""Fault counters in the book, so that a restart does not repeat a fault meant to happen once."""

from __future__ import annotations

import sqlite3

from yinqi.sandbox_bank.faults import Counter


def load_counters(connection: sqlite3.Connection) -> dict[str, Counter]:
    """All counters by rule key."""
    rows = connection.execute("SELECT rule, seen, applied FROM fault_counters")
    return {row[0]: Counter(row[1], row[2]) for row in rows}


def store_counters(connection: sqlite3.Connection, counters: dict[str, Counter]) -> None:
    """Write them back in the transaction of their effect."""
    rows = [(rule, counter.seen, counter.applied) for rule, counter in counters.items()]
    connection.executemany("INSERT OR REPLACE INTO fault_counters VALUES (?, ?, ?)", rows)
