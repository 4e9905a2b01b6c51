"""Protobuf ↔ model; no decisions."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.account.v1 import account_pb2
from yinqi.api.common.v1 import money_pb2
from yinqi.api.gateway.v1 import gateway_pb2, stop_pb2
from yinqi.api.monitoring.v1 import monitoring_pb2 as pb
from yinqi.api.payment.v1 import payment_pb2
from yinqi.api.reconciliation.v1 import reconciliation_pb2
from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.kernel.money import Money
from yinqi.monitoring.model import (
    Alert,
    AlertEvent,
    AlertStatus,
    BreakChange,
    EntrySeen,
    NoticeRefused,
    PaymentChange,
    ReconciliationChange,
    Screening,
    ScreeningSubject,
    StatementChecked,
    StopSeen,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def money_from(message: money_pb2.Money) -> Money:
    """Return the amount as it came; it was checked by the service that owns it."""
    return Money(message.currency, message.minor_units)


def subject_from(message: pb.ScreeningSubject) -> ScreeningSubject:
    """Return what the rules look at."""
    order = message.instruction
    return ScreeningSubject(
        instruction_id=message.instruction_id,
        end_to_end_id=order.end_to_end_id,
        debtor_account=order.debtor_account.identification,
        creditor_account=order.creditor_account.identification,
        creditor_name=order.creditor.name,
        amount=money_from(order.instructed_amount),
        execution_date=order.requested_execution_date,
        traceparent=message.traceparent,
    )


def screening_to(screening: Screening) -> pb.Screening:
    """Return the verdict as a message."""
    return pb.Screening(
        instruction_id=screening.instruction_id,
        verdict=pb.Verdict.ValueType(screening.verdict.value),
        rule=screening.rule,
        description=screening.description,
        description_zh=screening.description_zh,
    )


def alert_to(alert: Alert) -> pb.Alert:
    """Return the alert as a message."""
    return pb.Alert(
        alert_id=alert.alert_id,
        rule=alert.rule,
        severity=pb.Severity.ValueType(alert.severity.value),
        status=pb.AlertStatus.ValueType(alert.status.value),
        subject=alert.subject,
        summary=alert.summary,
        summary_zh=alert.summary_zh,
        raised_at=timestamp_to(alert.raised_at),
        acknowledged_by=alert.acknowledged_by,
        acknowledged_at=timestamp_to(alert.acknowledged_at),
        delivered_at=timestamp_to(alert.delivered_at),
        delivery_attempts=alert.delivery_attempts,
        traceparent=alert.traceparent,
        note=alert.note,
    )


def event_to(event: AlertEvent) -> pb.AlertEvent:
    """Return the event as a message."""
    return pb.AlertEvent(
        sequence=event.sequence,
        type=event.type.value,
        occurred_at=timestamp_to(event.occurred_at),
        alert=alert_to(event.alert),
    )


def alert_status_from(status: pb.AlertStatus.ValueType) -> AlertStatus | None:
    """Return the filter's status; None for all.

    Raises:
        InvalidRequest: a number this version does not know.
    """
    if status == pb.ALERT_STATUS_UNSPECIFIED:
        return None
    try:
        return AlertStatus(status)
    except ValueError:
        raise _field_invalid("status", "UNKNOWN_VALUE", "is not a known alert status", "告警状态无效") from None


def payment_changes_from(events: Iterable[payment_pb2.PaymentEvent]) -> list[PaymentChange]:
    """Return what monitoring needs of payment events."""
    return [
        PaymentChange(
            instruction_id=event.payment.instruction_id,
            end_to_end_id=event.payment.instruction.end_to_end_id,
            status=payment_status_word(event.to_status),
            occurred_at=datetime_from(event.occurred_at),
            amount=money_from(event.payment.instruction.instructed_amount),
            reason_code=event.reason.code,
            traceparent=event.payment.traceparent,
        )
        for event in events
    ]


def payment_status_word(status: payment_pb2.PaymentStatus.ValueType) -> str:
    """Return "SETTLED" for PAYMENT_STATUS_SETTLED; a number this version does not know gives "STATUS_<n>"."""
    value = payment_pb2.PaymentStatus.DESCRIPTOR.values_by_number.get(status)
    return value.name.removeprefix("PAYMENT_STATUS_") if value is not None else f"STATUS_{status}"


def reconciliation_changes_from(events: Iterable[reconciliation_pb2.ReconciliationEvent]) -> list[ReconciliationChange]:
    """Return what monitoring needs of reconciliation events."""
    return [_reconciliation_change(event) for event in events]


def _reconciliation_change(event: reconciliation_pb2.ReconciliationEvent) -> ReconciliationChange:
    if event.HasField("reconciliation_break"):
        found = event.reconciliation_break
        return BreakChange(
            type=event.type,
            break_id=found.break_id,
            reason=break_reason_word(found.reason),
            account=found.account,
            date=found.date,
            amount=money_from(found.amount),
            is_debit=found.credit_debit_indicator == account_pb2.CREDIT_DEBIT_INDICATOR_DBIT,
        )
    run = event.reconciliation
    return StatementChecked(run.account, run.date, run.is_statement_complete)


def break_reason_word(reason: reconciliation_pb2.BreakReason.ValueType) -> str:
    """Return "AMBIGUOUS" for BREAK_REASON_AMBIGUOUS; an unknown number gives "REASON_<n>"."""
    value = reconciliation_pb2.BreakReason.DESCRIPTOR.values_by_number.get(reason)
    return value.name.removeprefix("BREAK_REASON_") if value is not None else f"REASON_{reason}"


def entries_from(messages: Iterable[account_pb2.StatementEntry]) -> list[EntrySeen]:
    """Return what monitoring needs of statement entries."""
    return [
        EntrySeen(
            account=entry.account,
            account_servicer_reference=entry.account_servicer_reference,
            instruction_id=entry.instruction_id,
            amount=money_from(entry.amount),
            booking_date=entry.booking_date,
            is_reversal=entry.is_reversal,
            traceparent=entry.traceparent,
        )
        for entry in messages
    ]


def notices_from(messages: Iterable[gateway_pb2.NoticeEvent]) -> list[NoticeRefused | StopSeen]:
    """Return the notices that were refused, and the stops; the others are reports for payments."""
    return [
        _stop_from(event)
        if event.HasField("stop")
        else NoticeRefused(
            event.bank_profile,
            event.refusal,
            event.archive_id,
            event.occurred_at.ToDatetime(tzinfo=UTC),
            event.notice_number,
        )
        for event in messages
        if event.refusal
    ]


def _stop_from(event: gateway_pb2.NoticeEvent) -> StopSeen:
    """Read what happened to a stop: the event says which of its words is meant."""
    stop = event.stop
    is_lifted = event.refusal == "STOP_LIFTED"
    return StopSeen(
        stop.stop_id,
        stop_pb2.StopScopeKind.Name(stop.scope.kind).removeprefix("STOP_SCOPE_KIND_"),
        stop.scope.name,
        stop.pulled.person,
        stop.pulled.reason,
        (stop.lift_asked.person, stop.lifted.person) if is_lifted else (),
    )


def timestamp_to(instant: datetime | None) -> Timestamp | None:
    """Return the instant as a message; None stays absent."""
    if instant is None:
        return None
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def datetime_from(message: Timestamp) -> datetime:
    """Return the instant, UTC, to the microsecond."""
    return message.ToDatetime(tzinfo=UTC)


def page_token(alert: Alert) -> str:
    """Return an opaque token for the place after this alert."""
    micros = (alert.raised_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{micros}:{alert.alert_id}".encode()).decode()


def place_from(token: str) -> tuple[datetime, str] | None:
    """Return the place a token stands for; None for the empty token.

    Raises:
        InvalidRequest: not a token of ours.
    """
    if not token:
        return None
    try:
        micros, alert_id = base64.urlsafe_b64decode(token.encode()).decode().split(":")
        return _EPOCH + timedelta(microseconds=int(micros)), alert_id
    except (binascii.Error, UnicodeError, ValueError, OverflowError):
        raise _field_invalid(
            "page_token", "FORMAT", "is not a token of ours; start from the first page", "翻页标记无效，请从第一页开始"
        ) from None


def _field_invalid(field: str, reason: str, description: str, description_zh: str) -> InvalidRequest:
    return InvalidRequest(
        "FIELD_INVALID",
        f"{field} {description}.",
        description_zh,
        violations=[FieldViolation(field, reason, description, description_zh)],
    )
