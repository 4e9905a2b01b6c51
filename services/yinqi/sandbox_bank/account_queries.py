"""Answers about accounts: balances, rights, statement lines of a day (contract §5)."""

from __future__ import annotations

import datetime as dt
import sqlite3
import zlib
from typing import Any

from yinqi.sandbox_bank.asked import Asked
from yinqi.sandbox_bank.clock import china_date, china_time
from yinqi.sandbox_bank.day_view import Shown, booked, is_rewritten, rewritten
from yinqi.sandbox_bank.errors import MessageRefused
from yinqi.sandbox_bank.fields import (
    CURRENCY_CODES,
    format_date,
    format_request_number,
    format_serial,
    months_before,
    parse_date,
)
from yinqi.sandbox_bank.looseness import Amount, Records
from yinqi.sandbox_bank.submission import records, text

ACCOUNTS_MAX = 30
PAGE_SIZE = 200
STATEMENT_MONTHS = 13


def balances(connection: sqlite3.Connection, asked_of: Asked, member: str) -> Records:
    """NTQADINF and NTQACINF: balances in the order asked; an account not ours carries its own error."""
    accounts = [text(record, "accNbr") for record in records(asked_of.body, member, ACCOUNTS_MAX)]
    found = [_balance(connection, account, asked_of.now_ms) for account in accounts]
    for record in found:
        if record["errCod"] == "SUC0000":
            record["onlBal"] = Amount(record["onlBal"] + asked_of.off_by("balance"))
    return found


def rights(connection: sqlite3.Connection, *, may_pay: bool, may_query: bool) -> Records:
    """DCLISACC: the user's accounts and what it may do with them."""
    rows = connection.execute("SELECT * FROM accounts WHERE owner = 'company' ORDER BY account")
    return [
        {
            "accNbr": row["account"],
            "ccyNbr": CURRENCY_CODES[row["currency"]],
            "accNam": row["name"],
            "payFlg": "Y" if may_pay else "N",
            "qryFlg": "Y" if may_query else "N",
        }
        for row in rows
    ]


def statement(connection: sqlite3.Connection, asked_of: Asked) -> dict[str, Records]:
    """trsQryByBreakPoint: one page of an account's day with its totals, the day's balances and the next cursor."""
    asked = records(asked_of.body, "trsqryx1", 1)[0]
    day, today = parse_date("trxDat", asked.get("trxDat")), china_date(asked_of.now_ms)
    if not months_before(today, STATEMENT_MONTHS) <= day <= today:
        raise MessageRefused("NTF0006", "trxDat must lie within the last 13 months 查询日期超限")
    account = _company_account(connection, text(asked, "accNbr"))
    after = _read_cursor(asked_of.body.get("trsqryy1"), account["account"], day)
    opening = _balance_at_end(connection, account, day - dt.timedelta(days=1))
    listed = _listed(connection, asked_of, account["account"], day, opening, after)
    page = listed[:PAGE_SIZE]
    last = page[-1].serial if page else after
    more = "Y" if len(listed) > PAGE_SIZE else "N"
    if asked_of.faults.get("misorder_pages", {}).get("how") == "within":
        page.reverse()
    return {
        "trsqryz1": _entries(page, account["currency"], asked_of.off_by("entry")),
        "trsqryz2": [_page_totals(page)],
        "trsqryz3": [
            {
                "opnBal": Amount(opening + asked_of.off_by("opening")),
                "clsBal": Amount(_balance_at_end(connection, account, day) + asked_of.off_by("closing")),
                "dayEnd": "Y" if day < today else "N",
            }
        ],
        "trsqryy1": [_cursor(account["account"], day, last, more)],
    }


def _listed(
    connection: sqlite3.Connection, asked_of: Asked, account: str, day: dt.date, opening: int, after: int
) -> list[Shown]:
    """What follows the cursor: one entry more than a page when there is more."""
    backwards = asked_of.faults.get("misorder_pages", {}).get("how") == "across"
    hidden_from = asked_of.hidden_from_ms
    if not backwards and hidden_from is None and not is_rewritten(connection):
        return booked(connection, account, day.isoformat(), after, PAGE_SIZE + 1)
    closed = day < china_date(asked_of.now_ms)
    entries = rewritten(connection, account, day.isoformat(), opening, closed=closed)
    if hidden_from is not None:
        entries = [one for one in entries if one.booked_at < hidden_from]
    if backwards:
        entries.reverse()
    place = next((n for n, one in enumerate(entries, 1) if one.serial == after), 0)
    return entries[place : place + PAGE_SIZE + 1]


