"""What an approver is shown: words made on his own machine from the signed bytes, never from the service's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from yinqi.api.payment.v1 import order_pb2, payment_pb2, payment_service_pb2
from yinqi.kernel.money import Money
from yinqi.orders.evidence import signed_from
from yinqi.orders.line_tree import leaves_of, root_of, split
from yinqi.orders.order import SHOWN_MAX, Order, OrderInvalid, digest_of, read_line, read_order

_LARGEST = 20


class ShownOrder(NamedTuple):
    """An order and the text that a decision on it signs.

    Attributes:
        hidden: lines the service did not show.
        lines: those it showed, in the order's order.
    """

    order: Order
    digest: bytes
    text: str
    approval: order_pb2.Approval
    hidden: int
    lines: tuple[payment_pb2.PaymentInstruction, ...]


def shown_order(response: payment_service_pb2.GetApprovalResponse) -> ShownOrder:
    """Prove the lines against the order and put both into words.

    Lines that were refused on intake are not there and are never paid; all that are there must be what was signed.

    Raises:
        OrderInvalid: the lines are not those of the order.
    """
    evidence = response.approval.evidence
    signed = signed_from(evidence.order)
    order, leaves = read_order(signed), split(evidence.leaves)
    found = leaves_of(list(response.lines)) if response.lines else []
    differs = any(line and leaf != other for line, leaf, other in zip(response.lines, found, leaves, strict=False))
    if (
        differs
        or len(found) != order.line_count
        or len(leaves) != order.line_count
        or root_of(leaves) != order.lines_root
    ):
        raise OrderInvalid(
            "LINES_NOT_SIGNED",
            f"The service shows lines that are not those signed in order {order.order_id}. Approve nothing and call "
            "whoever runs the service: its database was changed.",
            "所示明细与签名不符，请勿审批并立即报警。",
        )
    lines = [read_line(line, number) for number, line in enumerate(response.lines, 1) if line]
    hidden = order.line_count - len(lines)
    return ShownOrder(order, digest_of(signed.content), _text(order, lines), response.approval, hidden, tuple(lines))


def _text(order: Order, lines: Sequence[payment_pb2.PaymentInstruction]) -> str:
    maker = f"{order.key_id} for {order.vouched_for}" if order.vouched_for else order.key_id
    accounts = Counter(line.debtor_account.identification for line in lines)
    totals = ", ".join(str(Money(currency, units)) for currency, units in sorted(order.totals.items()))
    words = [
        f"order {order.order_id} of {order.company}, made by {maker} at {order.created_at.isoformat()}",
        f"{order.line_count} lines, in all {totals}, from {', '.join(sorted(accounts))}",
    ]
    if len(lines) < order.line_count:
        words.append(f"{order.line_count - len(lines)} of them were refused on intake, or are not shown")
    largest = sorted(lines, key=lambda line: -line.instructed_amount.minor_units)
    for line in largest[:_LARGEST]:
        amount = Money(line.instructed_amount.currency, line.instructed_amount.minor_units)
        words.append(f"{line.end_to_end_id}: {amount} to {line.creditor.name} {line.creditor_account.identification}")
    if len(largest) > _LARGEST:
        words.append(f"and {len(largest) - _LARGEST} smaller ones")
    return "\n".join(words)[:SHOWN_MAX]
