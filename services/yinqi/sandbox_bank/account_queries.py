"""Answers about accounts: balances, rights, statement lines of a day (contract §5)."""

from __future__ import annotations

import datetime as dt
import sqlite3
import zlib
from collections.abc import Mapping
from typing import Any

from yinqi.sandbox_bank.clock import china_date, china_time
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


def balances(connection: sqlite3.Connection, body: Mapping[str, Any], now_ms: int, member: str) -> Records:
    """NTQADINF and NTQACINF: balances in the order asked; an account not ours carries its own error."""
    asked = [text(record, "accNbr") for record in records(body, member, ACCOUNTS_MAX)]
    return [_balance(connection, account, now_ms) for account in asked]


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


def statement(connection: sqlite3.Connection, body: Mapping[str, Any], now_ms: int) -> dict[str, Records]:
    """trsQryByBreakPoint: one page of an account's day with its totals, the day's balances and the next cursor."""
    asked = records(body, "trsqryx1", 1)[0]
    day, today = parse_date("trxDat", asked.get("trxDat")), china_date(now_ms)
    if not months_before(today, STATEMENT_MONTHS) <= day <= today:
        raise MessageRefused("NTF0006", "trxDat must lie within the last 13 months 查询日期超限")
    account = _company_account(connection, text(asked, "accNbr"))
    after = _read_cursor(body.get("trsqryy1"), account["account"], day)
    rows = connection.execute(
        "SELECT * FROM entries WHERE account = ? AND booking_date = ? AND serial > ? ORDER BY serial LIMIT ?",
        (account["account"], day.isoformat(), after, PAGE_SIZE + 1),
    ).fetchall()
    page = rows[:PAGE_SIZE]
    last = page[-1]["serial"] if page else after
    more = "Y" if len(rows) > PAGE_SIZE else "N"
    return {
        "trsqryz1": [_entry(row, account["currency"]) for row in page],
        "trsqryz2": [_page_totals(page)],
        "trsqryz3": [
            {
                "opnBal": Amount(_balance_at_end(connection, account, day - dt.timedelta(days=1))),
                "clsBal": Amount(_balance_at_end(connection, account, day)),
                "dayEnd": "Y" if day < today else "N",
            }
        ],
        "trsqryy1": [_cursor(account["account"], day, last, more)],
    }


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


def _entry(row: sqlite3.Row, currency: str) -> dict[str, Any]:
    return {
        "trxSeq": format_serial(row["serial"]),
        "trxDat": format_date(row["booking_date"]),
        "valDat": format_date(row["booking_date"]),
        "trxTim": china_time(row["booked_at"]).strftime("%H%M%S"),
        "trxDir": "D" if row["amount"] < 0 else "C",
        "trsAmt": Amount(row["amount"]),
        "ccyNbr": CURRENCY_CODES[currency],
        "acctBal": Amount(row["balance_after"]),
        "yurRef": row["reference"],
        "reqNbr": "" if row["request_number"] is None else format_request_number(row["request_number"]),
        "rvsFlg": row["reversal"],
        "oppsiteName": row["counterparty_name"],
        "oppAcc": row["counterparty_account"],
        "trxTxt": row["text"],
        "trxCod": row["kind"],
        "orgSeq": format_serial(row["original_serial"]),
    }


def _page_totals(page: list[sqlite3.Row]) -> dict[str, Any]:
    debits = [-row["amount"] for row in page if row["amount"] < 0]
    credits = [row["amount"] for row in page if row["amount"] > 0]
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
