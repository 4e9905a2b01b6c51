"""Protobuf ↔ model. No decisions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.account.booking import PaymentMove
from yinqi.account.model import (
    Account,
    Balance,
    BankBalance,
    EntryFilter,
    ImportedStatement,
    PostingFilter,
    RecordedEntry,
    RecordedPosting,
)
from yinqi.account.statement import Indicator, StatementEntry, StatementPage
from yinqi.api.account.v1 import account_pb2, account_service_pb2
from yinqi.api.common.v1 import money_pb2
from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.kernel.money import Money

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000
ACCOUNTS_MAX = 1_000
_SEQUENCE_MAX = 2**63 - 1
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_STATUS_NAMES = {number: name.removeprefix("PAYMENT_STATUS_") for name, number in payment_pb2.PaymentStatus.items()}
_INDICATORS = {
    account_pb2.CREDIT_DEBIT_INDICATOR_CRDT: Indicator.CREDIT,
    account_pb2.CREDIT_DEBIT_INDICATOR_DBIT: Indicator.DEBIT,
}
_INDICATORS_TO_PROTO = {indicator: number for number, indicator in _INDICATORS.items()}
T = TypeVar("T")

# --- values ---------------------------------------------------------------------------------------------------------


def money_to_proto(money: Money) -> money_pb2.Money:
    return money_pb2.Money(currency=money.currency, minor_units=money.minor_units)


def money_from_proto(message: money_pb2.Money) -> Money:
    return Money(message.currency, message.minor_units)


def optional_money(message: Message, field: str) -> Money | None:
    """Return the money in a field, None if the field is not set."""
    return money_from_proto(getattr(message, field)) if message.HasField(field) else None


def timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def date_from_request(text: str, field: str) -> date | None:
    """Return the date in a request's field, None if it is empty.

    Raises:
        InvalidRequest: names the field.
    """
    try:
        return _date(text)
    except ValueError:
        raise _field_invalid(
            field, "DATE_INVALID", f"{text[:20]!r} is not a date such as 2026-11-22", "日期格式应为 2026-11-22"
        ) from None


def _date(text: str) -> date | None:
    if not text:
        return None
    if not _DATE.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text)


def _field_invalid(field: str, reason: str, description: str, description_zh: str) -> InvalidRequest:
    violation = FieldViolation(field, reason, description, description_zh)
    return InvalidRequest("FIELD_INVALID", f"{field}: {description}", f"{field}：{description_zh}", [violation])


# --- the payment service's events -----------------------------------------------------------------------------------


def move_from_event(event: payment_pb2.PaymentEvent) -> PaymentMove:
    payment = event.payment
    instruction = payment.instruction
    return PaymentMove(
        sequence=event.sequence,
        instruction_id=payment.instruction_id,
        status=_STATUS_NAMES.get(event.to_status, str(event.to_status)),
        account=instruction.debtor_account.identification,
        amount=money_from_proto(instruction.instructed_amount),
        occurred_on=datetime.fromtimestamp(event.occurred_at.seconds, BANK_ZONE).date(),
        settlement_date=_date(payment.settlement_date),
        return_date=_date(payment.return_date),
        traceparent=payment.traceparent,
    )


def moves_from_events(events: Iterable[payment_pb2.PaymentEvent]) -> list[PaymentMove]:
    return [move_from_event(event) for event in events]


# --- the gateway's answers ------------------------------------------------------------------------------------------


def account_from_proto(message: account_pb2.Account) -> Account:
    return Account(message.identification, message.currency, message.name, message.bank_profile)


def bank_balance_from_proto(message: gateway_pb2.BankBalance) -> BankBalance:
    return BankBalance(
        account=message.account,
        booked=optional_money(message, "booked_balance"),
        available=optional_money(message, "available_balance"),
        previous_day=optional_money(message, "previous_day_balance"),
        bank_date=_date(message.bank_date),
        as_of=message.as_of.ToDatetime(UTC) if message.HasField("as_of") else None,
        error_code=message.error_code,
        error_text=message.error_text,
    )


def page_from_proto(message: gateway_pb2.EntryPage, account: str, day: date, source: str) -> StatementPage:
    """Return the page; an entry without a booking date is of the day that was asked for."""
    return StatementPage(
        entries=[_entry_from_proto(entry, account, day, source) for entry in message.entries],
        next_cursor=message.next_cursor,
        has_more=message.has_more,
        opening=optional_money(message, "opening_balance"),
        closing=optional_money(message, "closing_balance"),
        is_final=message.is_final,
    )


def _entry_from_proto(message: account_pb2.StatementEntry, account: str, day: date, source: str) -> StatementEntry:
    return StatementEntry(
        account=account,
        account_servicer_reference=message.account_servicer_reference,
        amount=money_from_proto(message.amount),
        indicator=_INDICATORS[message.credit_debit_indicator],
        booking_date=_date(message.booking_date) or day,
        source=source,
        value_date=_date(message.value_date),
        instruction_id=message.instruction_id,
        end_to_end_id=message.end_to_end_id,
        is_reversal=message.is_reversal,
        counterparty_name=_storable(message.counterparty_name),
        counterparty_account=_storable(message.counterparty_account),
        remittance_information=_storable(message.remittance_information),
        balance_after=optional_money(message, "balance_after"),
    )


def _storable(text: str) -> str:
    """PostgreSQL stores no NUL; one in a stranger's text must not hold up the statement."""
    return text.replace("\x00", "")


