"""The bank's functions by name: body in, body out (contract §5)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from yinqi.sandbox_bank import account_queries, payment_queries
from yinqi.sandbox_bank.asked import Asked
from yinqi.sandbox_bank.errors import MessageRefused
from yinqi.sandbox_bank.faults import Line
from yinqi.sandbox_bank.fields import format_request_number, is_encodable
from yinqi.sandbox_bank.looseness import Records
from yinqi.sandbox_bank.receipts import receipts
from yinqi.sandbox_bank.receiving import LineAnswer
from yinqi.sandbox_bank.submission import Submission

SUBMITS = ("BB1PAYOP", "BB1PAYBH")
RECEIPTS = "dcsigrecz1"

Body = dict[str, Records]


def submit_answer(submission: Submission, answers: list[LineAnswer]) -> Body:
    """The body of a submit's answer: every line for BB1PAYOP, only the refused ones for BB1PAYBH."""
    if submission.function == "BB1PAYOP":
        return {"bb1payopz1": [_single(answer) for answer in answers]}
    recorded = sum(answer.request_number is not None for answer in answers)
    batch = {"batNbr": submission.batch_number, "batSts": "OPR", "dtlNum": str(recorded)}
    refused = [
        {"yurRef": answer.reference, "errCod": answer.error_code, "errTxt": answer.error_text}
        for answer in answers
        if answer.error_code != "SUC0000"
    ]
    return {"bb1paybhz1": [{**batch, "errCod": "SUC0000", "errTxt": ""}], "bb1paybhz2": refused}


def _single(answer: LineAnswer) -> dict[str, Any]:
    number = "" if answer.request_number is None else format_request_number(answer.request_number)
    return {
        "yurRef": answer.reference,
        "reqNbr": number,
        "reqSts": answer.status,
        "rtnFlg": answer.return_flag,
        "errCod": answer.error_code,
        "errTxt": answer.error_text,
    }


def _by_reference(book: sqlite3.Connection, asked: Asked) -> Body:
    found = payment_queries.by_reference(book, asked)
    return {"bb1payqrz1": found if asked.may_query else []}


def _by_batch(book: sqlite3.Connection, asked: Asked) -> Body:
    found, more = payment_queries.by_batch(book, asked)
    if not asked.may_query:
        found, more = [], {"ctnFlg": "N", "ctnKey": ""}
    return {"bb1qrybdz1": found, "bb1qrybdy1": [more]}


def _returned(name: str) -> Callable[[sqlite3.Connection, Asked], Body]:
    def answer(book: sqlite3.Connection, asked: Asked) -> Body:
        found, more = payment_queries.returned(book, asked, f"{name}x1")
        if not asked.may_query:
            found, more = [], {"ctnFlg": "N", "ctnKey": ""}
        return {f"{name}z1": found, f"{name}y1": [more]}

    return answer


def _balances_each(book: sqlite3.Connection, asked: Asked) -> Body:
    return {"ntqadinfz1": account_queries.balances(book, asked, "ntqadinfx1")}


def _balances_all(book: sqlite3.Connection, asked: Asked) -> Body:
    found = account_queries.balances(book, asked, "ntqacinfx1")
    for record in found:
        if record["errCod"] != "SUC0000":
            raise MessageRefused(record["errCod"], record["errTxt"])
    return {"ntqacinfz1": found}


def _statement(book: sqlite3.Connection, asked: Asked) -> Body:
    return account_queries.statement(book, asked)


def _rights(book: sqlite3.Connection, asked: Asked) -> Body:
    found = account_queries.rights(book, may_pay=asked.may_pay, may_query=asked.may_query)
    return {"dclisaccz1": found}


def _receipts(book: sqlite3.Connection, asked: Asked) -> Body:
    found = receipts(book, asked)
    return {RECEIPTS: found if asked.may_query else []}


QUERIES: Mapping[str, Callable[[sqlite3.Connection, Asked], Body]] = {
    "BB1PAYQR": _by_reference,
    "BB1QRYBD": _by_batch,
    "BB1QRYOB": _returned("bb1qryob"),
    "BB1PAYQB": _returned("bb1payqb"),
    "NTQADINF": _balances_each,
    "NTQACINF": _balances_all,
    "trsQryByBreakPoint": _statement,
    "DCLISACC": _rights,
    "DCSIGREC": _receipts,
}

# Where a query names what a fault rule can select it by: member, field, and what that is of a `Line`.
_SUBJECTS = (
    ("bb1payqrx2", "yurRef", "reference"),
    ("bb1qrybdx1", "batNbr", "batch_number"),
    ("dcsigrecx1", "yurref", "reference"),
    ("bb1qryobx1", "accNbr", "debtor_account"),
    ("bb1payqbx1", "accNbr", "debtor_account"),
    ("ntqadinfx1", "accNbr", "debtor_account"),
    ("ntqacinfx1", "accNbr", "debtor_account"),
    ("trsqryx1", "accNbr", "debtor_account"),
)


def visible_subjects(function: str, body: Mapping[str, Any]) -> list[Line]:
    """What fault rules may look at in a query: the references, batch or accounts it asks about."""
    found = []
    for member, label, column in _SUBJECTS:
        asked = body.get(member)
        for number, record in enumerate(asked if isinstance(asked, list) else [], 1):
            value = record.get(label) if isinstance(record, dict) else None
            if isinstance(value, str) and is_encodable(value):
                found.append(Line(function, number, **{column: value}))
    return found
