"""The bank's functions by name: body in, body out (contract §5)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from yinqi.sandbox_bank import account_queries, payment_queries
from yinqi.sandbox_bank.clock import china_date
from yinqi.sandbox_bank.errors import MessageRefused
from yinqi.sandbox_bank.fields import format_request_number
from yinqi.sandbox_bank.looseness import Records
from yinqi.sandbox_bank.receiving import LineAnswer
from yinqi.sandbox_bank.submission import Submission

SUBMITS = ("BB1PAYOP", "BB1PAYBH")

Body = dict[str, Records]


@dataclass(frozen=True, slots=True)
class Question:
    """A query and everything its answer depends on besides the book."""

    user_id: str
    body: Mapping[str, Any]
    now_ms: int
    may_pay: bool
    may_query: bool


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


def _by_reference(book: sqlite3.Connection, question: Question) -> Body:
    found = payment_queries.by_reference(book, question.user_id, question.body)
    return {"bb1payqrz1": found if question.may_query else []}


def _by_batch(book: sqlite3.Connection, question: Question) -> Body:
    found, more = payment_queries.by_batch(book, question.user_id, question.body)
    if not question.may_query:
        found, more = [], {"ctnFlg": "N", "ctnKey": ""}
    return {"bb1qrybdz1": found, "bb1qrybdy1": [more]}


def _returned(name: str) -> Callable[[sqlite3.Connection, Question], Body]:
    def answer(book: sqlite3.Connection, question: Question) -> Body:
        today = china_date(question.now_ms)
        found, more = payment_queries.returned(book, question.user_id, question.body, today, f"{name}x1")
        if not question.may_query:
            found, more = [], {"ctnFlg": "N", "ctnKey": ""}
        return {f"{name}z1": found, f"{name}y1": [more]}

    return answer


def _balances_each(book: sqlite3.Connection, question: Question) -> Body:
    return {"ntqadinfz1": account_queries.balances(book, question.body, question.now_ms, "ntqadinfx1")}


def _balances_all(book: sqlite3.Connection, question: Question) -> Body:
    found = account_queries.balances(book, question.body, question.now_ms, "ntqacinfx1")
    for record in found:
        if record["errCod"] != "SUC0000":
            raise MessageRefused(record["errCod"], record["errTxt"])
    return {"ntqacinfz1": found}


def _statement(book: sqlite3.Connection, question: Question) -> Body:
    return account_queries.statement(book, question.body, question.now_ms)


def _rights(book: sqlite3.Connection, question: Question) -> Body:
    found = account_queries.rights(book, may_pay=question.may_pay, may_query=question.may_query)
    return {"dclisaccz1": found}


QUERIES: Mapping[str, Callable[[sqlite3.Connection, Question], Body]] = {
    "BB1PAYQR": _by_reference,
    "BB1QRYBD": _by_batch,
    "BB1QRYOB": _returned("bb1qryob"),
    "BB1PAYQB": _returned("bb1payqb"),
    "NTQADINF": _balances_each,
    "NTQACINF": _balances_all,
    "trsQryByBreakPoint": _statement,
    "DCLISACC": _rights,
}
