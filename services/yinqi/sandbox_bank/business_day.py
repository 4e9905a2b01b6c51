"""Passing of business days: returns that come in, scheduled fees and credits, day end before the date changes."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3

from yinqi.sandbox_bank.book import Posting, get_setting, post, put_setting
from yinqi.sandbox_bank.clock import china_date, start_of_day_ms
from yinqi.sandbox_bank.fault_script import ScheduledEntry

_LAST_DAY = "business_date"
_DAY_END_MS = 86_399_000
_MORNING_MS = 9 * 3_600_000


def roll_to(connection: sqlite3.Connection, now_ms: int) -> None:
    """Close every day before today, then book what is due today. Each day's entries carry that day's date."""
    if not something_due(connection, now_ms):
        return
    today = china_date(now_ms)
    stored = get_setting(connection, _LAST_DAY)
    day = today if stored is None else dt.date.fromisoformat(stored)
    while day < today:
        _book_scheduled(connection, day, start_of_day_ms(day) + _DAY_END_MS, at_day_end=True)
        day += dt.timedelta(days=1)
        _book_day(connection, day, min(now_ms, start_of_day_ms(day) + _MORNING_MS))
    _book_day(connection, today, now_ms)
    if stored != today.isoformat():
        put_setting(connection, _LAST_DAY, today.isoformat())


def something_due(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Whether `roll_to` has work; cheap enough to ask before taking the writer."""
    today = china_date(now_ms).isoformat()
    row = connection.execute(
        """SELECT coalesce((SELECT value FROM settings WHERE name = :setting), '') <> :today
        OR EXISTS (SELECT 1 FROM payments WHERE return_due_on <= :today)
        OR EXISTS (SELECT 1 FROM scheduled_entries WHERE serial IS NULL AND due_on <= :today AND at_day_end = 0
          AND account IN (SELECT account FROM accounts))""",
        {"setting": _LAST_DAY, "today": today},
    ).fetchone()
    return bool(row[0])


def next_day_work_at(connection: sqlite3.Connection) -> int | None:
    """When a later business day has work: a return, or a scheduled entry; business milliseconds."""
    row = connection.execute(
        """SELECT min(day) FROM (SELECT min(return_due_on) AS day FROM payments WHERE return_due_on IS NOT NULL
        UNION ALL SELECT min(date(due_on, at_day_end || ' days')) FROM scheduled_entries WHERE serial IS NULL
          AND account IN (SELECT account FROM accounts))"""
    ).fetchone()
    return None if row[0] is None else start_of_day_ms(dt.date.fromisoformat(row[0]))


def schedule(connection: sqlite3.Connection, entries: tuple[ScheduledEntry, ...], today: dt.date) -> None:
    """Remember the entries of a script; loading the same script again adds nothing."""
    connection.executemany(
        "INSERT OR IGNORE INTO scheduled_entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        [
            (e.id, e.account, e.amount, e.kind, (today + dt.timedelta(days=e.on_day)).isoformat(), e.at_day_end,
             e.counterparty_name, e.counterparty_account, e.text)
            for e in entries
        ],
    )  # fmt: skip


def _book_day(connection: sqlite3.Connection, day: dt.date, at_ms: int) -> None:
    _book_returns(connection, day, at_ms)
    _book_scheduled(connection, day, at_ms, at_day_end=False)


def _book_returns(connection: sqlite3.Connection, day: dt.date, at_ms: int) -> None:
    rows = connection.execute(
        "SELECT * FROM payments WHERE return_due_on <= ? ORDER BY return_due_on, request_number", (day.isoformat(),)
    ).fetchall()
    plans = [json.loads(row["plan"])["return"] for row in rows]
    postings = [
        Posting(
            account=row["debtor_account"],
            amount=row["amount"],
            kind="RET",
            text=f"退汇 {plan['text']}",
            counterparty_name=row["creditor_name"],
            counterparty_account=row["creditor_account"],
            request_number=row["request_number"],
            reference=row["reference"],
            original_serial=row["debit_serial"],
        )
        for row, plan in zip(rows, plans, strict=True)
    ]
    serials = post(connection, postings, day.isoformat(), at_ms)
    connection.executemany(
        """UPDATE payments SET return_flag = 'B', error_code = ?, error_text = ?, return_code = ?, return_text = ?,
        return_serial = ?, returned_on = ?, return_due_on = NULL WHERE request_number = ?""",
        [
            (plan["code"], plan["text"], plan["code"], plan["text"], serial, day.isoformat(), row["request_number"])
            for row, plan, serial in zip(rows, plans, serials, strict=True)
        ],
    )


def _book_scheduled(connection: sqlite3.Connection, day: dt.date, at_ms: int, *, at_day_end: bool) -> None:
    rows = connection.execute(
        """SELECT s.* FROM scheduled_entries s JOIN accounts USING (account)
        WHERE s.serial IS NULL AND s.due_on <= ? AND s.at_day_end <= ? ORDER BY s.due_on, s.id""",
        (day.isoformat(), at_day_end),
    ).fetchall()
    postings = [
        Posting(row["account"], row["amount"], row["kind"], row["text"], row["counterparty_name"], row["counterparty_account"])
        for row in rows
    ]  # fmt: skip
    serials = post(connection, postings, day.isoformat(), at_ms)
    connection.executemany(
        "UPDATE scheduled_entries SET serial = ? WHERE id = ?",
        [(serial, row["id"]) for row, serial in zip(rows, serials, strict=True)],
    )
