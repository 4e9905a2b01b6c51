"""Executing what is due: debit, refuse, suspend, resolve; decided in memory, written in a few set-based statements."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yinqi.sandbox_bank.book import Posting, balances, post
from yinqi.sandbox_bank.clock import china_date

EXECUTE_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Due:
    """A payment the loop must look at; amount in hundredths."""

    request_number: int
    reference: str
    debtor_account: str
    amount: int
    creditor_account: str
    creditor_name: str
    memo: str
    status: str
    debit_serial: int | None
    due_at: int
    plan: Mapping[str, Mapping[str, Any]]


@dataclass(slots=True)
class Change:
    """The new state of one payment; `debit` and `reversal` are indexes into the step's postings."""

    request_number: int
    status: str
    return_flag: str = ""
    error_code: str = "SUC0000"
    error_text: str = ""
    due_at: int | None = None
    return_due_on: str | None = None
    debit: int | None = None


@dataclass(slots=True)
class Step:
    """All that one execution step does."""

    changes: list[Change] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    day_end_fees: list[tuple[str, str, int, str]] = field(default_factory=list)


def execute_due(connection: sqlite3.Connection, now_ms: int) -> int:
    """Execute up to EXECUTE_MAX due payments inside the caller's transaction; how many there were."""
    due = _load_due(connection, now_ms)
    if due:
        today = china_date(now_ms)
        step = decide(due, balances(connection), now_ms, today)
        _store(connection, step, post(connection, step.postings, today.isoformat(), now_ms), today.isoformat())
    return len(due)


def next_due_at(connection: sqlite3.Connection) -> int | None:
    """When the next payment falls due, business milliseconds."""
    row = connection.execute("SELECT min(due_at) FROM payments WHERE due_at IS NOT NULL").fetchone()
    return None if row[0] is None else int(row[0])


def decide(due: Sequence[Due], booked: Mapping[str, int], now_ms: int, today: dt.date) -> Step:
    """What happens to each due payment, in order; a pure function of its arguments."""
    step, left = Step(), dict(booked)
    for payment in due:
        resolve = _resolve if payment.status == "WRF" else _execute
        step.changes.append(resolve(payment, left, step, now_ms, today))
    return step


def _execute(payment: Due, left: dict[str, int], step: Step, now_ms: int, today: dt.date) -> Change:
    if refuse := payment.plan.get("refuse"):
        return Change(payment.request_number, "FIN", refuse["flag"], refuse["code"], refuse["text"])
    if late := payment.plan.get("late_reject"):
        return _reject_late(payment, late, left, step)
    suspicious = payment.plan.get("suspicious")
    if suspicious is None:
        return _settle(payment, left, step, today)
    change = Change(payment.request_number, "WRF", due_at=now_ms + int(suspicious["after_seconds"] * 1000))
    if suspicious["debited"] == "before":
        if left[payment.debtor_account] < payment.amount:
            return _no_funds(payment)
        change.debit = _debit(payment, left, step)
    return change


def _resolve(payment: Due, left: dict[str, int], step: Step, now_ms: int, today: dt.date) -> Change:
    suspicious = payment.plan["suspicious"]
    if suspicious["then"] == "S":
        return _settle(payment, left, step, today)
    _give_back(payment, left, step)
    return Change(payment.request_number, "FIN", "F", suspicious["code"], suspicious["text"])


def _reject_late(payment: Due, late: Mapping[str, Any], left: dict[str, int], step: Step) -> Change:
    if late["debited"] == "before" and payment.debit_serial is None:
        if left[payment.debtor_account] < payment.amount:
            return _no_funds(payment)
        due_at = payment.due_at + int(late["after_seconds"] * 1000)
        return Change(payment.request_number, "BNK", due_at=due_at, debit=_debit(payment, left, step))
    _give_back(payment, left, step)
    return Change(payment.request_number, "FIN", late["flag"], late["code"], late["text"])


def _give_back(payment: Due, left: dict[str, int], step: Step) -> None:
    """Reverse the debit where there was one."""
    if payment.debit_serial is not None:
        left[payment.debtor_account] += payment.amount
        step.postings.append(_posting(payment, payment.amount, "冲正 reversal", "*", payment.debit_serial))


def _settle(payment: Due, left: dict[str, int], step: Step, today: dt.date) -> Change:
    change = Change(payment.request_number, "FIN", "S")
    if payment.debit_serial is None:
        if left[payment.debtor_account] < payment.amount:
            return _no_funds(payment)
        change.debit = _debit(payment, left, step)
    if "double_debit" in payment.plan:
        _debit(payment, left, step)
    if give_back := payment.plan.get("return"):
        change.return_due_on = (today + dt.timedelta(days=int(give_back["after_days"]))).isoformat()
    if fee := payment.plan.get("fee"):
        _charge(payment, fee, left, step)
    return change


def _charge(payment: Due, fee: Mapping[str, Any], left: dict[str, int], step: Step) -> None:
    amount = int(fee["amount"].replace(".", ""))
    if fee["at"] == "day_end":
        step.day_end_fees.append((f"fee/{payment.request_number}", payment.debtor_account, -amount, fee["text"]))
    else:
        left[payment.debtor_account] -= amount
        step.postings.append(Posting(payment.debtor_account, -amount, "FEE", fee["text"]))


def _no_funds(payment: Due) -> Change:
    return Change(payment.request_number, "FIN", "F", "FUN0001", "余额不足 insufficient balance")


def _debit(payment: Due, left: dict[str, int], step: Step) -> int:
    left[payment.debtor_account] -= payment.amount
    step.postings.append(_posting(payment, -payment.amount, payment.memo))
    return len(step.postings) - 1


def _posting(payment: Due, amount: int, text: str, reversal: str = "", original: int | None = None) -> Posting:
    return Posting(
        account=payment.debtor_account,
        amount=amount,
        kind="PAY",
        text=text,
        counterparty_name=payment.creditor_name,
        counterparty_account=payment.creditor_account,
        reversal=reversal,
        request_number=payment.request_number,
        reference=payment.reference,
        original_serial=original,
    )


def _load_due(connection: sqlite3.Connection, now_ms: int) -> list[Due]:
    rows = connection.execute(
        """SELECT request_number, reference, debtor_account, amount, creditor_account, creditor_name, memo, status,
        debit_serial, due_at, plan FROM payments WHERE due_at <= ? ORDER BY due_at, request_number LIMIT ?""",
        (now_ms, EXECUTE_MAX),
    )
    return [Due(**{**dict(row), "plan": json.loads(row["plan"] or "{}")}) for row in rows]


def _store(connection: sqlite3.Connection, step: Step, serials: Sequence[int], today: str) -> None:
    connection.executemany(
        """UPDATE payments SET status = ?, return_flag = ?, error_code = ?, error_text = ?, due_at = ?, return_due_on = ?
        WHERE request_number = ?""",
        [
            (c.status, c.return_flag, c.error_code, c.error_text, c.due_at, c.return_due_on, c.request_number)
            for c in step.changes
        ],
    )
    connection.executemany(
        "UPDATE payments SET debit_serial = ?, debited_on = ? WHERE request_number = ?",
        [(serials[c.debit], today, c.request_number) for c in step.changes if c.debit is not None],
    )
    if not step.day_end_fees:
        return
    connection.executemany(
        "INSERT OR IGNORE INTO scheduled_entries VALUES (?, ?, ?, 'FEE', ?, 1, '', '', ?, NULL)",
        [(identity, account, amount, today, text) for identity, account, amount, text in step.day_end_fees],
    )
