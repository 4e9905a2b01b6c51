"""protobuf ↔ model. No decisions; a text that is no date or an amount that is no amount is INVALID_ARGUMENT."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.account.v1 import account_pb2
from yinqi.api.common.v1 import money_pb2
from yinqi.api.gateway.v1 import gateway_pb2, gateway_service_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.gateway.model import (
    ArchivedMessage,
    BankAccount,
    BankBalance,
    BatchKind,
    Channel,
    ControlTotal,
    Direction,
    Entry,
    EntryPage,
    Instruction,
    KeptReceipt,
    NotFoundProof,
    NoticeEvent,
    PaymentReference,
    StatusReport,
    Submission,
)
from yinqi.gateway.stop_mapping import stop_to
from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.kernel.money import Money

_CHANNELS = {
    payment_pb2.CHANNEL_UNSPECIFIED: Channel.SMART,
    payment_pb2.CHANNEL_SMART: Channel.SMART,
    payment_pb2.CHANNEL_LARGE_VALUE: Channel.LARGE_VALUE,
    payment_pb2.CHANNEL_SMALL_VALUE: Channel.SMALL_VALUE,
    payment_pb2.CHANNEL_INSTANT: Channel.INSTANT,
}
_KINDS = {payment_pb2.CATEGORY_PURPOSE_SALA: BatchKind.SALARY, payment_pb2.CATEGORY_PURPOSE_TAXS: BatchKind.TAX}
_RECEIPT_KINDS = {
    "PAY": gateway_service_pb2.RECEIPT_KIND_DEBIT,
    "RET": gateway_service_pb2.RECEIPT_KIND_RETURN,
}
_DIRECTIONS = {
    Direction.SENT: gateway_service_pb2.MESSAGE_DIRECTION_SENT,
    Direction.RECEIVED: gateway_service_pb2.MESSAGE_DIRECTION_RECEIVED,
}


def submission_from(message: gateway_pb2.Submission) -> Submission:
    """Read a submission."""
    return Submission(
        instruction_id=message.instruction_id,
        attempt=message.attempt,
        instruction=instruction_from(message.instruction),
        traceparent=message.traceparent,
        resend_proof=_proof_from(message.resend_proof) if message.HasField("resend_proof") else None,
        release=message.release,
        order_line=message.order_line,
        order_digest=message.order_digest,
        line_number=message.line_number,
    )


def instruction_from(message: payment_pb2.PaymentInstruction) -> Instruction:
    """Read what to pay."""
    channel = _CHANNELS.get(message.channel)
    if channel is None:
        raise invalid_field("instruction.channel", "ENUM_UNKNOWN", "this gateway does not know the channel", "未知汇路")
    agent = message.creditor_agent
    return Instruction(
        end_to_end_id=message.end_to_end_id,
        debtor_account=message.debtor_account.identification,
        creditor_name=message.creditor.name,
        creditor_account=message.creditor_account.identification,
        amount=Money(message.instructed_amount.currency, message.instructed_amount.minor_units),
        clearing_member_id=agent.clearing_member_id,
        bicfi=agent.bicfi,
        agent_name=agent.name,
        purpose=message.purpose,
        remittance_information=message.remittance_information,
        channel=channel,
        kind=_KINDS.get(message.category_purpose, BatchKind.OTHER),
    )


def control_total_from(message: gateway_pb2.ControlTotal) -> ControlTotal:
    """Read what a caller says its lines come to."""
    amount = Money(message.amount.currency, message.amount.minor_units)
    return ControlTotal(message.debtor_account, message.count, amount)


def reference_from(message: gateway_pb2.PaymentReference) -> PaymentReference:
    """Read a reference."""
    return PaymentReference(
        instruction_id=message.instruction_id,
        debtor_account=message.debtor_account,
        submitted_date=optional_date(message.submitted_date, "submitted_date"),
        traceparent=message.traceparent,
        attempt=message.attempt,
        release=message.release,
    )


def optional_date(text: str, field: str) -> date | None:
    """Read an ISO 8601 date; None when empty."""
    if not text:
        return None
    try:
        if len(text) != 10:
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise invalid_field(field, "DATE_FORMAT", "a date like 2026-11-22", "日期格式应为 2026-11-22") from None


def required_date(text: str, field: str) -> date:
    """Read an ISO 8601 date that must be there."""
    found = optional_date(text, field)
    if found is None:
        raise invalid_field(field, "FIELD_MISSING", "a date like 2026-11-22 is needed", "缺少日期")
    return found


def invalid_field(field: str, reason: str, description: str, description_zh: str) -> InvalidRequest:
    """Return the error for one wrong field."""
    violation = FieldViolation(field, reason, f"{field}: {description}", description_zh)
    return InvalidRequest(reason, violation.description, description_zh, [violation])


def report_to(report: StatusReport) -> gateway_pb2.PaymentStatusReport:
    """Write a report."""
    message = gateway_pb2.PaymentStatusReport(
        instruction_id=report.instruction_id,
        status=gateway_pb2.BankStatus.Value(f"BANK_STATUS_{report.status}"),
        reason_code=report.reason_code,
        proprietary_code=report.proprietary_code,
        reason_text=report.reason_text,
        account_servicer_reference=report.account_servicer_reference,
        booking_date=_date_to(report.booking_date),
        reported_at=timestamp_to(report.reported_at),
        archive_id=report.archive_id,
    )
    if report.not_found_proof is not None:
        message.not_found_proof.CopyFrom(_proof_to(report.not_found_proof))
    if report.ask_after is not None:
        message.ask_after.FromDatetime(report.ask_after)
    return message


def notice_event_to(event: NoticeEvent) -> gateway_pb2.NoticeEvent:
    """Write what a notice meant."""
    return gateway_pb2.NoticeEvent(
        sequence=event.sequence,
        occurred_at=timestamp_to(event.occurred_at),
        bank_profile=event.profile,
        archive_id=event.archive_id,
        notice_number=event.number,
        notice_type=event.type,
        refusal=event.refusal,
        report=None if event.report is None else report_to(event.report),
        stop=None if event.stop is None else stop_to(event.stop),
    )


def balance_to(balance: BankBalance) -> gateway_pb2.BankBalance:
    """Write balances."""
    return gateway_pb2.BankBalance(
        account=balance.account,
        booked_balance=_money_to(balance.booked),
        available_balance=_money_to(balance.available),
        frozen_balance=_money_to(balance.frozen),
        previous_day_balance=_money_to(balance.previous_day),
        bank_date=_date_to(balance.bank_date),
        as_of=None if balance.as_of is None else timestamp_to(balance.as_of),
        error_code=balance.error_code,
        error_text=balance.error_text,
    )


def page_to(page: EntryPage) -> gateway_pb2.EntryPage:
    """Write a page of entries."""
    return gateway_pb2.EntryPage(
        entries=[_entry_to(entry) for entry in page.entries],
        next_cursor=page.next_cursor,
        has_more=page.has_more,
        opening_balance=_money_to(page.opening_balance),
        closing_balance=_money_to(page.closing_balance),
        is_final=page.is_final,
    )


def account_to(account: BankAccount) -> account_pb2.Account:
    """Write an account."""
    return account_pb2.Account(
        identification=account.identification,
        currency=account.currency,
        name=account.name,
        bank_profile=account.profile,
    )


def receipts_to(
    instruction_id: str, kept: Sequence[KeptReceipt], *, is_answered: bool
) -> gateway_service_pb2.PaymentReceipts:
    """Write what is known of a payment's receipts; their content goes into evidence bundles alone."""
    return gateway_service_pb2.PaymentReceipts(
        instruction_id=instruction_id,
        is_answered=is_answered,
        receipts=[
            gateway_service_pb2.BankReceipt(
                receipt_id=one.receipt.number,
                kind=_RECEIPT_KINDS[one.receipt.kind],
                digest=one.receipt.digest,
                recorded_at=one.recorded_at.isoformat(),
            )
            for one in kept
        ],
    )


