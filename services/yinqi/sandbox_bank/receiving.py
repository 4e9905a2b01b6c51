"""Receiving payments: duplicate guard, checks, scripted plans, one record per line (contract §4)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yinqi.sandbox_bank import fields
from yinqi.sandbox_bank.clock import china_date
from yinqi.sandbox_bank.errors import MessageRefused
from yinqi.sandbox_bank.fault_tally import load_tally, store_tally
from yinqi.sandbox_bank.faults import Moment, Rule, Tally, take_line_faults
from yinqi.sandbox_bank.submission import PaymentLine, Submission, line_error, visible_line

DUPLICATE_WINDOW_MONTHS = 13


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """What the bank says at once about one line; request_number is None when nothing was recorded."""

    reference: str
    request_number: int | None
    status: str
    return_flag: str
    error_code: str
    error_text: str


@dataclass(frozen=True, slots=True)
class Reception:
    """Everything that is passed in for receiving: whose message, when, the rules, and how long execution takes."""

    user_id: str
    moment: Moment
    delay_ms: int
    rules: Sequence[Rule]

    @property
    def now_ms(self) -> int:
        """Business time of the reception."""
        return self.moment.now_ms


def receive(connection: sqlite3.Connection, submission: Submission, reception: Reception) -> list[LineAnswer]:
    """Record every line that is not a duplicate, inside the caller's transaction.

    Returns:
        One answer per line, in order.
    Raises:
        MessageRefused: batch number seen before, or a debtor account not ours; nothing is recorded.
    """
    today = china_date(reception.now_ms)
    window_start = fields.months_before(today, DUPLICATE_WINDOW_MONTHS).isoformat()
    currencies = _company_accounts(connection)
    if any(line.debtor_account not in currencies for line in submission.lines):
        raise MessageRefused("NTF0003", "debtor account is not yours 付款账户无权限")
    _record_batch(connection, submission, reception, today.isoformat(), window_start)
    taken = _taken_references(connection, submission, reception.user_id, window_start)
    tally = load_tally(connection) if reception.rules else Tally()
    number = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'payments'").fetchone()[
        0
    ]
    rows: list[tuple[Any, ...]] = []
    answers: list[LineAnswer] = []
    for line in submission.lines:
        again, visible = line.reference in taken, visible_line(submission, line)
        plan = take_line_faults(reception.rules, tally, visible, reception.moment, again=again)
        if again and "accept_duplicate" not in plan:
            answers.append(
                LineAnswer(line.reference, None, "", "", "DUP0001", "业务参考号重复 reference was used before")
            )
            continue
        taken.add(line.reference)
        number += 1
        answers.append(_answer(line, number, currencies[line.debtor_account], plan))
        rows.append(_row(submission, line, answers[-1], plan, reception, today.isoformat()))
    if reception.rules:
        store_tally(connection, tally, reception.now_ms)
    connection.executemany(_INSERT, rows)
    duplicates = [(reception.user_id, a.reference, reception.now_ms) for a in answers if a.request_number is None]
    if duplicates:
        connection.executemany("INSERT INTO duplicates VALUES (?, ?, ?)", duplicates)
    return answers


_INSERT = """
INSERT INTO payments (request_number, user_id, reference, batch_number, debtor_account, currency, amount, amount_text,
  creditor_account, creditor_name, channel, memo, received_on, status, return_flag, error_code, error_text, due_at, plan,
  received_at, noticed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def _company_accounts(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT account, currency FROM accounts WHERE owner = 'company'").fetchall())


def _record_batch(
    connection: sqlite3.Connection, submission: Submission, reception: Reception, today: str, window_start: str
) -> None:
    if not submission.batch_number:
        return
    seen = connection.execute(
        "SELECT 1 FROM batches WHERE user_id = ? AND batch_number = ? AND received_on >= ?",
        (reception.user_id, submission.batch_number, window_start),
    ).fetchone()
    if seen:
        raise MessageRefused("BAT0001", "batch number was used before, the first batch stands 批次号重复")
    connection.execute(
        "INSERT INTO batches VALUES (?, ?, ?, ?)",
        (reception.user_id, submission.batch_number, submission.lines[0].debtor_account, today),
    )


def _taken_references(
    connection: sqlite3.Connection, submission: Submission, user_id: str, window_start: str
) -> set[str]:
    """References of the message that the 13-month rule refuses: seen, and not finally failed."""
    rows = connection.execute(
        """SELECT DISTINCT reference FROM payments
        WHERE user_id = ? AND reference IN (SELECT value FROM json_each(?)) AND received_on >= ?
        AND NOT (status = 'FIN' AND return_flag IN ('F', 'B', 'R', 'D', 'C'))""",
        (user_id, json.dumps([line.reference for line in submission.lines]), window_start),
    )
    return {row[0] for row in rows}


def _answer(line: PaymentLine, number: int, account_currency: str, plan: Mapping[str, Mapping[str, Any]]) -> LineAnswer:
    error = line_error(line, account_currency)
    if error is None and plan.get("refuse", {}).get("at") == "receipt":
        refuse = plan["refuse"]
        return LineAnswer(line.reference, number, "FIN", refuse["flag"], refuse["code"], refuse["text"])
    if error is not None:
        return LineAnswer(line.reference, number, "FIN", "F", *error)
    return LineAnswer(line.reference, number, "BNK", "", "SUC0000", "")


def _row(
    submission: Submission,
    line: PaymentLine,
    answer: LineAnswer,
    plan: Mapping[str, Mapping[str, Any]],
    reception: Reception,
    today: str,
) -> tuple[Any, ...]:
    due_at = reception.now_ms + reception.delay_ms + int(plan.get("delay", {}).get("milliseconds", 0))
    late = plan.get("late_reject")
    if late and late["debited"] == "never":
        due_at = reception.now_ms + int(late["after_seconds"] * 1000)
    return (
        answer.request_number, reception.user_id, line.reference, submission.batch_number, line.debtor_account,
        fields.CURRENCIES.get(line.currency_code, ""), line.amount, line.amount_text,
        line.creditor_account, line.creditor_name, line.channel, line.memo, today,
        answer.status, answer.return_flag, answer.error_code, answer.error_text,
        due_at if answer.status == "BNK" else None,
        json.dumps(plan, ensure_ascii=False) if plan else None,
        reception.now_ms,
        f"{answer.status}/{answer.return_flag}" if answer.status == "FIN" else "",  # The answer itself has told.
    )  # fmt: skip
