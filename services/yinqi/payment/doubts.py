"""The people's queue: payments whose fate nobody can prove, what is known of them, and the decisions of two people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from yinqi.kernel.errors import FailedPrecondition, FieldViolation, InvalidRequest
from yinqi.payment.model import (
    REFERENCE_MAX,
    Move,
    NotFoundProof,
    Pacing,
    Payment,
    StatusReason,
    bounded_text,
    is_iso_date,
)
from yinqi.payment.resend import EvidenceInsufficient, missing_evidence
from yinqi.payment.status import PaymentStatus, StatusEvent, advance, can_advance

NOTE_MAX = 280
NEEDS_PERSON = "NEEDS_PERSON"


class DoubtReason(StrEnum):
    """Why a payment needs people."""

    # The bank said something that does not fit what it had said before.
    CONTRADICTION = "CONTRADICTION"
    # Asked as often, or waited as long, as the settings allow, and still UNKNOWN.
    QUERIES_EXHAUSTED = "QUERIES_EXHAUSTED"
    UNKNOWN_TOO_LONG = "UNKNOWN_TOO_LONG"
    # The bank has it and never ends it.
    PROCESSING_TOO_LONG = "PROCESSING_TOO_LONG"
    # Proven absent once more, but it was sent again as often as the settings allow.
    RESENDS_EXHAUSTED = "RESENDS_EXHAUSTED"


class Decision(StrEnum):
    """What two people may decide."""

    DECLARE_SETTLED = "DECLARE_SETTLED"
    DECLARE_FAILED = "DECLARE_FAILED"
    ALLOW_RESEND = "ALLOW_RESEND"


_EVENTS = {
    Decision.DECLARE_SETTLED: StatusEvent.DECLARED_SETTLED,
    Decision.DECLARE_FAILED: StatusEvent.DECLARED_FAILED,
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """One person's decision, with the proof it stands on.

    Attributes:
        document_reference: of what the bank wrote or the statement says (letter, statement and entry number).
        account_servicer_reference: the bank's serial of the debit.
        booking_date: the bank's, ISO 8601: of the debit, or of the money's return.
    """

    decision: Decision
    document_reference: str
    account_servicer_reference: str
    booking_date: str
    note: str
    person: str
    proposed_at: datetime

    @property
    def claims(self) -> tuple[str, ...]:
        """What a second person must say as well."""
        return (self.decision, self.document_reference, self.account_servicer_reference, self.booking_date)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A payment in the people's queue. The order of the fields is the order of the table's columns.

    Attributes:
        attempt: the attempt that is in doubt.
        closed_at: None while it waits for people; `closing` says what ended it.
        proof: the bank's last empty answer about that attempt.
        proposal: the first person's decision; once closed by people, the one that took effect.
        resend_attempt: the attempt that two people allowed beyond the limit of resends, 0 for none.
    """

    instruction_id: str
    reason: DoubtReason
    attempt: int
    opened_at: datetime
    closed_at: datetime | None = None
    closing: str = ""
    proof: NotFoundProof | None = None
    proposal: Proposal | None = None
    resend_attempt: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it waits for people."""
        return self.closed_at is None


class DecisionRefused(FailedPrecondition):
    """The payment or the evidence does not allow that decision. Nothing changed."""


# --- into the queue, and out of it by the bank's word ---------------------------------------------------------------


def may_be_in_queue(payment: Payment, now: datetime, pacing: Pacing) -> bool:
    """Return whether the queue must be looked at for it; most payments never get there."""
    return (
        payment.status is PaymentStatus.UNKNOWN
        or bool(payment.contradiction)
        or _is_processing_too_long(payment, now, pacing)
    )


def follow_doubt(
    payment: Payment,
    earlier: Doubt | None,
    *,
    proof: NotFoundProof | None,
    queries: int,
    is_contradicted: bool,
    now: datetime,
    pacing: Pacing,
) -> Doubt | None:
    """Return the payment's place in the queue after the bank was heard: opened, with newer evidence, or closed.

    Args:
        payment: after the reports. proof: an empty answer about its present attempt, if that is what came.
        queries: how often its present status was asked about.
        is_contradicted: a word that does not fit came just now.
    """
    is_open = earlier is not None and earlier.is_open
    if is_contradicted and not (is_open and earlier and earlier.reason is DoubtReason.CONTRADICTION):
        return _opened(payment, DoubtReason.CONTRADICTION, proof, now)
    reason = _reason(payment, earlier, proof, queries, now, pacing)
    if earlier is None or not earlier.is_open:
        return _opened(payment, reason, proof, now) if reason else earlier
    if earlier.reason is not DoubtReason.CONTRADICTION and not _stays(payment, earlier):
        return closed(earlier, payment, now)
    return replace(earlier, proof=proof) if proof else earlier


def _opened(payment: Payment, reason: DoubtReason, proof: NotFoundProof | None, now: datetime) -> Doubt:
    return Doubt(payment.instruction_id, reason, payment.submission_attempts, now, proof=proof)


def closed(doubt: Doubt, payment: Payment, now: datetime) -> Doubt:
    """Return it out of the queue; what the payment became is the reason."""
    return replace(doubt, closed_at=now, closing=str(payment.status))


def _stays(payment: Payment, doubt: Doubt) -> bool:
    wanted = PaymentStatus.PROCESSING if doubt.reason is DoubtReason.PROCESSING_TOO_LONG else PaymentStatus.UNKNOWN
    return payment.status is wanted


def _reason(
    payment: Payment,
    earlier: Doubt | None,
    proof: NotFoundProof | None,
    queries: int,
    now: datetime,
    pacing: Pacing,
) -> DoubtReason | None:
    if _is_processing_too_long(payment, now, pacing):
        return DoubtReason.PROCESSING_TOO_LONG
    if payment.status is not PaymentStatus.UNKNOWN:
        return None
    if proof and not may_resend(payment, earlier, pacing) and not missing_evidence(payment, proof, now):
        return DoubtReason.RESENDS_EXHAUSTED
    if queries >= pacing.doubt_queries:
        return DoubtReason.QUERIES_EXHAUSTED
    sent_at = payment.last_submitted_at or payment.updated_at
    return DoubtReason.UNKNOWN_TOO_LONG if now >= sent_at + pacing.doubt_after else None


def _is_processing_too_long(payment: Payment, now: datetime, pacing: Pacing) -> bool:
    sent_at = payment.last_submitted_at or payment.updated_at
    return payment.status is PaymentStatus.PROCESSING and now >= sent_at + pacing.processing_doubt_after


def may_resend(payment: Payment, doubt: Doubt | None, pacing: Pacing) -> bool:
    """Return whether evidence may send it again by itself, or because two people allowed that very attempt."""
    next_attempt = payment.submission_attempts + 1
    if payment.submission_attempts <= pacing.resends_max:
        return True
    return doubt is not None and doubt.is_open and doubt.resend_attempt == next_attempt


def doubted_move(payment: Payment, doubt: Doubt, actor: str) -> Move:
    """Return the journal line that says that people must look; the payment itself stays as it is."""
    text = f"{doubt.reason}. A person must look: yinqi doubts show {payment.end_to_end_id}"
    return Move("payment.doubted", payment.status, payment, StatusReason(NEEDS_PERSON, "", text).bounded(), actor)


# --- decisions of people --------------------------------------------------------------------------------------------


def allowed_decisions(payment: Payment, doubt: Doubt, now: datetime, pacing: Pacing) -> tuple[Decision, ...]:
    """Return what two people may decide as things stand."""
    if not doubt.is_open:
        return ()
    declared = [decision for decision, event in _EVENTS.items() if can_advance(payment.status, event)]
    is_proven = not missing_evidence(payment, doubt.proof, now, pacing.permit_lifetime)
    return (*declared, Decision.ALLOW_RESEND) if is_proven else tuple(declared)


def decide_doubt(payment: Payment, doubt: Doubt, proposal: Proposal, pacing: Pacing) -> tuple[Doubt, list[Move]]:
    """Return what a person's word does: the first proposes, a second one who says the same makes it so.

    Raises:
        InvalidRequest: the decision lacks what it must stand on.
        DecisionRefused, EvidenceInsufficient: the payment or the evidence does not allow it.
    """
    now = proposal.proposed_at
    if not doubt.is_open:
        if doubt.proposal and doubt.proposal.claims == proposal.claims:
            return doubt, []  # said again
        raise DecisionRefused(
            "DOUBT_CLOSED",
            f"The payment has left the queue; it became {doubt.closing}. Look at its journal.",
            f"该笔付款已不在待处理队列中，结果为 {doubt.closing}，请查看流转记录。",
        )
    _check_fields(payment, proposal)
    _check_allowed(payment, doubt, proposal.decision, now, pacing)
    first = doubt.proposal
    if first is None or first.claims != proposal.claims:
        text = f"{_spoken(proposal)}. Waits for a second person."
        reason = StatusReason("DECISION_PROPOSED", "", text).bounded()
        return replace(doubt, proposal=proposal), [
            Move("payment.decision_proposed", payment.status, payment, reason, proposal.person)
        ]
    if first.person == proposal.person:
        return doubt, []  # The same person again is still one person.
    return _take_effect(payment, doubt, first, proposal)


def _take_effect(payment: Payment, doubt: Doubt, first: Proposal, second: Proposal) -> tuple[Doubt, list[Move]]:
    now = second.proposed_at
    text = f"{_spoken(first)}; confirmed by {second.person}. {first.note} {second.note}".strip()
    if first.decision is Decision.ALLOW_RESEND:
        reason = StatusReason("RESEND_ALLOWED", "", text).bounded()
        after = replace(
            payment, updated_at=now, next_action_at=now
        )  # The worker asks once more and acts on the answer.
        allowed = replace(doubt, resend_attempt=payment.submission_attempts + 1)
        return allowed, [Move("payment.resend_allowed", payment.status, after, reason, second.person)]
    event = _EVENTS[first.decision]
    status = advance(payment.status, event)
    reason = StatusReason(event.value, "", text).bounded()
    after = payment.moved(status, now, reason=reason, **_facts(payment, first, status))  # type: ignore[arg-type]
    name = "payment.decided" if status is payment.status else f"payment.{status.lower()}"
    return closed(doubt, after, now), [Move(name, payment.status, after, reason, second.person)]


def _facts(payment: Payment, proposal: Proposal, status: PaymentStatus) -> dict[str, object]:
    facts: dict[str, object] = {}
    if proposal.account_servicer_reference and not payment.account_servicer_reference:
        facts["account_servicer_reference"] = proposal.account_servicer_reference
    if status is PaymentStatus.SETTLED and not payment.settlement_date:
        facts["settlement_date"] = proposal.booking_date
    if status is PaymentStatus.RETURNED and not payment.return_date:
        facts["return_date"] = proposal.booking_date
    return facts


def _spoken(proposal: Proposal) -> str:
    parts = [f"{proposal.decision} on {proposal.document_reference}"]
    if proposal.account_servicer_reference:
        parts.append(f"bank serial {proposal.account_servicer_reference}")
    if proposal.booking_date:
        parts.append(f"booked {proposal.booking_date}")
    return f"{', '.join(parts)}, by {proposal.person}"


def _check_allowed(payment: Payment, doubt: Doubt, decision: Decision, now: datetime, pacing: Pacing) -> None:
    if decision is Decision.ALLOW_RESEND:
        missing = missing_evidence(payment, doubt.proof, now, pacing.permit_lifetime)
        if missing:
            raise EvidenceInsufficient(
                "EVIDENCE_INSUFFICIENT",
                f"Nobody may allow a resend without proof. Missing: {', '.join(missing)}. If the bank says in writing "
                "that it never had it, declare it failed and order it anew.",
                f"缺少证明，任何人不得允许重发：{'、'.join(missing)}。如银行书面确认未收到，请按失败处理后重新下单。",
                metadata={"missing": ",".join(missing)},
            )
    elif not can_advance(payment.status, _EVENTS[decision]):
        raise DecisionRefused(
            "DECISION_NOT_ALLOWED",
            f"A payment that is {payment.status} cannot be given {decision}.",
            f"状态为 {payment.status} 的付款不能作 {decision} 处理。",
            metadata={"status": str(payment.status)},
        )


def _check_fields(payment: Payment, proposal: Proposal) -> None:
    wrong: list[FieldViolation] = []
    for field, longest, is_needed in (
        ("document_reference", REFERENCE_MAX, True),
        ("account_servicer_reference", REFERENCE_MAX, proposal.decision is Decision.DECLARE_SETTLED),
        ("note", NOTE_MAX, False),
    ):
        text = getattr(proposal, field)
        if len(text) > longest or text != bounded_text(text, longest) or (is_needed and not text.strip()):
            wrong.append(
                FieldViolation(
                    field,
                    "TEXT_INVALID" if text.strip() else "MISSING",
                    f"{field} must be {'1' if is_needed else '0'} to {longest} printable characters: "
                    "it is the proof that auditors will read.",
                    f"须为 {'1' if is_needed else '0'} 至 {longest} 个可打印字符，供审计查验。",
                )
            )
    needs_date = proposal.decision is Decision.DECLARE_SETTLED or (
        proposal.decision is Decision.DECLARE_FAILED and payment.status is PaymentStatus.SETTLED
    )
    if (needs_date or proposal.booking_date) and not is_iso_date(proposal.booking_date):
        wrong.append(
            FieldViolation(
                "booking_date",
                "DATE_INVALID" if proposal.booking_date else "MISSING",
                "booking_date must be the bank's booking date, such as 2026-11-30.",
                "须为银行记账日，如 2026-11-30。",
            )
        )
    if wrong:
        raise InvalidRequest("FIELD_INVALID", wrong[0].description, wrong[0].description_zh, wrong)
