"""Protobuf ↔ model. No decisions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256

from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.common.v1 import money_pb2, outcome_pb2, party_pb2
from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.payment.model import (
    AlreadyRecorded,
    BankWord,
    EndToEndIdReused,
    FeedEvent,
    JournalEntry,
    NotFoundProof,
    Outcome,
    Payment,
    PaymentCount,
    PaymentFilter,
    PaymentInstruction,
    Recorded,
    RefusedLine,
    Screening,
    StatusReason,
    StatusReport,
    Submission,
)
from yinqi.payment.rules import UNKNOWN_WORD
from yinqi.payment.status import PaymentStatus

_IBAN_SHAPE = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_SCHEMES = {party_pb2.ACCOUNT_SCHEME_IBAN: "IBAN", party_pb2.ACCOUNT_SCHEME_BBAN: "BBAN"}
_CATEGORIES = {
    number: name.removeprefix("CATEGORY_PURPOSE_") for name, number in payment_pb2.CategoryPurpose.items() if number
} | {payment_pb2.CATEGORY_PURPOSE_UNSPECIFIED: "SUPP"}
_CHANNELS = {number: name.removeprefix("CHANNEL_") for name, number in payment_pb2.Channel.items() if number} | {
    payment_pb2.CHANNEL_UNSPECIFIED: ""
}
STATUS_NUMBER = {status: payment_pb2.PaymentStatus.Value(f"PAYMENT_STATUS_{status.value}") for status in PaymentStatus}
_STATUS_OF = {number: status for status, number in STATUS_NUMBER.items()}
_WORDS = {gateway_pb2.BankStatus.Value(f"BANK_STATUS_{word.value}"): word for word in BankWord}
_TAX_FIELDS = tuple(field.name for field in payment_pb2.TaxDetails.DESCRIPTOR.fields)
_AMOUNT = PaymentInstruction._fields.index("amount_minor_units")
_SECONDS_MAX = 253_402_300_799  # the end of the year 9999
_PAYROLL_FIELDS = tuple(field.name for field in payment_pb2.PayrollDetails.DESCRIPTOR.fields)


# --- instructions in ------------------------------------------------------------------------------------------------


def instruction_from(message: payment_pb2.PaymentInstruction) -> PaymentInstruction:
    """Read the values of one line; any text may be wrong still."""
    debtor, debtor_account, debtor_agent = message.debtor, message.debtor_account, message.debtor_agent
    creditor, creditor_account, creditor_agent = message.creditor, message.creditor_account, message.creditor_agent
    amount = message.instructed_amount
    return PaymentInstruction(
        message.end_to_end_id,
        debtor.name,
        debtor.organisation_id,
        debtor_account.identification,
        _scheme(debtor_account),
        debtor_account.currency,
        debtor_agent.clearing_member_id,
        debtor_agent.bicfi,
        debtor_agent.name,
        creditor.name,
        creditor.organisation_id,
        creditor_account.identification,
        _scheme(creditor_account),
        creditor_account.currency,
        creditor_agent.clearing_member_id,
        creditor_agent.bicfi,
        creditor_agent.name,
        amount.currency,
        amount.minor_units,
        message.requested_execution_date,
        _CATEGORIES.get(message.category_purpose, UNKNOWN_WORD),
        message.purpose,
        message.remittance_information,
        _CHANNELS.get(message.channel, UNKNOWN_WORD),
        message.payment_information_id,
        _details(message),
    )


def _scheme(account: party_pb2.CashAccount) -> str:
    if account.scheme == party_pb2.ACCOUNT_SCHEME_UNSPECIFIED:
        return "IBAN" if _IBAN_SHAPE.fullmatch(account.identification) else "BBAN"
    return _SCHEMES.get(account.scheme, UNKNOWN_WORD)


def _details(message: payment_pb2.PaymentInstruction) -> tuple[str, ...]:
    """Return the kind, then pairs of field and text; () without details."""
    kind = message.WhichOneof("details")
    if kind is None:
        return ()
    names = _TAX_FIELDS if kind == "tax_details" else _PAYROLL_FIELDS
    details = getattr(message, kind)
    return (kind, *(text for name in names for text in (name, getattr(details, name))))


def request_hash(instruction: PaymentInstruction) -> bytes:
    """Return the digest of a line's values: equal content, equal digest, however it was serialized.

    The separator cannot occur in a line that passed the rules: control characters are refused.
    """
    texts = (*instruction[:_AMOUNT], str(instruction.amount_minor_units), *instruction[_AMOUNT + 1 : -1])
    return sha256("\x1f".join((*texts, *instruction.details)).encode()).digest()  # type: ignore[arg-type]


_RESULTS = {
    Recorded: payment_service_pb2.INITIATION_RESULT_RECORDED,
    AlreadyRecorded: payment_service_pb2.INITIATION_RESULT_ALREADY_RECORDED,
}

# --- outcomes out ---------------------------------------------------------------------------------------------------


def outcome_to(end_to_end_id: str, outcome: Outcome) -> payment_service_pb2.InitiationOutcome:
    """Return the answer for one line."""
    if isinstance(outcome, (Recorded, AlreadyRecorded)):
        return payment_service_pb2.InitiationOutcome(
            end_to_end_id=end_to_end_id,
            result=_RESULTS[type(outcome)],
            instruction_id=outcome.instruction_id,
            received_at=timestamp(outcome.received_at),
        )
    return payment_service_pb2.InitiationOutcome(
        end_to_end_id=end_to_end_id,
        result=payment_service_pb2.INITIATION_RESULT_REFUSED,
        error=_line_error(outcome),
    )


def _line_error(outcome: EndToEndIdReused | RefusedLine) -> outcome_pb2.LineError:
    if isinstance(outcome, RefusedLine):
        return outcome_pb2.LineError(
            reason="FIELD_INVALID",
            message="A field is wrong; nothing was recorded for this line. Correct it and send it again.",
            message_zh="字段有误，该笔未受理，请更正后重新提交。",
            violations=[violation_to(violation) for violation in outcome.violations],
        )
    return outcome_pb2.LineError(
        reason="END_TO_END_ID_REUSED",
        message=REUSED_MESSAGE,
        message_zh=REUSED_MESSAGE_ZH,
        violations=[outcome_pb2.FieldViolation(field="end_to_end_id", reason="END_TO_END_ID_REUSED")],
    )


REUSED_MESSAGE = (
    "Another payment with other content was recorded under this end_to_end_id; nothing was recorded now. "
    "Use a new end_to_end_id for a new payment."
)
REUSED_MESSAGE_ZH = "该业务参考号已用于内容不同的另一笔付款，本笔未受理。新的付款请使用新的业务参考号。"


def violation_to(violation: FieldViolation) -> outcome_pb2.FieldViolation:
    """Return a field error."""
    return outcome_pb2.FieldViolation(
        field=violation.field,
        reason=violation.reason,
        description=violation.description,
        description_zh=violation.description_zh,
    )


# --- payments out ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def timestamp(instant: datetime) -> Timestamp:
    """Return an instant as the API writes it; the lines of a batch share theirs. Do not change the result."""
    seconds = int(instant.timestamp() // 1)
    return Timestamp(seconds=seconds, nanos=instant.microsecond * 1000)


def payment_to(payment: Payment) -> payment_pb2.Payment:
    """Return a payment as it stands."""
    return payment_pb2.Payment(
        instruction_id=payment.instruction_id,
        instruction=payment_pb2.PaymentInstruction.FromString(payment.order_bytes),
        status=STATUS_NUMBER[payment.status],
        status_reason=reason_to(payment.reason),
        received_at=timestamp(payment.received_at),
        updated_at=timestamp(payment.updated_at),
        submission_attempts=payment.submission_attempts,
        account_servicer_reference=payment.account_servicer_reference,
        settlement_date=payment.settlement_date,
        return_date=payment.return_date,
        traceparent=payment.traceparent,
    )


def reason_to(reason: StatusReason) -> payment_pb2.StatusReason | None:
    """Return a reason, None if there is none."""
    if not any(reason):
        return None
    return payment_pb2.StatusReason(code=reason.code, proprietary_code=reason.proprietary_code, text=reason.text)


def journal_entry_to(entry: JournalEntry) -> payment_pb2.PaymentEvent:
    """Return a line of the journal without its payment."""
    return payment_pb2.PaymentEvent(
        sequence=entry.sequence,
        occurred_at=timestamp(entry.occurred_at),
        type=entry.type,
        from_status=STATUS_NUMBER[entry.from_status] if entry.from_status else payment_pb2.PAYMENT_STATUS_UNSPECIFIED,
        to_status=STATUS_NUMBER[entry.to_status],
        reason=reason_to(StatusReason(entry.reason_code, entry.reason_proprietary_code, entry.reason_text)),
        actor=entry.actor,
    )


def feed_event_to(event: FeedEvent) -> payment_pb2.PaymentEvent:
    """Return an event with the payment's fixed facts and its state after the event."""
    entry = event.entry
    message = journal_entry_to(entry)
    payment = message.payment
    payment.instruction_id = entry.instruction_id
    payment.instruction.MergeFromString(event.order_bytes)
    payment.status = message.to_status
    if message.HasField("reason"):
        payment.status_reason.CopyFrom(message.reason)
    payment.received_at.CopyFrom(timestamp(event.received_at))
    payment.updated_at.CopyFrom(message.occurred_at)
    payment.submission_attempts = entry.submission_attempts
    payment.account_servicer_reference = entry.account_servicer_reference
    payment.settlement_date = entry.settlement_date
    payment.return_date = entry.return_date
    payment.traceparent = event.traceparent
    return message


