"""Protobuf ↔ the people's queue. No decisions."""

from __future__ import annotations

from datetime import datetime, timedelta

from yinqi.api.payment.v1 import doubt_pb2, payment_service_pb2
from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.payment.doubts import Decision, Doubt, DoubtReason, Proposal, allowed_decisions
from yinqi.payment.mapping import payment_to, timestamp
from yinqi.payment.model import NotFoundProof, Pacing, Payment, RecordedPermit
from yinqi.payment.resend import missing_evidence

_REASONS = {reason: doubt_pb2.DoubtReason.Value(f"DOUBT_REASON_{reason.value}") for reason in DoubtReason}
_DECISIONS = {one: doubt_pb2.DoubtDecision.Value(f"DOUBT_DECISION_{one.value}") for one in Decision}
_DECISION_OF = {number: decision for decision, number in _DECISIONS.items()}


def doubt_to(payment: Payment, doubt: Doubt, now: datetime, pacing: Pacing) -> doubt_pb2.Doubt:
    """Return a place in the queue with all that is known."""
    is_open = doubt.is_open
    return doubt_pb2.Doubt(
        payment=payment_to(payment),
        reason=_REASONS[doubt.reason],
        attempt=doubt.attempt,
        opened_at=timestamp(doubt.opened_at),
        closed_at=timestamp(doubt.closed_at) if doubt.closed_at else None,
        closing=doubt.closing,
        evidence=evidence_to(doubt.proof) if doubt.proof else None,
        missing_for_permit=missing_evidence(payment, doubt.proof, now, pacing.permit_lifetime) if is_open else (),
        allowed_decisions=[_DECISIONS[one] for one in allowed_decisions(payment, doubt, now, pacing)],
        proposal=_proposal_to(doubt.proposal) if doubt.proposal else None,
        contradiction=payment.contradiction,
        queries=payment.step_tries,
    )


def evidence_to(proof: NotFoundProof) -> doubt_pb2.AbsenceEvidence:
    """Return the bank's empty answer."""
    return doubt_pb2.AbsenceEvidence(
        queried_at=timestamp(proof.queried_at),
        archive_id=proof.archive_id,
        control_reference=proof.control_reference,
        control_seen=proof.control_seen,
        safe_window_ms=proof.safe_window // timedelta(milliseconds=1),
    )


def _proposal_to(proposal: Proposal) -> doubt_pb2.DoubtProposal:
    return doubt_pb2.DoubtProposal(
        decision=_DECISIONS[proposal.decision],
        document_reference=proposal.document_reference,
        account_servicer_reference=proposal.account_servicer_reference,
        booking_date=proposal.booking_date,
        note=proposal.note,
        person=proposal.person,
        proposed_at=timestamp(proposal.proposed_at),
    )


def permit_to(permit: RecordedPermit) -> doubt_pb2.ResendPermit:
    """Return a permit that was used."""
    return doubt_pb2.ResendPermit(
        attempt=permit.attempt,
        used_at=timestamp(permit.used_at),
        expires_at=timestamp(permit.expires_at),
        evidence=evidence_to(permit.proof),
        actor=permit.actor,
    )


def proposal_from(message: payment_service_pb2.ResolveDoubtRequest, person: str, now: datetime) -> Proposal:
    """Read a person's decision; its fields may be wrong still.

    Raises:
        InvalidRequest: the decision is none that this version knows.
    """
    decision = _DECISION_OF.get(message.decision)
    if decision is None:
        names = ", ".join(Decision)
        violation = FieldViolation("decision", "VALUE_UNKNOWN", f"decision must be one of {names}.", f"须为 {names}。")
        raise InvalidRequest("FIELD_INVALID", violation.description, violation.description_zh, [violation])
    return Proposal(
        decision,
        message.document_reference.strip(),
        message.account_servicer_reference.strip(),
        message.booking_date.strip(),
        message.note.strip(),
        person,
        now,
    )
