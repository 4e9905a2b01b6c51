"""What follows from an instruction or a report: pure functions from values to moves."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from yinqi.kernel.clock import BANK_ZONE
from yinqi.payment.model import (
    NO_REASON,
    AlreadyRecorded,
    BankWord,
    EndToEndIdReused,
    Move,
    NewPayment,
    Pacing,
    Payment,
    RecordedKey,
    StatusReason,
    StatusReport,
    bounded_text,
    is_iso_date,
)
from yinqi.payment.model import REFERENCE_MAX as _REFERENCE_MAX
from yinqi.payment.status import IN_FLIGHT, PaymentStatus, StatusEvent, advance, can_advance

_EVENT_OF_WORD = {
    BankWord.PROCESSING: StatusEvent.BANK_PROCESSING,
    BankWord.UNKNOWN: StatusEvent.NO_ANSWER,
    BankWord.SETTLED: StatusEvent.BANK_SETTLED,
    BankWord.REJECTED: StatusEvent.BANK_REJECTED,
    BankWord.RETURNED: StatusEvent.BANK_RETURNED,
}
# The gateway's reason when the bank itself, in a verified answer, says that it does not know.
_SUSPICIOUS = "SUSPICIOUS"
# Words that show that the bank has or had the payment: they count whichever attempt they speak of.
_WORDS_OF_HAVING = frozenset({BankWord.PROCESSING, BankWord.SETTLED, BankWord.RETURNED})
# What NOT_SENT may be heard of: sent, and neither answered by the bank nor given up.
_OPEN_ATTEMPT = frozenset({PaymentStatus.SUBMITTING, PaymentStatus.UNKNOWN})
_INFERRED = StatusReason("INFERRED_FROM_RETURN", "", "The bank reported the return before the settlement.")


def decide_repeat(line: NewPayment, earlier: RecordedKey) -> AlreadyRecorded | EndToEndIdReused:
    """Return the answer to a line whose end_to_end_id is taken."""
    if line.request_hash == earlier.request_hash:
        return AlreadyRecorded(earlier.instruction_id, earlier.received_at)
    return EndToEndIdReused(line.instruction.end_to_end_id)


def decide_report(payment: Payment, report: StatusReport, now: datetime, pacing: Pacing, actor: str) -> list[Move]:
    """Return the moves a report causes, in order; none if it brings nothing new.

    A report never fails: what the table does not allow is written down as a contradiction and changes nothing else.
    """
    if report.word is BankWord.NOT_FOUND or _is_outdated(payment, report):
        return []
    if report.word is BankWord.NOT_SENT:
        return _not_sent(payment, report, now, pacing, actor)
    moves: list[Move] = []
    if report.word is BankWord.RETURNED and can_advance(payment.status, StatusEvent.BANK_SETTLED):
        # What came back has left: the settlement was missed, and the books need both.
        left_at = payment.last_submitted_at or now
        settled = replace(report, word=BankWord.SETTLED, reason=_INFERRED, booking_date=_bank_date(left_at))
        moves = _bank_word(payment, settled, now, pacing, actor)
        payment = moves[-1].payment if moves else payment
    return moves + _bank_word(payment, report, now, pacing, actor)


def _is_outdated(payment: Payment, report: StatusReport) -> bool:
    """A word about an earlier attempt says nothing of the present one, unless the bank has the payment."""
    return 0 < report.attempt < payment.submission_attempts and report.word not in _WORDS_OF_HAVING


def _not_sent(payment: Payment, report: StatusReport, now: datetime, pacing: Pacing, actor: str) -> list[Move]:
    # The gateway's record is final for one release of one attempt and says nothing of any other, however late it is heard.
    if payment.status not in _OPEN_ATTEMPT or not _is_of_this_release(payment, report):
        return []
    # A resend needs fresh evidence for its next try, so it goes back to UNKNOWN, not to SCHEDULED.
    is_first = payment.submission_attempts <= 1
    event = StatusEvent.NOT_SENT if is_first else StatusEvent.RESEND_NOT_SENT
    # Tries to send are counted while sending, questions while in doubt.
    tries = (
        payment.step_tries + 1 if payment.status is PaymentStatus.SUBMITTING else 1 if is_first else payment.step_tries
    )
    after = payment.moved(
        advance(payment.status, event),
        now,
        reason=report.reason.bounded(),
        next_action_at=now
        + (pacing.submission_delay(tries, report.reason.code) if is_first else pacing.query_interval),
        step_tries=tries,
        # The attempt came to nothing, so it does not count: more than 1 means a resend permit was used.
        submission_attempts=payment.submission_attempts - 1,
    )
    return [Move("payment.not_sent", payment.status, after, report.reason.bounded(), actor)]


def _is_of_this_release(payment: Payment, report: StatusReport) -> bool:
    return (report.attempt, report.release) == (payment.submission_attempts, payment.releases)


def _event_of(report: StatusReport) -> StatusEvent:
    if report.word is BankWord.UNKNOWN and report.reason.code == _SUSPICIOUS:
        return StatusEvent.BANK_SUSPICIOUS
    return _EVENT_OF_WORD[report.word]


def _bank_word(payment: Payment, report: StatusReport, now: datetime, pacing: Pacing, actor: str) -> list[Move]:
    event = _event_of(report)
    if not can_advance(payment.status, event):
        return _contradiction(payment, report, now, actor)
    status = advance(payment.status, event)
    reason = report.reason.bounded()
    facts = _facts(payment, report, status, now)
    if status is payment.status:
        return _learned(payment, facts, now, actor)
    is_open = status in (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN)
    after = payment.moved(
        status,
        now,
        reason=reason,
        next_action_at=(report.ask_after or now + pacing.first_query_delay) if is_open else None,
        **facts,  # type: ignore[arg-type]
    )
    return [Move(f"payment.{status.lower()}", payment.status, after, reason, actor)]


def _facts(payment: Payment, report: StatusReport, status: PaymentStatus, now: datetime) -> dict[str, object]:
    """Return what the report adds to the payment; what is known is never overwritten.

    A settled payment always has a settlement date and a returned one a return date, because books are kept by day:
    where the bank gives none, it is the day of its word.
    """
    facts: dict[str, object] = {}
    if report.account_servicer_reference and not payment.account_servicer_reference:
        facts["account_servicer_reference"] = bounded_text(report.account_servicer_reference, _REFERENCE_MAX)
    booking_date = report.booking_date if is_iso_date(report.booking_date) else _bank_date(now)
    if report.word is BankWord.SETTLED and not payment.settlement_date:
        facts["settlement_date"] = booking_date
    if report.word is BankWord.RETURNED and status is PaymentStatus.RETURNED and not payment.return_date:
        facts["return_date"] = booking_date
    return facts


def _bank_date(instant: datetime) -> str:
    return instant.astimezone(BANK_ZONE).date().isoformat()


def _learned(payment: Payment, facts: dict[str, object], now: datetime, actor: str) -> list[Move]:
    """The status stays; a reference or a date may be new."""
    if not facts:
        return []
    after = replace(payment, updated_at=now, **facts)  # type: ignore[arg-type]
    return [Move("payment.facts_learned", payment.status, after, NO_REASON, actor)]


def _contradiction(payment: Payment, report: StatusReport, now: datetime, actor: str) -> list[Move]:
    """A word that does not fit, e.g. SETTLED after REJECTED: noted once, for a person; the status stays."""
    if payment.contradiction == report.word:
        return []
    text = f"The bank says {report.word}, which does not fit {payment.status}. {report.reason.text}"
    reason = StatusReason("CONTRADICTION", report.reason.proprietary_code, text).bounded()
    # One that was not released must not be: the bank seems to have it.
    next_action_at = payment.next_action_at if payment.status in IN_FLIGHT else None
    after = replace(payment, updated_at=now, contradiction=str(report.word), next_action_at=next_action_at)
    return [Move("payment.contradicted", payment.status, after, reason, actor)]
