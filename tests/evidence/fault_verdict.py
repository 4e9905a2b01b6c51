"""What a run under faults came to: the bank's own book against payment's journal, permits and people's queue.

Reads the stores of the stopped services and asks none of the code under test.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FINAL = frozenset({"SETTLED", "REJECTED", "RETURNED", "BLOCKED", "CANCELLED", "EXPIRED"})


@dataclass
class Verdict:
    """Counts and, for what must be empty, the first cases in words."""

    double_debits: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    without_permit: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    ownerless: list[str] = field(default_factory=list)
    broken_books: list[str] = field(default_factory=list)
    by_status: Counter[str] = field(default_factory=Counter)
    queue: Counter[str] = field(default_factory=Counter)
    resends: int = 0
    permits: int = 0
    in_doubt: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def failures(self) -> dict[str, list[str]]:
        """Return what must be empty and is not."""
        names = ("double_debits", "lost", "without_permit", "contradicted", "ownerless", "broken_books")
        return {name: its for name in names if (its := getattr(self, name))}


def judge(var_dir: Path, accepted: Mapping[str, str], book: Mapping[str, Any]) -> Verdict:
    """Compare what was acknowledged, what the stores hold and what the bank did.

    Args:
        accepted: instruction_id by end_to_end_id, as the callers were told.
        book: the bank's `GET /control/book`.
    """
    verdict = Verdict()
    at_bank = {one["reference"]: one for one in book["payments"]}
    with closing(_open(var_dir / "payment.db")) as store:
        rows = {row[0]: row for row in store.execute(_PAYMENTS)}
        _queue(verdict, store)
        with closing(_open(var_dir / "gateway.db")) as gateway:
            _permits(verdict, store, gateway)
            verdict.calls.update(dict(gateway.execute(_CALLS).fetchall()))
        _journal(verdict, store, rows)
    verdict.double_debits += [ref for ref, one in at_bank.items() if one["times_debited"] > 1]
    verdict.double_debits += [ref for ref in book["double_debited_references"] if ref not in verdict.double_debits]
    verdict.lost += [f"{key} was accepted and is not stored" for key, one in accepted.items() if one not in rows]
    verdict.lost += [f"{ref} is at the bank and not with us" for ref in at_bank if ref not in rows]
    for row in rows.values():
        _one(verdict, row, at_bank.get(row[0]))
    verdict.broken_books += [f"bank: {name} {count}" for name, count in book["integrity"].items() if count]
    _ledger(verdict, var_dir / "account.db")
    return verdict


_CALLS = "SELECT function, count(DISTINCT exchange_id) FROM gateway_messages GROUP BY function"
_PAYMENTS = """SELECT p.instruction_id, p.end_to_end_id, p.status, p.amount_minor_units, p.submission_attempts,
  p.contradiction, d.reason, d.closed_at IS NULL AND d.opened_at IS NOT NULL
  FROM payments p LEFT JOIN payment_doubts d USING (instruction_id)"""


def _one(verdict: Verdict, row: Sequence[Any], at_bank: Mapping[str, Any] | None) -> None:
    instruction_id, _, status, amount, _, contradiction, reason, is_queued = row
    verdict.by_status[status] += 1
    if status not in FINAL and not (is_queued and reason):
        verdict.ownerless.append(f"{instruction_id} is {status} and in nobody's queue")
    if contradiction and not is_queued:
        verdict.ownerless.append(f"{instruction_id} is contradicted and in nobody's queue")
    if status in FINAL and (problem := _problem(status, amount, at_bank)):
        verdict.contradicted.append(f"{instruction_id} is {status}, but {problem}")


def _problem(status: str, amount: int, at_bank: Mapping[str, Any] | None) -> str:
    """Return how the bank's book disagrees with a final status; "" if it does not."""
    debited, net = (_minor(at_bank["debited"]), _minor(at_bank["net_debited"])) if at_bank else (0, 0)
    flags = {"SETTLED": ("S",), "RETURNED": ("B",), "REJECTED": ("F", "R", "D", "C")}.get(status)
    if status == "SETTLED" and (debited, net) != (amount, amount):
        return f"the bank debited {debited}, net {net}"
    if status == "RETURNED" and (debited, net) != (amount, 0):
        return f"the bank debited {debited}, net {net}"
    if status in ("REJECTED", "BLOCKED", "CANCELLED", "EXPIRED") and net != 0:
        return f"the bank keeps {net}"
    if at_bank and flags and at_bank["return_flag"] not in flags:
        return f"the bank says {at_bank['status']}/{at_bank['return_flag']}"
    return ""