def message_to(message: ArchivedMessage) -> gateway_service_pb2.ArchivedMessage:
    """Write what is known of an archived message; its content stays here."""
    return gateway_service_pb2.ArchivedMessage(
        archive_id=message.archive_id,
        bank_profile=message.profile,
        direction=_DIRECTIONS[message.direction],
        function=message.function,
        recorded_at=message.recorded_at.isoformat(),
        size_bytes=message.size_bytes,
        digest=message.digest,
        is_verified=message.is_verified,
        failure=message.failure,
        key_id=message.key_id,
        cipher_key_id=message.cipher_key_id,
    )


def _entry_to(entry: Entry) -> account_pb2.StatementEntry:
    return account_pb2.StatementEntry(
        account=entry.account,
        account_servicer_reference=entry.account_servicer_reference,
        instruction_id=entry.instruction_id,
        amount=_money_to(entry.amount),
        credit_debit_indicator=(
            account_pb2.CREDIT_DEBIT_INDICATOR_CRDT if entry.is_credit else account_pb2.CREDIT_DEBIT_INDICATOR_DBIT
        ),
        is_reversal=entry.is_reversal,
        booking_date=_date_to(entry.booking_date),
        value_date=_date_to(entry.value_date),
        counterparty_name=entry.counterparty_name,
        counterparty_account=entry.counterparty_account,
        remittance_information=entry.remittance_information,
        balance_after=_money_to(entry.balance_after),
        source=entry.source,
    )


def _proof_from(message: gateway_pb2.NotFoundProof) -> NotFoundProof:
    return NotFoundProof(
        queried_at=message.queried_at.ToDatetime(tzinfo=UTC),
        archive_id=message.archive_id,
        control_reference=message.control_reference,
        control_seen=message.control_seen,
        safe_window_ms=message.safe_window_ms,
    )


def _proof_to(proof: NotFoundProof) -> gateway_pb2.NotFoundProof:
    return gateway_pb2.NotFoundProof(
        queried_at=timestamp_to(proof.queried_at),
        archive_id=proof.archive_id,
        control_reference=proof.control_reference,
        control_seen=proof.control_seen,
        safe_window_ms=proof.safe_window_ms,
    )


def _money_to(money: Money | None) -> money_pb2.Money | None:
    return None if money is None else money_pb2.Money(currency=money.currency, minor_units=money.minor_units)


def _date_to(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def timestamp_to(instant: datetime) -> Timestamp:
    """Write an instant."""
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
