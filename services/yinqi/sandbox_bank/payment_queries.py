"""Answers about payments: by reference, by batch, returned ones (contract §5)."""

from __future__ import annotations

import base64
import datetime as dt
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from yinqi.sandbox_bank.asked import Asked
from yinqi.sandbox_bank.clock import china_date
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
from yinqi.sandbox_bank.submission import records, reference, text

PAGE_SIZE = 200
REFERENCES_MAX = 500
QUERY_DAYS_MAX = 100
RETURN_DAYS_MAX = 7

Page = tuple[Records, dict[str, Any]]


_NEVER = 2**62  # Later than every business time: nothing is hidden.


def by_reference(connection: sqlite3.Connection, asked_of: Asked) -> Records:
    """BB1PAYQR: all records of the asked references received in the date range."""
    body = asked_of.body
    begin, end = _range(records(body, "bb1payqrx1", 1)[0], QUERY_DAYS_MAX)
    references = [reference(record, "yurRef") for record in records(body, "bb1payqrx2", REFERENCES_MAX)]
    rows = connection.execute(
        """SELECT * FROM payments WHERE user_id = ? AND reference IN (SELECT value FROM json_each(?))
        AND received_on BETWEEN ? AND ? AND received_at < ? ORDER BY request_number DESC""",
        (asked_of.user_id, json.dumps(references), begin.isoformat(), end.isoformat(), _hidden_from(asked_of)),
    )
    return [payment_record(row) for row in rows]


def by_batch(connection: sqlite3.Connection, asked_of: Asked) -> Page:
    """BB1QRYBD: one page of a batch, oldest line first."""
    asked = records(asked_of.body, "bb1qrybdx1", 1)[0]
    batch_number = reference(asked, "batNbr")
    after = read_page_key(text(asked, "ctnKey"), f"BB1QRYBD/{batch_number}")
    rows = connection.execute(
        """SELECT * FROM payments WHERE user_id = ? AND batch_number = ? AND request_number > ?
        AND received_at < ? ORDER BY request_number LIMIT ?""",
        (asked_of.user_id, batch_number, after, _hidden_from(asked_of), PAGE_SIZE + 1),
    ).fetchall()
    page = rows[:PAGE_SIZE]
    last = page[-1]["request_number"] if page else after
    return [payment_record(row) for row in page], _more(rows, f"BB1QRYBD/{batch_number}", last)


def returned(connection: sqlite3.Connection, asked_of: Asked, member: str) -> Page:
    """BB1QRYOB and BB1PAYQB: one page of returned payments by return date, in order of the return booking."""
    asked = records(asked_of.body, member, 1)[0]
    begin, end = _range(asked, RETURN_DAYS_MAX - 1)
    if begin < months_before(china_date(asked_of.now_ms), 2):
        raise MessageRefused("NTF0006", "begDat is more than two months back 起始日期超过两个月")
    account = text(asked, "accNbr")
    by_account = member == "bb1payqbx1"
    if by_account and not account:
        raise MessageRefused("NTF0001", "accNbr is needed 缺少accNbr")
    scope = f"{member}/{account}/{begin}/{end}"
    after = read_page_key(text(asked, "ctnKey"), scope)
    rows = connection.execute(
        """SELECT * FROM payments WHERE user_id = ? AND returned_on BETWEEN ? AND ? AND return_serial > ?
        AND (? = '' OR debtor_account = ?) AND NOT (? AND channel = 'R') AND received_at < ?
        ORDER BY return_serial LIMIT ?""",
        (
            asked_of.user_id,
            begin.isoformat(),
            end.isoformat(),
            after,
            account,
            account,
            by_account,
            _hidden_from(asked_of),
            PAGE_SIZE + 1,
        ),
    ).fetchall()
    page = rows[:PAGE_SIZE]
    last = page[-1]["return_serial"] if page else after
    return [_return_record(row) for row in page], _more(rows, scope, last)


def _hidden_from(asked_of: Asked) -> int:
    hidden_from = asked_of.hidden_from_ms
    return _NEVER if hidden_from is None else hidden_from


def payment_record(row: sqlite3.Row) -> dict[str, Any]:
    """One payment as BB1PAYQR and BB1QRYBD show it."""
    return {
        "yurRef": row["reference"],
        "reqNbr": format_request_number(row["request_number"]),
        "batNbr": row["batch_number"],
        "dbtAcc": row["debtor_account"],
        "ccyNbr": CURRENCY_CODES.get(row["currency"], ""),
        # A line refused for its amount has none in the book; show what came.
        "trsAmt": Amount(row["amount"]) if row["amount"] else row["amount_text"],
        "crtAcc": row["creditor_account"],
        "crtNam": row["creditor_name"],
        "reqSts": row["status"],
        "rtnFlg": row["return_flag"],
        "errCod": row["error_code"],
        "errTxt": row["error_text"],
        "opeDat": format_date(row["received_on"]),
        "trxDat": format_date(row["debited_on"]),
        "trxSeq": format_serial(row["debit_serial"]),
        "bckDat": format_date(row["returned_on"]),
        "trxSeqBackward": format_serial(row["return_serial"]),
    }


def read_page_key(key: str, scope: str) -> int:
    """The position in a page key of ours for the same question; 0 for the first page."""
    if not key:
        return 0
    try:
        position, issued_for = base64.b64decode(key, validate=True).decode().split("|", 1)
        if issued_for == scope:
            return int(position)
    except ValueError:
        pass
    raise MessageRefused("NTF0007", "ctnKey is not ours or belongs to another question 续传键值错误")


def _more(rows: list[sqlite3.Row], scope: str, last: int) -> dict[str, Any]:
    key = base64.b64encode(f"{last}|{scope}".encode()).decode()
    return {"ctnFlg": "Y", "ctnKey": key} if len(rows) > PAGE_SIZE else {"ctnFlg": "N", "ctnKey": ""}


def _range(asked: Mapping[str, Any], days_max: int) -> tuple[dt.date, dt.date]:
    begin, end = parse_date("begDat", asked.get("begDat")), parse_date("endDat", asked.get("endDat"))
    if not 0 <= (end - begin).days <= days_max:
        raise MessageRefused("NTF0006", f"endDat must be 0-{days_max} days after begDat 日期区间超限")
    return begin, end


def _return_record(row: sqlite3.Row) -> dict[str, Any]:
    payment = payment_record(row)
    shown = ("yurRef", "reqNbr", "dbtAcc", "ccyNbr", "trsAmt", "crtAcc", "crtNam", "trxDat", "trxSeq", "bckDat")
    return {
        **{name: payment[name] for name in shown},
        "trxSeqBackward": payment["trxSeqBackward"],
        "bckCod": row["return_code"],
        "bckTxt": row["return_text"],
    }
