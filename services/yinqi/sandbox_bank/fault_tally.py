"""Fault counters and fired faults in the book, so that a restart does not repeat a fault meant to happen once."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from yinqi.sandbox_bank.clock import china_time
from yinqi.sandbox_bank.fault_script import Script
from yinqi.sandbox_bank.faults import Counter, Tally


def load_tally(connection: sqlite3.Connection) -> Tally:
    """All counters by rule key, nothing fired yet."""
    rows = connection.execute("SELECT rule, seen, applied, drawn FROM fault_counters")
    return Tally({row[0]: Counter(row[1], row[2], row[3]) for row in rows})


def store_tally(connection: sqlite3.Connection, tally: Tally, now_ms: int) -> None:
    """Write counters and what fired, in the transaction of their effect."""
    if not tally.counters:
        return
    rows = [(key, one.seen, one.applied, one.drawn) for key, one in tally.counters.items()]
    connection.executemany("INSERT OR REPLACE INTO fault_counters VALUES (?, ?, ?, ?)", rows)
    if not tally.fired:
        return
    connection.executemany(
        "INSERT INTO faults_fired (at, rule, fault, function, subject) VALUES (?, ?, ?, ?, ?)",
        [(now_ms, one.rule, one.fault, one.function, one.subject) for one in tally.fired],
    )


def fired_report(connection: sqlite3.Connection, script: Script, limit: int) -> Mapping[str, Any]:
    """How often each fault struck over the bank's life, each rule of the script in force, and the last that fired."""
    counters = load_tally(connection).counters
    counts = connection.execute("SELECT fault, count(*) FROM faults_fired GROUP BY fault ORDER BY fault")
    last = connection.execute("SELECT * FROM faults_fired ORDER BY number DESC LIMIT ?", (limit,)).fetchall()
    rules = [(rule, counters.get(rule.key, Counter())) for rule in script.rules]
    return {
        "counts": {row[0]: row[1] for row in counts},
        "rules": [
            {"name": rule.name, "faults": list(rule.actions), "seen": one.seen, "applied": one.applied}
            for rule, one in rules
        ],
        "fired": [
            {
                "number": row["number"],
                "at": china_time(row["at"]).isoformat(timespec="milliseconds"),
                **{name: row[name] for name in ("rule", "fault", "function", "subject")},
            }
            for row in reversed(last)
        ],
    }
