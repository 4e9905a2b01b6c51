"""What the book says about itself: the report that tests and the demo trust to count double debits and losses."""

from __future__ import annotations

import sqlite3
from typing import Any

from yinqi.sandbox_bank.fields import format_amount, format_request_number

_OPEN = ("AUT", "NTE", "OPR", "BNK", "APW")


def book_report(connection: sqlite3.Connection, *, with_payments: bool) -> dict[str, Any]:
    """Accounts, totals, integrity and (on request) every reference. Debits are counted from entries, never from statuses."""
    references = _references(connection)
    double = [one["reference"] for one in references if one["times_debited"] - one["times_credited"] > 1]
    report: dict[str, Any] = {
        "accounts": _accounts(connection),
        "totals": _totals(connection),
        "double_debits": len(double),
        "double_debited_references": double,
        "never_debited": sum(one["times_debited"] == 0 for one in references),
        "integrity": integrity(connection),
    }
    if with_payments:
        report["payments"] = references
        report["never_debited_references"] = [one["reference"] for one in references if one["times_debited"] == 0]
    return report


def integrity(connection: sqlite3.Connection) -> dict[str, int]:
    """Counts of broken rules; all are zero in a sound book."""

    def count(query: str) -> int:
        return int(connection.execute(query).fetchone()[0])

    return {
        "unbalanced_postings": count(
            "SELECT count(*) FROM (SELECT posting FROM entries GROUP BY posting HAVING sum(amount) <> 0 OR count(*) <> 2)"
        ),
        "wrong_balances": count(
            """SELECT count(*) FROM accounts a WHERE booked <>
            opening + coalesce((SELECT sum(amount) FROM entries e WHERE e.account = a.account), 0)"""
        ),
        "settled_without_debit": count(
            """SELECT count(*) FROM payments p WHERE status = 'FIN' AND return_flag IN ('S', 'B') AND NOT EXISTS
            (SELECT 1 FROM entries e WHERE e.serial = p.debit_serial AND e.amount = -p.amount)"""
        ),
        "debited_without_payment": count(
            """SELECT count(*) FROM entries WHERE kind = 'PAY' AND amount < 0 AND account NOT LIKE 'CLEARING-%'
            AND serial NOT IN (SELECT debit_serial FROM payments WHERE debit_serial IS NOT NULL)"""
        ),
    }


def _accounts(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    return [
        {
            "account": row["account"],
            "currency": row["currency"],
            "name": row["name"],
            "owner": row["owner"],
            "opening": format_amount(row["opening"]),
            "booked": format_amount(row["booked"]),
        }
        for row in connection.execute("SELECT * FROM accounts ORDER BY owner DESC, account")
    ]


def _totals(connection: sqlite3.Connection) -> dict[str, int]:
    by_state = {
        (row[0], row[1]): row[2]
        for row in connection.execute("SELECT status, return_flag, count(*) FROM payments GROUP BY 1, 2")
    }
    finished = {flag: count for (status, flag), count in by_state.items() if status == "FIN"}
    duplicates = connection.execute("SELECT count(*) FROM duplicates").fetchone()[0]
    return {
        "received": sum(by_state.values()),
        "in_process": sum(count for (status, _), count in by_state.items() if status in _OPEN),
        "suspicious": by_state.get(("WRF", ""), 0),
        "settled": finished.get("S", 0),
        "returned": finished.get("B", 0),
        "rejected": sum(count for flag, count in finished.items() if flag not in ("S", "B")),
        "duplicates_refused": int(duplicates),
    }


def _references(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """One record per reference: the newest payment's state, and money movements over all payments of it."""
    rows = connection.execute(
        """WITH moved AS (
          SELECT request_number, sum(amount < 0) AS debits, sum(amount > 0) AS credits,
            sum(min(amount, 0)) AS debited, sum(max(amount, 0)) AS credited
          FROM entries WHERE request_number IS NOT NULL AND account NOT LIKE 'CLEARING-%' GROUP BY request_number),
        refused AS (SELECT user_id, reference, count(*) AS times FROM duplicates GROUP BY 1, 2)
        SELECT p.*, max(p.request_number) AS newest, count(*) AS times_received,
          coalesce(sum(m.debits), 0) AS debits, coalesce(sum(m.credits), 0) AS credits, coalesce(sum(m.debited), 0) AS debited,
          coalesce(sum(m.credited), 0) AS credited,
          coalesce((SELECT times FROM refused r WHERE r.user_id = p.user_id AND r.reference = p.reference), 0) AS refusals
        FROM payments p LEFT JOIN moved m USING (request_number)
        GROUP BY p.user_id, p.reference ORDER BY newest"""
    )
    return [
        {
            "reference": row["reference"],
            "request_number": format_request_number(row["newest"]),
            "batch_number": row["batch_number"],
            "debtor_account": row["debtor_account"],
            "currency": row["currency"],
            "amount": format_amount(row["amount"]),
            "status": row["status"],
            "return_flag": row["return_flag"],
            "error_code": row["error_code"],
            "times_received": row["times_received"],
            "duplicates_refused": row["refusals"],
            "times_debited": row["debits"],
            "times_credited": row["credits"],
            "debited": format_amount(-row["debited"]),
            "credited": format_amount(row["credited"]),
            "net_debited": format_amount(-row["debited"] - row["credited"]),
        }
        for row in rows
    ]
