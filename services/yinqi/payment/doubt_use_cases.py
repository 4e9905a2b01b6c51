"""What people do with the payments in their queue: one function per verb, one transaction each."""

from __future__ import annotations

from dataclasses import dataclass

from yinqi.kernel.errors import NotFound
from yinqi.payment.doubts import Doubt, Proposal, decide_doubt
from yinqi.payment.model import Pacing, Payment
from yinqi.payment.ports import PaymentStore


@dataclass(frozen=True, slots=True)
class DoubtDecided:
    """What a person's word brought about.

    Attributes:
        has_effect: a second person had said the same, so the decision holds; else it waits for one.
        is_news: this call changed something; False for words said before.
    """

    payment: Payment
    doubt: Doubt
    has_effect: bool
    is_news: bool


def resolve_doubt(end_to_end_id: str, proposal: Proposal, store: PaymentStore, *, pacing: Pacing) -> DoubtDecided:
    """Write down a person's decision on a payment in the queue; it takes effect with a second person's.

    Raises:
        NotFound: no payment has that id, or it never was in the queue.
        InvalidRequest, DecisionRefused, EvidenceInsufficient: see `decide_doubt`. Nothing was stored.
    """
    payment = store.lock_by_end_to_end_id([end_to_end_id]).get(end_to_end_id)
    doubt = store.find_doubts([payment.instruction_id]).get(payment.instruction_id) if payment else None
    if payment is None or doubt is None:
        raise NotFound(
            "DOUBT_NOT_FOUND",
            "No payment with that end_to_end_id is in the queue. See `yinqi doubts list`.",
            "待处理队列中没有该业务参考号的付款，请查看 `yinqi doubts list`。",
        )
    after, moves = decide_doubt(payment, doubt, proposal, pacing)
    if moves:
        store.save(moves)
        store.save_doubts([after])
        payment = moves[-1].payment
    has_effect = not after.is_open or bool(after.resend_attempt)
    return DoubtDecided(payment, after, has_effect, bool(moves))