def _minor(text: str) -> int:
    whole, _, cents = text.partition(".")
    return int(whole + cents)


def _queue(verdict: Verdict, store: sqlite3.Connection) -> None:
    query = "SELECT reason, count(*) FROM payment_doubts WHERE closed_at IS NULL GROUP BY reason"
    verdict.queue.update(dict(store.execute(query).fetchall()))


def _permits(verdict: Verdict, store: sqlite3.Connection, gateway: sqlite3.Connection) -> None:
    """Each release after one that may have left has a permit of its own, on sound evidence, in both stores."""
    permits = Counter(store.execute("SELECT instruction_id, attempt FROM resend_permits").fetchall())
    verdict.permits = sum(permits.values())
    verdict.without_permit += [
        f"{instruction_id}: a permit without an archived answer that saw its control"
        for (instruction_id,) in store.execute(
            "SELECT instruction_id FROM resend_permits WHERE archive_id = '' OR control_reference = '' OR safe_window_ms <= 0"
        )
    ]
    released = store.execute(
        """SELECT instruction_id, submission_attempts, count(*),
        (SELECT count(*) FROM payment_events n WHERE n.instruction_id = e.instruction_id AND n.type = 'payment.not_sent')
        FROM payment_events e WHERE type = 'payment.submitting' GROUP BY 1, 2"""
    )
    for instruction_id, attempt, times, not_sent in released:
        allowed = 1 + not_sent if attempt == 1 else permits[instruction_id, attempt]
        verdict.resends += times if attempt > 1 else 0
        if times > allowed:
            verdict.without_permit.append(
                f"{instruction_id}: attempt {attempt} released {times} times, allowed {allowed}"
            )
    sent = gateway.execute(
        "SELECT instruction_id, attempt FROM gateway_attempts WHERE attempt > 1 AND state <> 'NOT_SENT'"
    )
    verdict.without_permit += [f"{one}: the gateway sent attempt {k}" for one, k in sent if not permits[one, k]]


def _journal(verdict: Verdict, store: sqlite3.Connection, rows: Mapping[str, Sequence[Any]]) -> None:
    """The journal of each payment begins with its acceptance and is an unbroken chain up to its present status."""
    last: dict[str, str] = {}
    doubted = set()
    for instruction_id, before, after in store.execute(
        "SELECT instruction_id, from_status, to_status FROM payment_events ORDER BY sequence"
    ):
        if last.get(instruction_id) != before:
            verdict.lost.append(f"{instruction_id}: the journal goes from {last.get(instruction_id)} to {before}")
        last[instruction_id] = after
        if after == "UNKNOWN":
            doubted.add(instruction_id)
    verdict.in_doubt = len(doubted)
    verdict.lost += [
        f"{key}: journal {last.get(key)}, row {row[2]}" for key, row in rows.items() if last.get(key) != row[2]
    ]


def _ledger(verdict: Verdict, path: Path) -> None:
    """Our books: every transaction sums to zero, and no final payment's money is still held."""
    with closing(_open(path)) as store:
        (odd,) = store.execute(
            """SELECT count(*) FROM (SELECT 1 FROM ledger_postings
            GROUP BY transaction_id, currency HAVING sum(minor_units) <> 0)"""
        ).fetchone()
        held = store.execute("SELECT standing, count(*) FROM payment_standings GROUP BY 1").fetchall()
    if odd:
        verdict.broken_books.append(f"ledger: {odd} transactions do not sum to zero")
    standings = dict(held)
    wanted = {
        "held": sum(verdict.by_status[status] for status in ("SUBMITTING", "PROCESSING", "UNKNOWN")),
        "paid": verdict.by_status["SETTLED"],
        "returned": verdict.by_status["RETURNED"],
    }
    if any(standings.get(standing, 0) != count for standing, count in wanted.items()):
        verdict.broken_books.append(f"ledger: money stands {standings}, payments say {wanted}")


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)


def feed_lag(var_dir: Path) -> int:
    """Return how many events of payment the ledger has not followed yet; the services may be running."""
    with closing(_open(var_dir / "payment.db")) as store:
        (last,) = store.execute("SELECT coalesce(max(sequence), 0) FROM payment_events").fetchone()
    with closing(_open(var_dir / "account.db")) as store:
        (done,) = store.execute(
            "SELECT coalesce(max(sequence), 0) FROM feed_cursor WHERE name LIKE '%payment%'"
        ).fetchone()
    return int(last) - int(done)
