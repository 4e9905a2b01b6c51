"""Valid things to begin a test with; say only what differs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from yinqi.api.payment.v1 import payment_pb2
from yinqi.payment import mapping
from yinqi.payment.model import BankWord, NewPayment, NotFoundProof, Pacing, Payment, StatusReason, StatusReport
from yinqi.payment.status import PaymentStatus

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)  # 12:00 in Beijing
PACING = Pacing(
    lease=timedelta(seconds=20), first_query_delay=timedelta(seconds=1), query_interval=timedelta(seconds=5)
)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DEBTOR_ACCOUNT = "755901234567890"
CNAPS = "102100099996"
IBAN = "CH9300762011623852957"


def instruction_message(end_to_end_id: str = "INV-1", **changes: Any) -> payment_pb2.PaymentInstruction:
    """A payable line; `changes` are paths with "__" for ".", e.g. creditor__name="…"."""
    message = payment_pb2.PaymentInstruction(
        end_to_end_id=end_to_end_id,
        category_purpose=payment_pb2.CATEGORY_PURPOSE_SUPP,
        purpose="货款",
        remittance_information="发票 2026-11",
    )
    message.debtor.name = "银企示例有限公司"
    message.debtor_account.identification = DEBTOR_ACCOUNT
    message.creditor.name = "北京某某供应商有限公司"
    message.creditor_account.identification = "6222020200112233445"
    message.creditor_agent.clearing_member_id = CNAPS
    message.instructed_amount.currency = "CNY"
    message.instructed_amount.minor_units = 123_450
    for path, value in changes.items():
        *parents, name = path.split("__")
        target: Any = message
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, name, value)
    return message


def new_payment(end_to_end_id: str = "INV-1", initiator: str = "erp", **changes: Any) -> NewPayment:
    """A line that passed the rules."""
    message = instruction_message(end_to_end_id, **changes)
    instruction = mapping.instruction_from(message)
    return NewPayment(
        instruction, message.SerializeToString(), mapping.request_hash(instruction), initiator, TRACEPARENT
    )


_PAYMENT = Payment(
    instruction_id="PI0001",
    end_to_end_id="INV-1",
    order_bytes=instruction_message().SerializeToString(),
    request_hash=b"\x00" * 32,
    debtor_account=DEBTOR_ACCOUNT,
    creditor_name="北京某某供应商有限公司",
    creditor_account="6222020200112233445",
    currency="CNY",
    amount_minor_units=123_450,
    requested_execution_date="",
    category_purpose="SUPP",
    payment_information_id="",
    traceparent=TRACEPARENT,
    initiation_traceparent="",
    received_at=NOW,
    status=PaymentStatus.RECEIVED,
    reason_code="",
    reason_proprietary_code="",
    reason_text="",
    updated_at=NOW,
    submission_attempts=0,
    account_servicer_reference="",
    settlement_date="",
    return_date="",
    first_submitted_at=None,
    last_submitted_at=None,
    step_tries=0,
    next_action_at=NOW,
    contradiction="",
)


def payment(status: PaymentStatus = PaymentStatus.RECEIVED, **changes: Any) -> Payment:
    """A payment in a status; one that was released has one attempt."""
    if status in (
        PaymentStatus.SUBMITTING,
        PaymentStatus.PROCESSING,
        PaymentStatus.UNKNOWN,
        PaymentStatus.SETTLED,
        PaymentStatus.REJECTED,
        PaymentStatus.RETURNED,
    ):
        changes = {"submission_attempts": 1, "first_submitted_at": NOW, "last_submitted_at": NOW} | changes
    return replace(_PAYMENT, status=status, **changes)


def proof(**changes: Any) -> NotFoundProof:
    """Sound evidence for a payment submitted at NOW, if it is looked at a minute later."""
    sound = NotFoundProof(
        queried_at=NOW + timedelta(seconds=40),
        archive_id="ARC-1",
        control_reference="PI-CONTROL",
        control_seen=True,
        safe_window=timedelta(seconds=30),
    )
    return replace(sound, **changes)


def report(word: BankWord, instruction_id: str = "PI0001", **changes: Any) -> StatusReport:
    """A report about the first attempt."""
    given = {"attempt": 1, "reason": StatusReason("X1", "BANK1", "text")} | changes
    return StatusReport(instruction_id, word, **given)
