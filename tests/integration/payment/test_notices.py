"""What the banks' notices do to payments: a verified report moves one, a refused notice nothing."""

from __future__ import annotations

from payment_builders import NOW, PACING, new_payment

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.kernel.clock import FixedClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.payment import use_cases
from yinqi.payment.model import (
    NO_REASON,
    BankWord,
    Pacing,
    Payment,
    Screening,
    StatusReason,
    StatusReport,
    Submission,
)
from yinqi.payment.repository import SqlPaymentStore
from yinqi.payment.status import PaymentStatus
from yinqi.payment.worker import NoticeEffects
from yinqi.runtime.database import Database


def released(connection: object) -> Submission:
    """Release one payment."""
    store = SqlPaymentStore(connection)  # type: ignore[arg-type]
    use_cases.initiate_payments([new_payment()], store, ids=TimeOrderedIds(FixedClock(NOW)), now=NOW)
    (payment,) = use_cases.claim_for_screening(store, now=NOW, limit=1, pacing=PACING)
    use_cases.record_screenings([Screening(payment.instruction_id, True)], store, now=NOW, actor="test")
    (submission,) = use_cases.claim_for_submission(
        store, now=NOW, today=NOW.date(), limit=1, accounts_max=1, busy_accounts=[], pacing=PACING, actor="test"
    )
    return submission


def told(connection: object, instruction_id: str, word: BankWord, reason: StatusReason = NO_REASON) -> None:
    report = StatusReport(instruction_id, word, 1, reason=reason, release=1)
    store = SqlPaymentStore(connection)  # type: ignore[arg-type]
    use_cases.record_status_reports([report], store, now=NOW, pacing=PACING, actor="test")


def processing(connection: object) -> str:
    """Bring one payment to the bank; return its instruction_id."""
    instruction_id = released(connection).payment.instruction_id
    told(connection, instruction_id, BankWord.PROCESSING)
    return instruction_id


def event(sequence: int, **fields: object) -> gateway_pb2.NoticeEvent:
    return gateway_pb2.NoticeEvent(sequence=sequence, **fields)  # type: ignore[arg-type]


async def test_a_report_moves_the_payment_once_and_a_refused_notice_moves_nothing(payment_database: Database) -> None:
    instruction_id = await payment_database.run(processing)
    effects = NoticeEffects(FixedClock(NOW), PACING)

    async def status_after(*events: gateway_pb2.NoticeEvent) -> PaymentStatus:
        await payment_database.run(lambda connection: effects.take(connection, events))
        found = await payment_database.read(lambda c: SqlPaymentStore(c).get(instruction_id=instruction_id))
        assert found is not None
        return found.status

    assert await status_after(event(1, refusal="BAD_SIGNATURE")) is PaymentStatus.PROCESSING
    report = gateway_pb2.PaymentStatusReport(
        instruction_id=instruction_id, status=gateway_pb2.BANK_STATUS_SETTLED, booking_date="2026-11-22"
    )
    assert await status_after(event(2, report=report)) is PaymentStatus.SETTLED
    assert await status_after(event(3, report=report)) is PaymentStatus.SETTLED
    report.status = gateway_pb2.BANK_STATUS_RETURNED
    assert await status_after(event(4, report=report)) is PaymentStatus.RETURNED


async def test_what_a_stop_held_waits_long_and_is_due_at_once_when_a_stop_is_lifted(
    payment_database: Database,
) -> None:
    instruction_id = (await payment_database.run(released)).payment.instruction_id
    effects = NoticeEffects(FixedClock(NOW), PACING)

    async def found() -> Payment:
        payment = await payment_database.read(lambda c: SqlPaymentStore(c).get(instruction_id=instruction_id))
        assert payment is not None
        return payment

    reason = StatusReason("STOPPED", "", "bank demo_bank stopped by li.si: 账户疑似被盗")
    await payment_database.run(lambda c: told(c, instruction_id, BankWord.NOT_SENT, reason))
    held = await found()
    assert (held.status, held.reason.code) == (PaymentStatus.SCHEDULED, "STOPPED")
    assert "li.si" in held.reason.text
    assert held.next_action_at is not None
    assert held.next_action_at > NOW
    await payment_database.run(lambda c: effects.take(c, [event(1, refusal="STOP_PULLED")]))
    assert (await found()).next_action_at == held.next_action_at
    await payment_database.run(lambda c: effects.take(c, [event(2, refusal="STOP_LIFTED")]))
    assert (await found()).next_action_at == NOW


def test_a_stop_is_tried_again_less_and_less_often_and_a_bank_that_is_away_more_often() -> None:
    pacing = Pacing()
    assert pacing.submission_delay(1, "STOPPED") == pacing.submission_delay(1)
    assert pacing.submission_delay(30, "STOPPED") == pacing.stopped_retry_max > pacing.submission_delay(30)
