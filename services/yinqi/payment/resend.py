"""The resend permit: the only way a payment in doubt may go out again, and it is made of evidence alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NoReturn, final

from yinqi.kernel.errors import FailedPrecondition
from yinqi.payment.model import NotFoundProof, Payment
from yinqi.payment.status import PaymentStatus


class EvidenceInsufficient(FailedPrecondition):
    """The evidence does not show that the last attempt never counted. Query again; never resend."""


@final
class ResendPermit:
    """Leave to send one payment once more, with the same instruction_id.

    It cannot be constructed, copied with changes or subclassed; `from_evidence` is its only maker.
    """

    __slots__ = ("_attempt", "_instruction_id", "_proof")

    _instruction_id: str
    _attempt: int
    _proof: NotFoundProof

    def __init__(self) -> None:
        raise TypeError("a ResendPermit is made by ResendPermit.from_evidence only")

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("ResendPermit cannot be subclassed")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a ResendPermit cannot be changed")

    @property
    def instruction_id(self) -> str:
        """The payment."""
        return self._instruction_id

    @property
    def attempt(self) -> int:
        """The attempt it allows; no other."""
        return self._attempt

    @property
    def proof(self) -> NotFoundProof:
        """The evidence it was made of."""
        return self._proof

    @classmethod
    def from_evidence(cls, payment: Payment, proof: NotFoundProof, now: datetime) -> ResendPermit:
        """Make the permit for the payment's next attempt.

        Raises:
            EvidenceInsufficient: the payment is not in doubt, the bank's query could not see, it came before the
                safe window was over, or it is not on record.
        Source: an empty query answer also means a missing right to query or a window; banks warn that taking it for
            "never received" pays twice. Hence the control reference and the safe window (design, idea 4).
        """
        problem = _problem(payment, proof, now)
        if problem:
            raise EvidenceInsufficient(problem, f"Payment {payment.instruction_id} may not be sent again: {problem}.")
        permit = object.__new__(cls)
        object.__setattr__(permit, "_instruction_id", payment.instruction_id)
        object.__setattr__(permit, "_attempt", payment.submission_attempts + 1)
        object.__setattr__(permit, "_proof", proof)
        return permit


def earliest_evidence_at(payment: Payment, proof: NotFoundProof) -> datetime | None:
    """Return when a question may first bring sound evidence, if the safe window is all that is missing now."""
    if payment.last_submitted_at is None:
        return None
    at = payment.last_submitted_at + proof.safe_window
    later = replace(proof, queried_at=at)
    return at if proof.queried_at < at and not _problem(payment, later, at) else None


def _problem(payment: Payment, proof: NotFoundProof, now: datetime) -> str:
    """Return why the evidence falls short, as a stable code; "" if it does not."""
    if payment.status is not PaymentStatus.UNKNOWN:
        return "NOT_IN_DOUBT"
    if payment.contradiction:
        return "CONTRADICTED"
    if payment.last_submitted_at is None or payment.submission_attempts < 1:
        return "NEVER_SUBMITTED"
    # `is not True`: a truthy something from outside is no evidence.
    if proof.control_seen is not True or proof.control_reference in ("", payment.instruction_id):
        return "CONTROL_NOT_SEEN"
    if not proof.archive_id:
        return "ANSWER_NOT_ARCHIVED"
    if proof.safe_window <= timedelta(0):
        return "NO_SAFE_WINDOW"
    if proof.queried_at > now:
        return "QUERIED_IN_THE_FUTURE"
    if proof.queried_at < payment.last_submitted_at + proof.safe_window:
        return "INSIDE_SAFE_WINDOW"
    return ""
