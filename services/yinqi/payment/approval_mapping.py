"""Protobuf ↔ orders and their approval. No decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from yinqi.api.payment.v1 import order_pb2
from yinqi.orders.evidence import Evidence, evidence_to
from yinqi.orders.keys import Signed
from yinqi.orders.policy import Need
from yinqi.payment.mapping import STATUS_NUMBER, timestamp
from yinqi.payment.model import Payment, PaymentOrder


def approval_to(
    order: PaymentOrder, evidence: Evidence, payments: Sequence[Payment], missing: Sequence[Need]
) -> order_pb2.Approval:
    """Return where an order stands."""
    counts = Counter(payment.status for payment in payments)
    return order_pb2.Approval(
        evidence=evidence_to(evidence),
        order_digest=order.record.digest,
        received_at=timestamp(order.received_at),
        counts=[
            order_pb2.ApprovalCount(status=STATUS_NUMBER[status], count=count)
            for status, count in sorted(counts.items())
        ],
        missing=[order_pb2.MissingApproval(role=need.role, count=need.people) for need in missing],
    )


def decision_from(message: order_pb2.SignedDecision) -> Signed:
    """Read a signed decision; nothing of it is believed yet."""
    return Signed(message.decision, message.key_id, message.signature)
