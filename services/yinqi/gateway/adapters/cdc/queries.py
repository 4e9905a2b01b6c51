"""BB1PAYQR, BB1QRYOB and DCLISACC: what became of payments. Source: the contract's §4, §5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from yinqi.gateway.adapters.cdc.fields import SUCCESS, Record, format_date, malformed, records, single
from yinqi.gateway.adapters.cdc.submissions import reason_of
from yinqi.gateway.model import BankAccount, PaymentRecord
from yinqi.gateway.ports import Answer, AnswerUnusable, BankRefused
from yinqi.gateway.profile import Profile
from yinqi.gateway.status import BankStatus
from yinqi.kernel.money import Money

STATUS, RETURNS, RIGHTS = "BB1PAYQR", "BB1QRYOB", "DCLISACC"


def query_body(instruction_ids: Sequence[str], first: date, last: date) -> dict[str, Any]:
    """Return the body of BB1PAYQR."""
    return {
        "bb1payqrx1": [{"begDat": format_date(first), "endDat": format_date(last)}],
        "bb1payqrx2": [{"yurRef": instruction_id} for instruction_id in instruction_ids],
    }


def return_body(account: BankAccount | None, first: date, last: date, page_key: str) -> dict[str, Any]:
    """Return the body of BB1QRYOB; without an account the bank answers for all that the user may query."""
    asked = {"begDat": format_date(first), "endDat": format_date(last), "ctnKey": page_key}
    return {"bb1qryobx1": [asked if account is None else {**asked, "accNbr": account.identification}]}


def read_query(answer: Answer, profile: Profile, currencies: Mapping[str, str]) -> list[PaymentRecord]:
    """Return all records. One that cannot be read is UNKNOWN; one without a reference spoils the answer."""
    refuse_failure(answer)
    if "bb1payqrz1" not in answer.body:
        raise malformed("bb1payqrz1")  # absence of the whole list is not absence of a payment
    return read_records(answer.body, "bb1payqrz1", profile, currencies)


def read_records(
    body: Mapping[str, Any], name: str, profile: Profile, currencies: Mapping[str, str]
) -> list[PaymentRecord]:
    """Return the payment records of an array, from an answer or a notice."""
    return [_record(record, profile, currencies) for record in records(body, name)]


def read_returns(answer: Answer, profile: Profile, currencies: Mapping[str, str]) -> tuple[list[PaymentRecord], str]:
    """Return one page of returned payments and the key of the next page, "" at the end."""
    refuse_failure(answer)
    found = [_returned(record, profile, currencies) for record in records(answer.body, "bb1qryobz1")]
    page = single(answer.body, "bb1qryoby1")
    return found, page.required("ctnKey") if page.text("ctnFlg") == "Y" else ""


def read_permissions(answer: Answer) -> frozenset[str]:
    """Return the accounts whose payments we may query."""
    refuse_failure(answer)
    return frozenset(
        record.required("accNbr") for record in records(answer.body, "dclisaccz1") if record.text("qryFlg") == "Y"
    )


def refuse_failure(answer: Answer) -> None:
    """Raise `BankRefused` for a query that the bank did not answer."""
    if answer.result_code != SUCCESS:
        raise BankRefused(answer.result_code, answer.result_text)


def _record(record: Record, profile: Profile, currencies: Mapping[str, str]) -> PaymentRecord:
    blank = PaymentRecord(record.required("yurRef"), "", "", "", None, BankStatus.UNKNOWN, "RECORD_MALFORMED")
    try:
        return _read(record, profile, currencies, blank)
    except AnswerUnusable:
        return blank


def _read(record: Record, profile: Profile, currencies: Mapping[str, str], blank: PaymentRecord) -> PaymentRecord:
    status, reason = profile.status_map.read(record.text("reqSts"), record.text("rtnFlg"))
    code = "" if record.is_successful() else record.text("errCod")
    if status in (BankStatus.REJECTED, BankStatus.RETURNED):
        reason = reason_of(code, profile)
    is_return = status is BankStatus.RETURNED
    return replace(
        blank,
        record_number=record.required("reqNbr"),
        debtor_account=record.text("dbtAcc"),
        creditor_account=record.text("crtAcc"),
        amount=_amount(record, currencies),
        status=status,
        reason_code=reason,
        proprietary_code=code,
        reason_text=record.text("errTxt"),
        account_servicer_reference=record.text("trxSeq"),
        booking_date=record.day("bckDat" if is_return else "trxDat"),
    )


def _amount(record: Record, currencies: Mapping[str, str]) -> Money:
    return record.amount("trsAmt", record.currency("ccyNbr", currencies))


def _returned(record: Record, profile: Profile, currencies: Mapping[str, str]) -> PaymentRecord:
    code = record.text("bckCod")
    return PaymentRecord(
        instruction_id=record.required("yurRef"),
        record_number=record.text("reqNbr"),
        debtor_account=record.text("dbtAcc"),
        creditor_account=record.text("crtAcc"),
        amount=_amount(record, currencies),
        status=BankStatus.RETURNED,
        reason_code=reason_of(code, profile),
        proprietary_code=code,
        reason_text=record.text("bckTxt"),
        account_servicer_reference=record.text("trxSeq"),
        booking_date=record.day("bckDat"),
    )
