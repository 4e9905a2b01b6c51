"""The resend permit: the only way a payment in doubt may go out again, and it is made of evidence alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NoReturn, final

from yinqi.kernel.errors import FailedPrecondition
from yinqi.payment.model import NotFoundProof, Payment
from yinqi.payment.status import PaymentStatus

PERMIT_LIFETIME = timedelta(minutes=15)


class EvidenceInsufficient(FailedPrecondition):
    """The evidence does not show that the last attempt never counted. Query again; never resend."""


@final
class ResendPermit:
    """Leave to send one payment once more, with the same instruction_id, until it expires.

    It cannot be constructed, copied with changes or subclassed; `from_evidence` is its only maker.
    """

    __slots__ = ("_attempt", "_expires_at", "_instruction_id", "_proof")

    _instruction_id: str
    _attempt: int
    _proof: NotFoundProof
    _expires_at: datetime

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

    @property
    def expires_at(self) -> datetime:
        """From this instant on it is void."""
        return self._expires_at

    def still_holds(self, payment: Payment, now: datetime) -> bool:
        """Return whether the payment, as it stands now, may go out under it: its evidence is looked at once more."""
        fits = self._instruction_id == payment.instruction_id and self._attempt == payment.submission_attempts + 1
        return fits and now < self._expires_at and not missing_evidence(payment, self._proof, now)

    @classmethod
    def from_evidence(
        cls, payment: Payment, proof: NotFoundProof, now: datetime, lifetime: timedelta = PERMIT_LIFETIME
    ) -> ResendPermit:
        """Make the permit for the payment's next attempt.

        Args:
            lifetime: from the question on; older evidence makes none.

        Raises:
            EvidenceInsufficient: the payment is not in doubt, the bank's query could not see, it came before the
                safe window was over, or it is not on record.
        Source: an empty query answer also means a missing right to query or a window; banks warn that taking it for
            "never received" pays twice. Hence the control reference and the safe window (design, idea 4).
        """
        missing = missing_evidence(payment, proof, now, lifetime)
        if missing:
            raise EvidenceInsufficient(
                missing[0],
                f"Payment {payment.instruction_id} may not be sent again: {', '.join(missing)}.",
                f"付款 {payment.instruction_id} 的证据不足，不得重发：{'、'.join(missing)}。",
            )
        permit = object.__new__(cls)
        object.__setattr__(permit, "_instruction_id", payment.instruction_id)
        object.__setattr__(permit, "_attempt", payment.submission_attempts + 1)
        object.__setattr__(permit, "_proof", proof)
        object.__setattr__(permit, "_expires_at", proof.queried_at + lifetime)
        return permit


def earliest_evidence_at(payment: Payment, proof: NotFoundProof) -> datetime | None:
    """Return when a question may first bring sound evidence, if the safe window is all that is missing now."""
    if payment.last_submitted_at is None:
        return None
    at = payment.last_submitted_at + proof.safe_window
    later = replace(proof, queried_at=at)
    return at if proof.queried_at < at and not missing_evidence(payment, later, at) else None


def missing_evidence(
    payment: Payment, proof: NotFoundProof | None, now: datetime, lifetime: timedelta | None = None
) -> tuple[str, ...]:
    """Return what stands between a payment and a permit, as stable codes, the gravest first; () for nothing.

    Args:
        proof: the last empty answer of the bank; None: there is none.
        lifetime: None does not look at the evidence's age.
    """
    found = []
    if payment.status is not PaymentStatus.UNKNOWN:
        found.append("NOT_IN_DOUBT")
    if payment.contradiction:
        found.append("CONTRADICTED")
    if payment.last_submitted_at is None or payment.submission_attempts < 1:
        found.append("NEVER_SUBMITTED")
    if proof is None:
        return (*found, "NO_EMPTY_ANSWER")
    # `is not True`: a truthy something from outside is no evidence.
    if proof.control_seen is not True or proof.control_reference in ("", payment.instruction_id):
        found.append("CONTROL_NOT_SEEN")
    if not proof.archive_id:
        found.append("ANSWER_NOT_ARCHIVED")
    if proof.safe_window <= timedelta(0):
        found.append("NO_SAFE_WINDOW")
    if proof.queried_at > now:
        found.append("QUERIED_IN_THE_FUTURE")
    if payment.last_submitted_at is not None and proof.queried_at < payment.last_submitted_at + proof.safe_window:
        found.append("INSIDE_SAFE_WINDOW")
    if lifetime is not None and now >= proof.queried_at + lifetime:
        found.append("EVIDENCE_EXPIRED")
    return tuple(found)
