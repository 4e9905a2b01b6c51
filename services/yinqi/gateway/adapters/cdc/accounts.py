"""NTQADINF and trsQryByBreakPoint: balances and statement entries. Source: the contract's §5."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from yinqi.gateway.adapters.cdc.envelope import Number, canonical
from yinqi.gateway.adapters.cdc.fields import Record, format_date, malformed, records, single
from yinqi.gateway.adapters.cdc.queries import refuse_failure
from yinqi.gateway.model import BankAccount, BankBalance, Entry, EntryPage
from yinqi.gateway.ports import Answer
from yinqi.kernel.errors import InvalidRequest
from yinqi.kernel.money import Money

BALANCES, ENTRIES = "NTQADINF", "trsQryByBreakPoint"
_CURSOR_MAX = 4_000
_REVERSALS = ("*", "X")


def balance_body(accounts: Sequence[BankAccount]) -> dict[str, Any]:
    """Return the body of NTQADINF (one bad account does not void the others there)."""
    return {"ntqadinfx1": [{"accNbr": account.identification} for account in accounts]}


def entry_body(account: BankAccount, day: date, cursor: str) -> dict[str, Any]:
    """Return the body of trsQryByBreakPoint; the bank's own cursor is echoed unchanged.

    Raises:
        InvalidRequest: CURSOR_INVALID; it is not one of ours, or of another day or account.
    """
    body: dict[str, Any] = {"trsqryx1": [{"accNbr": account.identification, "trxDat": format_date(day)}]}
    if cursor:
        body["trsqryy1"] = [_read_cursor(cursor, account, day)]
    return body


def read_balances(
    answer: Answer, accounts: Sequence[BankAccount], currencies: Mapping[str, str], as_of: datetime
) -> list[BankBalance]:
    """Return one balance per account, in order."""
    refuse_failure(answer)
    by_account = {record.text("accNbr"): record for record in records(answer.body, "ntqadinfz1")}
    if not by_account.keys() >= {account.identification for account in accounts}:
        raise malformed("ntqadinfz1")
    return [_balance(by_account[account.identification], account, currencies, as_of) for account in accounts]


def read_entries(answer: Answer, account: BankAccount, day: date) -> EntryPage:
    """Return one page of entries, its totals checked."""
    refuse_failure(answer)
    entries = [_entry(record, account) for record in records(answer.body, "trsqryz1")]
    if any(entry.booking_date != day for entry in entries):
        raise malformed("trsqryz1.trxDat")
    _check_totals(single(answer.body, "trsqryz2"), entries, account.currency)
    of_day = single(answer.body, "trsqryz3")
    members = answer.body.get("trsqryy1")
    if not isinstance(members, list) or len(members) != 1 or not isinstance(members[0], dict):
        raise malformed("trsqryy1")
    return EntryPage(
        entries=entries,
        next_cursor=_write_cursor(members[0], account, day),
        has_more=single(answer.body, "trsqryy1").required("ctnFlag") == "Y",
        opening_balance=of_day.amount("opnBal", account.currency),
        closing_balance=of_day.amount("clsBal", account.currency),
        is_final=of_day.text("dayEnd") == "Y",
    )


def cursor_day(cursor: str) -> date:
    """Return the day a cursor belongs to.

    Raises:
        InvalidRequest: CURSOR_INVALID.
    """
    try:
        return date.fromisoformat(_decode(cursor)["day"])
    except (KeyError, TypeError, ValueError):
        raise _cursor_invalid() from None


def _balance(record: Record, account: BankAccount, currencies: Mapping[str, str], as_of: datetime) -> BankBalance:
    if not record.is_successful():
        return BankBalance(
            account.identification, as_of=as_of, error_code=record.text("errCod"), error_text=record.text("errTxt")
        )
    currency = record.currency("ccyNbr", currencies)
    if currency != account.currency:
        raise malformed("ntqadinfz1.ccyNbr")
    return BankBalance(
        account=account.identification,
        booked=record.amount("onlBal", currency),
        available=record.amount("avlBal", currency),
        frozen=record.amount("frezBalnace", currency),  # spelt so on the wire
        previous_day=record.amount("preBal", currency),
        bank_date=record.day("balDat"),
        as_of=as_of,
    )


def _entry(record: Record, account: BankAccount) -> Entry:
    currency = account.currency
    signed = record.amount("trsAmt", currency)
    direction, reversal = record.required("trxDir"), record.text("rvsFlg") in _REVERSALS
    if direction not in ("C", "D") or (not reversal and (signed.minor_units > 0) != (direction == "C")):
        raise malformed("trsqryz1.trxDir")
    booking_date = record.day("trxDat")
    if booking_date is None:
        raise malformed("trsqryz1.trxDat")
    return Entry(
        account=account.identification,
        account_servicer_reference=record.required("trxSeq"),
        instruction_id=record.text("yurRef"),
        amount=Money(currency, abs(signed.minor_units)),
        is_credit=direction == "C",
        is_reversal=reversal,
        booking_date=booking_date,
        value_date=record.day("valDat") or booking_date,
        counterparty_name=record.text("oppsiteName"),  # spelt so on the wire
        counterparty_account=record.text("oppAcc"),
        remittance_information=record.text("trxTxt"),
        balance_after=record.amount("acctBal", currency),
        source="cdc",
    )


def _check_totals(totals: Record, entries: Sequence[Entry], currency: str) -> None:
    """The totals are of this page only; they show whether lines were lost on the way."""
    for is_credit, count, amount in ((False, "debNum", "debAmt"), (True, "crdNum", "crdAmt")):
        side = [entry.amount.minor_units for entry in entries if entry.is_credit is is_credit]
        if totals.count(count) != len(side) or abs(totals.amount(amount, currency).minor_units) != sum(side):
            raise malformed(f"trsqryz2.{count}")


def _write_cursor(members: Mapping[str, Any], account: BankAccount, day: date) -> str:
    plain = canonical({"account": account.identification, "day": day.isoformat(), "bank": _as_written(members)})
    return base64.urlsafe_b64encode(plain).decode("ascii")


def _as_written(value: Any) -> Any:
    """Return the value with numbers as integers again, so that the echo is what the bank wrote."""
    if isinstance(value, Number):
        if not value.removeprefix("-").isdigit():
            raise malformed("trsqryy1")
        return int(value)
    if isinstance(value, dict):
        return {key: _as_written(item) for key, item in value.items()}
    return [_as_written(item) for item in value] if isinstance(value, list) else value


def _read_cursor(cursor: str, account: BankAccount, day: date) -> dict[str, Any]:
    members = _decode(cursor)
    bank = members.get("bank")
    if members.get("account") != account.identification or members.get("day") != day.isoformat():
        raise _cursor_invalid()
    if not isinstance(bank, dict):
        raise _cursor_invalid()
    return bank


def _decode(cursor: str) -> dict[str, Any]:
    try:
        members = json.loads(base64.b64decode(cursor[:_CURSOR_MAX], altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise _cursor_invalid() from None
    if not isinstance(members, dict):
        raise _cursor_invalid()
    return members


def _cursor_invalid() -> InvalidRequest:
    return InvalidRequest(
        "CURSOR_INVALID",
        "cursor: give back next_cursor unchanged, for the same account and date; or begin again without one.",
        "游标无效：请原样回传，或不带游标重新开始。",
    )
