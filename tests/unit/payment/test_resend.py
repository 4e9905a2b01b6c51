"""A permit is made of evidence alone."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta

import pytest
from payment_builders import NOW, payment, proof

from yinqi.payment.model import NotFoundProof, Payment
from yinqi.payment.resend import EvidenceInsufficient, ResendPermit
from yinqi.payment.status import PaymentStatus

LATER = NOW + timedelta(minutes=1)
IN_DOUBT = payment(PaymentStatus.UNKNOWN)


def test_sound_evidence_makes_a_permit_for_the_next_attempt():
    permit = ResendPermit.from_evidence(IN_DOUBT, proof(), LATER)
    assert (permit.instruction_id, permit.attempt, permit.proof) == ("PI0001", 2, proof())


@pytest.mark.parametrize(
    ("subject", "evidence", "reason"),
    [
        (IN_DOUBT, proof(control_seen=False), "CONTROL_NOT_SEEN"),
        (IN_DOUBT, proof(control_seen=1), "CONTROL_NOT_SEEN"),
        (IN_DOUBT, proof(control_reference=""), "CONTROL_NOT_SEEN"),
        (IN_DOUBT, proof(control_reference="PI0001"), "CONTROL_NOT_SEEN"),
        (IN_DOUBT, proof(archive_id=""), "ANSWER_NOT_ARCHIVED"),
        (IN_DOUBT, proof(safe_window=timedelta(0)), "NO_SAFE_WINDOW"),
        (IN_DOUBT, proof(queried_at=NOW + timedelta(seconds=29)), "INSIDE_SAFE_WINDOW"),
        (IN_DOUBT, proof(queried_at=NOW - timedelta(days=1)), "INSIDE_SAFE_WINDOW"),
        (IN_DOUBT, proof(queried_at=LATER + timedelta(seconds=1)), "QUERIED_IN_THE_FUTURE"),
        (payment(PaymentStatus.UNKNOWN, last_submitted_at=None), proof(), "NEVER_SUBMITTED"),
        (payment(PaymentStatus.UNKNOWN, contradiction="SETTLED"), proof(), "CONTRADICTED"),
    ],
)
def test_evidence_that_falls_short_makes_none(subject: Payment, evidence: NotFoundProof, reason: str):
    with pytest.raises(EvidenceInsufficient) as error:
        ResendPermit.from_evidence(subject, evidence, LATER)
    assert error.value.reason == reason


@pytest.mark.parametrize("status", [status for status in PaymentStatus if status is not PaymentStatus.UNKNOWN])
def test_only_a_payment_in_doubt_gets_one(status: PaymentStatus):
    with pytest.raises(EvidenceInsufficient, match="NOT_IN_DOUBT"):
        ResendPermit.from_evidence(payment(status), proof(), LATER)


def test_no_other_way_builds_or_changes_one():
    permit = ResendPermit.from_evidence(IN_DOUBT, proof(), LATER)
    with pytest.raises(TypeError):
        ResendPermit()
    with pytest.raises(TypeError):
        ResendPermit("PI0001", 2, proof())  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        type("Forged", (ResendPermit,), {})
    with pytest.raises(AttributeError):
        permit._attempt = 3  # type: ignore[misc]
    for build in (copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            build(permit)