def count_to(count: PaymentCount) -> payment_service_pb2.PaymentCount:
    """Return a row of the statistics."""
    return payment_service_pb2.PaymentCount(
        status=STATUS_NUMBER[count.status],
        currency=count.currency,
        count=count.number,
        minor_units=count.minor_units,
        debtor_account=count.debtor_account,
    )


def filter_from(message: payment_service_pb2.PaymentFilter) -> PaymentFilter:
    """Read a filter; statuses this version does not know match nothing that is stored, so they are left out."""
    return PaymentFilter(
        statuses=tuple(_STATUS_OF[number] for number in sorted(set(message.statuses)) if number in _STATUS_OF),
        debtor_account=message.debtor_account,
        payment_information_id=message.payment_information_id,
        creditor_name=message.creditor_name,
        received_from=_instant(message.received_from) if message.HasField("received_from") else None,
        received_until=_instant(message.received_until) if message.HasField("received_until") else None,
    )


def _instant(message: Timestamp) -> datetime:
    if not 0 <= message.seconds <= _SECONDS_MAX or not 0 <= message.nanos < 1_000_000_000:
        raise InvalidRequest("TIMESTAMP_INVALID", "A timestamp is outside the years 1970 to 9999.", "时间戳超出范围。")
    return datetime.fromtimestamp(message.seconds, UTC) + timedelta(microseconds=message.nanos // 1000)


# --- sister services ------------------------------------------------------------------------------------------------


def subject_to(payment: Payment) -> monitoring_pb2.ScreeningSubject:
    """Return a payment to screen."""
    return monitoring_pb2.ScreeningSubject(
        instruction_id=payment.instruction_id,
        instruction=payment_pb2.PaymentInstruction.FromString(payment.order_bytes),
        traceparent=payment.traceparent,
    )


def screening_from(message: monitoring_pb2.Screening) -> Screening | None:
    """Read a verdict; None if it is neither pass nor block."""
    if message.verdict not in (monitoring_pb2.VERDICT_PASS, monitoring_pb2.VERDICT_BLOCK):
        return None
    passed = message.verdict == monitoring_pb2.VERDICT_PASS
    return Screening(message.instruction_id, passed, message.rule, message.description, message.description_zh)


def submission_to(submission: Submission) -> gateway_pb2.Submission:
    """Return a payment to send, its instruction as it came."""
    payment = submission.payment
    return gateway_pb2.Submission(
        instruction_id=payment.instruction_id,
        attempt=submission.attempt,
        instruction=payment_pb2.PaymentInstruction.FromString(payment.order_bytes),
        traceparent=payment.traceparent,
        resend_proof=_proof_to(submission.proof) if submission.proof else None,
        release=payment.releases,
        order_line=payment.order_bytes if submission.line else b"",
        order_digest=bytes.fromhex(submission.line.order_digest) if submission.line else b"",
        line_number=submission.line.number if submission.line else 0,
    )


def control_totals_to(payments: Sequence[Payment]) -> list[gateway_pb2.ControlTotal]:
    """Return what payments come to, by account and currency, from our own columns: the gateway reads the orders' bytes."""
    sums: dict[tuple[str, str], list[int]] = {}
    for payment in payments:
        sums.setdefault((payment.debtor_account, payment.currency), []).append(payment.amount_minor_units)
    return [
        gateway_pb2.ControlTotal(
            debtor_account=account,
            count=len(amounts),
            amount=money_pb2.Money(currency=currency, minor_units=sum(amounts)),
        )
        for (account, currency), amounts in sums.items()
    ]


def _proof_to(proof: NotFoundProof) -> gateway_pb2.NotFoundProof:
    return gateway_pb2.NotFoundProof(
        queried_at=timestamp(proof.queried_at),
        archive_id=proof.archive_id,
        control_reference=proof.control_reference,
        control_seen=proof.control_seen,
        safe_window_ms=proof.safe_window // timedelta(milliseconds=1),
    )


def reference_to(payment: Payment) -> gateway_pb2.PaymentReference:
    """Return a payment to ask about; of one that the bank has, only the bank can tell."""
    submitted_at = payment.first_submitted_at or payment.received_at
    is_in_doubt = payment.status is PaymentStatus.UNKNOWN
    return gateway_pb2.PaymentReference(
        instruction_id=payment.instruction_id,
        debtor_account=payment.debtor_account,
        submitted_date=submitted_at.astimezone(BANK_ZONE).date().isoformat(),
        traceparent=payment.traceparent,
        attempt=payment.submission_attempts if is_in_doubt else 0,
        release=payment.releases if is_in_doubt else 0,
    )


def report_from(message: gateway_pb2.PaymentStatusReport, attempt: int, release: int = 0) -> StatusReport:
    """Read a report about an attempt; a status this version does not know is UNKNOWN, never a refusal."""
    has_proof = message.HasField("not_found_proof")
    return StatusReport(
        instruction_id=message.instruction_id,
        word=_WORDS.get(message.status, BankWord.UNKNOWN),
        attempt=attempt,
        reason=StatusReason(message.reason_code, message.proprietary_code, message.reason_text).bounded(),
        account_servicer_reference=message.account_servicer_reference,
        booking_date=message.booking_date,
        archive_id=message.archive_id,
        proof=_proof_from(message.not_found_proof) if has_proof else None,
        ask_after=_instant(message.ask_after) if message.HasField("ask_after") else None,
        release=release,
    )


def _proof_from(message: gateway_pb2.NotFoundProof) -> NotFoundProof:
    return NotFoundProof(
        queried_at=_instant(message.queried_at),
        archive_id=message.archive_id,
        control_reference=message.control_reference,
        control_seen=message.control_seen,
        safe_window=timedelta(milliseconds=message.safe_window_ms),
    )


def instructions_from(messages: Sequence[payment_pb2.PaymentInstruction]) -> list[PaymentInstruction]:
    """Read the values of many lines, in order."""
    return [instruction_from(message) for message in messages]