# --- our answers ----------------------------------------------------------------------------------------------------


def account_to_proto(account: Account) -> account_pb2.Account:
    return account_pb2.Account(
        identification=account.identification,
        currency=account.currency,
        name=account.name,
        bank_profile=account.bank_profile,
    )


def balance_to_proto(balance: Balance) -> account_pb2.Balance:
    account, currency = balance.account, balance.account.currency
    message = account_pb2.Balance(
        account=account.identification,
        ledger_balance=money_pb2.Money(currency=currency, minor_units=balance.ledger.minor_units),
        held_balance=money_pb2.Money(currency=currency, minor_units=balance.ledger.held_minor_units),
        ledger_available_balance=money_pb2.Money(currency=currency, minor_units=balance.ledger.available_minor_units),
        date=balance.date.isoformat() if balance.date else "",
    )
    _set(message.bank_booked_balance, account.bank_booked)
    _set(message.bank_available_balance, account.bank_available)
    _set(message.statement_opening_balance, balance.statement_opening)
    _set(message.statement_closing_balance, balance.statement_closing)
    if account.bank_as_of is not None:
        message.bank_as_of.FromDatetime(account.bank_as_of)
    return message


def _set(field: money_pb2.Money, money: Money | None) -> None:
    if money is not None:
        field.CopyFrom(money_to_proto(money))


def entry_to_proto(recorded: RecordedEntry) -> account_pb2.StatementEntry:
    entry = recorded.entry
    message = account_pb2.StatementEntry(
        sequence=recorded.sequence,
        account=entry.account,
        account_servicer_reference=entry.account_servicer_reference,
        instruction_id=entry.instruction_id,
        end_to_end_id=entry.end_to_end_id,
        amount=money_to_proto(entry.amount),
        credit_debit_indicator=_INDICATORS_TO_PROTO[entry.indicator],
        is_reversal=entry.is_reversal,
        booking_date=entry.booking_date.isoformat(),
        value_date=entry.value_date.isoformat() if entry.value_date else "",
        counterparty_name=entry.counterparty_name,
        counterparty_account=entry.counterparty_account,
        remittance_information=entry.remittance_information,
        source=entry.source,
        recorded_at=timestamp(recorded.recorded_at),
        traceparent=recorded.traceparent,
    )
    _set(message.balance_after, entry.balance_after)
    return message


