"""Protobuf ↔ orders and their approval. No decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from yinqi.api.payment.v1 import order_pb2
from yinqi.orders.evidence import Evidence, evidence_to
from yinqi.orders.keys import Signed
from yinqi.payment.approvals import KnownOrder, waits_for_people
from yinqi.payment.mapping import STATUS_NUMBER, timestamp
from yinqi.payment.model import Payment, PaymentOrder


def approval_to(
    order: PaymentOrder, evidence: Evidence, payments: Sequence[Payment], known: KnownOrder
) -> order_pb2.Approval:
    """Return where an order stands."""
    nameable = [one for one in payments if waits_for_people(one) and one.category_purpose != "SALA"]
    largest = max(nameable, key=lambda payment: payment.amount_minor_units, default=None)
    counts = Counter(payment.status for payment in payments)
    return order_pb2.Approval(
        evidence=evidence_to(evidence),
        order_digest=order.record.digest,
        received_at=timestamp(order.received_at),
        counts=[
            order_pb2.ApprovalCount(status=STATUS_NUMBER[status], count=count)
            for status, count in sorted(counts.items())
        ],
        missing=[
            order_pb2.MissingApproval(role=one.need.role, count=one.need.people, people=one.people)
            for one in known.lacking
        ],
        maker=known.maker,
        given=[
            order_pb2.GivenDecision(
                person=one.vote.person,
                decision=order_pb2.DECISION_APPROVE if one.vote.approves else order_pb2.DECISION_REFUSE,
                decided_at=timestamp(one.vote.at),
                counts=one.counts,
            )
            for one in known.given
        ],
        largest_creditor=largest.creditor_name if largest is not None else "",
        needs_one_time_code=known.needs_code,
        obstacles=[
            order_pb2.ApprovalObstacle(reason=one.reason, text=one.text, count=one.lines) for one in known.obstacles
        ],
    )


def decision_from(message: order_pb2.SignedDecision) -> Signed:
    """Read a signed decision; nothing of it is believed yet."""
    return Signed(message.decision, message.key_id, message.signature)