def _company_account(connection: sqlite3.Connection, account: str) -> sqlite3.Row:
    row = connection.execute("SELECT * FROM accounts WHERE account = ? AND owner = 'company'", (account,)).fetchone()
    if row is None:
        raise MessageRefused("NTF0003", "account unknown or not yours 账户不存在或无权限")
    return row  # type: ignore[no-any-return]


def _balance(connection: sqlite3.Connection, account: str, now_ms: int) -> dict[str, Any]:
    today = china_date(now_ms)
    try:
        row = _company_account(connection, account)
    except MessageRefused as refused:
        empty = dict.fromkeys(("ccyNbr", "onlBal", "avlBal", "frezBalnace", "preBal", "balDat"), "")
        return {"accNbr": account, **empty, "errCod": refused.code, "errTxt": refused.text}
    frozen = connection.execute(
        "SELECT coalesce(sum(amount), 0) FROM payments WHERE debtor_account = ? AND status <> 'FIN' AND debit_serial IS NULL",
        (account,),
    ).fetchone()[0]
    return {
        "accNbr": account,
        "ccyNbr": CURRENCY_CODES[row["currency"]],
        "onlBal": Amount(row["booked"]),
        "avlBal": Amount(row["booked"] - frozen),
        "frezBalnace": Amount(frozen),
        "preBal": Amount(_balance_at_end(connection, row, today - dt.timedelta(days=1))),
        "balDat": format_date(today.isoformat()),
        "errCod": "SUC0000",
        "errTxt": "",
    }


def _balance_at_end(connection: sqlite3.Connection, account: sqlite3.Row, day: dt.date) -> int:
    row = connection.execute(
        """SELECT balance_after FROM entries WHERE account = ? AND booking_date <= ?
        ORDER BY booking_date DESC, serial DESC LIMIT 1""",
        (account["account"], day.isoformat()),
    ).fetchone()
    return int(account["opening"] if row is None else row[0])


def _entries(page: list[Shown], currency: str, off_by: int) -> Records:
    written = [entry_record(one, currency) for one in page]
    if written:
        written[-1]["acctBal"] = Amount(written[-1]["acctBal"] + off_by)
    return written


def entry_record(entry: Shown, currency: str) -> dict[str, Any]:
    """One entry as the statement and the notice show it."""
    return {
        "trxSeq": format_serial(entry.serial),
        "trxDat": format_date(entry.booking_date),
        "valDat": format_date(entry.booking_date),
        "trxTim": china_time(entry.booked_at).strftime("%H%M%S"),
        "trxDir": "D" if entry.amount < 0 else "C",
        "trsAmt": Amount(entry.amount),
        "ccyNbr": CURRENCY_CODES[currency],
        "acctBal": Amount(entry.balance_after),
        "yurRef": entry.reference,
        "reqNbr": "" if entry.request_number is None else format_request_number(entry.request_number),
        "rvsFlg": entry.reversal,
        "oppsiteName": entry.counterparty_name,
        "oppAcc": entry.counterparty_account,
        "trxTxt": entry.text,
        "trxCod": entry.kind,
        "orgSeq": format_serial(entry.original_serial),
    }


def _page_totals(page: list[Shown]) -> dict[str, Any]:
    debits = [-one.amount for one in page if one.amount < 0]
    credits = [one.amount for one in page if one.amount > 0]
    return {
        "debNum": str(len(debits)),
        "debAmt": Amount(sum(debits)),
        "crdNum": str(len(credits)),
        "crdAmt": Amount(sum(credits)),
    }


def _cursor(account: str, day: dt.date, last: int, more: str) -> dict[str, Any]:
    fields = {"ctnFlag": more, "accNbr": account, "trxDat": format_date(day.isoformat()), "curSeq": format_serial(last)}
    return {**fields, "curChk": f"{zlib.crc32('|'.join(fields.values()).encode()):08x}"}


def _read_cursor(member: Any, account: str, day: dt.date) -> int:
    """The last serial already shown; a cursor that was changed, or belongs to another day, is refused."""
    if not member:
        return 0
    cursor = member[0] if isinstance(member, list) and isinstance(member[0], dict) else {}
    last = cursor.get("curSeq")
    if (
        isinstance(last, str)
        and last.isdecimal()
        and cursor == _cursor(account, day, int(last), cursor.get("ctnFlag", ""))
    ):
        return int(last)
    raise MessageRefused("NTF0007", "trsqryy1 was changed or belongs to another question 断点信息错误")
