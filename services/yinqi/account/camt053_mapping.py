"""From a parsed camt.053 file to statements and entries as the service keeps them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from yinqi.account.camt053 import Camt053Entry, Camt053Header, Camt053Statement
from yinqi.account.statement import IMPORTED, Flaw, Indicator, Statement, StatementEntry
from yinqi.kernel.errors import InvalidRequest

_BOOKED = "BOOK"  # only booked entries count for the balances
_DERIVED_LENGTH = 20


def statement_with_entries(parsed: Camt053Statement) -> tuple[Statement, list[StatementEntry]]:
    """Return a statement, proved by the parser, and its booked entries in the file's order.

    Raises:
        InvalidRequest: a date is impossible, or the statement names no day at all.
    """
    header = parsed.header
    last_day = _last_day(header)
    entries = _apart([_entry(entry, header, last_day) for entry in parsed.entries if entry.status == _BOOKED])
    days = [entry.booking_date for entry in entries]
    statement = Statement(
        account=header.account,
        source=IMPORTED,
        statement_id=_statement_id(header),
        from_date=_day(header.from_date) or min(days, default=last_day),
        to_date=last_day,
        currency=header.currency,
        opening=header.opening.amount if header.opening else None,
        closing=header.closing.amount if header.closing else None,
        entry_count=len(entries),
        net_minor_units=sum(entry.signed_minor_units for entry in entries),
        is_final=True,
        flaw=Flaw.NONE,
    )
    return statement, entries


def _statement_id(header: Camt053Header) -> str:
    """A statement in several pages comes as several statements with one id."""
    return header.statement_id if header.page_number == "1" else f"{header.statement_id}/{header.page_number}"


def _last_day(header: Camt053Header) -> date:
    day = _day(header.closing.date if header.closing else "") or _day(header.to_date)
    if day is None:
        raise InvalidRequest(
            "FIELD_MISSING",
            f"statement {header.statement_id} names no day: neither Bal/Dt of its closing balance nor FrToDt is there",
            f"对账单 {header.statement_id} 没有日期（期末余额日期与起止日期均缺失）",
            metadata={"field": "Bal/Dt"},
        )
    return day


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidRequest("FIELD_INVALID", f"{text[:20]!r} is not a date", f"{text[:20]!r} 不是日期") from None


def _entry(entry: Camt053Entry, header: Camt053Header, last_day: date) -> StatementEntry:
    return StatementEntry(
        account=header.account,
        account_servicer_reference=entry.account_servicer_reference or _derived_reference(entry),
        amount=entry.amount,
        indicator=Indicator(entry.credit_debit_indicator),
        booking_date=_day(entry.booking_date) or last_day,
        source=IMPORTED,
        value_date=_day(entry.value_date),
        instruction_id=entry.instruction_id,
        end_to_end_id=entry.end_to_end_id,
        is_reversal=entry.is_reversal,
        counterparty_name=entry.counterparty_name,
        counterparty_account=entry.counterparty_account,
        remittance_information=entry.remittance_information,
    )


def _derived_reference(entry: Camt053Entry) -> str:
    """AcctSvcrRef is optional in the standard; the same line of the same file must still be known again."""
    content = repr(replace(entry, details=())) + repr(entry.details)
    return "~" + hashlib.sha256(content.encode()).hexdigest()[:_DERIVED_LENGTH]


def _apart(entries: Sequence[StatementEntry]) -> list[StatementEntry]:
    """Number repeated serials in the file's order: some banks give a payment and its fee one serial."""
    seen: Counter[tuple[date, str]] = Counter()
    result = []
    for entry in entries:
        seen[entry.key] += 1
        count = seen[entry.key]
        reference = entry.account_servicer_reference
        result.append(entry if count == 1 else replace(entry, account_servicer_reference=f"{reference}#{count}"))
    return result