def posting_to_proto(posting: RecordedPosting) -> account_pb2.LedgerPosting:
    return account_pb2.LedgerPosting(
        transaction_id=posting.transaction_id,
        ledger_account=posting.ledger_account,
        amount=money_to_proto(posting.amount),
        booking_date=posting.booking_date.isoformat(),
        kind=posting.kind.value,
        instruction_id=posting.instruction_id,
        recorded_at=timestamp(posting.recorded_at),
    )


def imported_to_proto(imported: ImportedStatement) -> account_service_pb2.ImportedStatement:
    statement = imported.statement
    return account_service_pb2.ImportedStatement(
        account=statement.account,
        statement_id=statement.statement_id,
        from_date=imported.from_date.isoformat(),
        to_date=imported.to_date.isoformat(),
        entry_count=imported.entry_count,
        new_entry_count=len(imported.new_entries),
    )


# --- filters and pages ----------------------------------------------------------------------------------------------


def accounts_from_request(accounts: Sequence[str]) -> list[str]:
    """Return the accounts asked for.

    Raises:
        InvalidRequest: too many at once.
    """
    if len(accounts) > ACCOUNTS_MAX:
        raise _field_invalid(
            "accounts",
            "TOO_MANY",
            f"at most {ACCOUNTS_MAX:,} accounts at once, or none for all",
            "一次最多查询 1000 个账户",
        )
    return list(accounts)


def entry_filter_from_proto(request: account_service_pb2.ListEntriesRequest) -> EntryFilter:
    """Return the filter, with room for one entry more than the page, to see whether there is a next one."""
    return EntryFilter(
        account=request.account,
        from_date=date_from_request(request.from_date, "from_date"),
        to_date=date_from_request(request.to_date, "to_date"),
        instruction_id=request.instruction_id,
        after=_from_token(request.page_token, _entry_position),
        limit=_page_size(request.page_size) + 1,
    )


def posting_filter_from_proto(request: account_service_pb2.ListPostingsRequest) -> PostingFilter:
    """Return the filter, with room for one posting more than the page."""
    return PostingFilter(
        account=request.account,
        instruction_id=request.instruction_id,
        after=_from_token(request.page_token, _posting_position) or 0,
        limit=_page_size(request.page_size) + 1,
    )


def entries_page(found: Sequence[RecordedEntry], limit: int) -> account_service_pb2.ListEntriesResponse:
    page = found[: limit - 1]
    has_more = len(found) == limit
    token = f"{page[-1].entry.booking_date.isoformat()}.{page[-1].sequence}" if has_more else ""
    return account_service_pb2.ListEntriesResponse(entries=map(entry_to_proto, page), next_page_token=token)


def postings_page(found: Sequence[RecordedPosting], limit: int) -> account_service_pb2.ListPostingsResponse:
    page = found[: limit - 1]
    token = str(page[-1].sequence) if len(found) == limit else ""
    return account_service_pb2.ListPostingsResponse(postings=map(posting_to_proto, page), next_page_token=token)


def _page_size(asked: int) -> int:
    if not 0 <= asked <= PAGE_SIZE_MAX:
        raise _field_invalid(
            "page_size", "PAGE_SIZE_INVALID", f"{asked} is not 1 to {PAGE_SIZE_MAX:,}", f"应为 1 至 {PAGE_SIZE_MAX}"
        )
    return asked or PAGE_SIZE_DEFAULT


def _from_token(token: str, read: Callable[[str], T]) -> T | None:
    if not token:
        return None
    try:
        return read(token)
    except ValueError:
        raise _field_invalid(
            "page_token",
            "PAGE_TOKEN_INVALID",
            "not a next_page_token of ours; begin again without one",
            "页码标记无效，请从第一页重新查询",
        ) from None


def _entry_position(token: str) -> tuple[date, int]:
    day, _, sequence = token.partition(".")
    return date.fromisoformat(day), _posting_position(sequence)


def _posting_position(token: str) -> int:
    sequence = int(token)
    if not 0 <= sequence <= _SEQUENCE_MAX:
        raise ValueError(token)
    return sequence
