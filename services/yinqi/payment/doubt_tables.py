"""Rows ↔ values of the people's queue and of the permits. No decisions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from yinqi.payment.doubts import Decision, Doubt, DoubtReason, Proposal
from yinqi.payment.model import REFERENCE_MAX, NotFoundProof, RecordedPermit, bounded_text
from yinqi.payment.resend import ResendPermit

_MS = timedelta(milliseconds=1)
_NO_PROOF = {
    "queried_at": None,
    "archive_id": "",
    "control_reference": "",
    "control_seen": False,
    "safe_window_ms": 0,
}
_NO_PROPOSAL = {
    "decision": "",
    "document_reference": "",
    "account_servicer_reference": "",
    "booking_date": "",
    "note": "",
    "person": "",
    "proposed_at": None,
}


def doubt_row(doubt: Doubt) -> dict[str, Any]:
    """Return a place in the queue as a row."""
    proof, proposal = doubt.proof, doubt.proposal
    return {
        "instruction_id": doubt.instruction_id,
        "reason": doubt.reason.value,
        "attempt": doubt.attempt,
        "opened_at": doubt.opened_at,
        "closed_at": doubt.closed_at,
        "closing": doubt.closing,
        **(_proof_columns(proof) | {"control_seen": proof.control_seen} if proof else _NO_PROOF),
        **({name: getattr(proposal, name) for name in _NO_PROPOSAL} if proposal else _NO_PROPOSAL),
        "resend_attempt": doubt.resend_attempt,
    }


def doubt_of(row: Any) -> Doubt:
    """Read a row."""
    proof = proposal = None
    if row.queried_at is not None:
        proof = NotFoundProof(
            row.queried_at, row.archive_id, row.control_reference, bool(row.control_seen), row.safe_window_ms * _MS
        )
    if row.proposed_at is not None:
        proposal = Proposal(
            Decision(row.decision),
            row.document_reference,
            row.account_servicer_reference,
            row.booking_date,
            row.note,
            row.person,
            row.proposed_at,
        )
    return Doubt(
        row.instruction_id,
        DoubtReason(row.reason),
        row.attempt,
        row.opened_at,
        row.closed_at,
        row.closing,
        proof,
        proposal,
        row.resend_attempt,
    )


def permit_rows(permits: Sequence[ResendPermit], used_at: datetime, actor: str) -> list[dict[str, Any]]:
    """Return used permits as rows."""
    return [
        {
            "instruction_id": permit.instruction_id,
            "attempt": permit.attempt,
            "used_at": used_at,
            "expires_at": permit.expires_at,
            **_proof_columns(permit.proof),
            "actor": actor,
        }
        for permit in permits
    ]


def permits_from(rows: Collection[Any]) -> list[RecordedPermit]:
    """Read rows. A permit is only ever made where the control reference was seen."""
    return [
        RecordedPermit(
            row.attempt,
            row.used_at,
            row.expires_at,
            NotFoundProof(row.queried_at, row.archive_id, row.control_reference, True, row.safe_window_ms * _MS),
            row.actor,
        )
        for row in rows
    ]


def _proof_columns(proof: NotFoundProof) -> dict[str, Any]:
    return {
        "queried_at": proof.queried_at,
        "archive_id": bounded_text(proof.archive_id, REFERENCE_MAX),
        "control_reference": bounded_text(proof.control_reference, REFERENCE_MAX),
        "safe_window_ms": proof.safe_window // _MS,
    }
