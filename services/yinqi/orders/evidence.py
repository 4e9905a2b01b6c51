"""From signed bytes to a verdict: which signatures hold, and what the policy says of each line under them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from google.protobuf.message import DecodeError

from yinqi.api.payment.v1 import order_pb2, payment_pb2
from yinqi.orders.keys import DECISION_CONTEXT, ORDER_CONTEXT, Signed, verify_all
from yinqi.orders.line_tree import leaves_of, root_of, split
from yinqi.orders.order import Order, OrderDecision, OrderInvalid, digest_of, read_decision, read_order
from yinqi.orders.policy import VOUCHER, OrderFacts, Payable, Refusal, Verdict, Vote, judge
from yinqi.orders.policy_file import SignedPolicy

DECISIONS_MAX = 50  # of one order; more people than that do not approve a payment
_CATEGORIES = {number: name.removeprefix("CATEGORY_PURPOSE_") for name, number in payment_pb2.CategoryPurpose.items()}


class Evidence(NamedTuple):
    """What is kept and sent of an order. `leaves`: the digests of all its lines, joined."""

    order: Signed
    leaves: bytes
    decisions: tuple[Signed, ...] = ()

    @property
    def digest(self) -> bytes:
        """What decisions and lines name it by."""
        return digest_of(self.order.content)


class CheckedOrder(NamedTuple):
    """An order whose signature holds, with the decisions whose signatures hold."""

    order: Order
    facts: OrderFacts
    leaves: tuple[bytes, ...]


class Line(NamedTuple):
    """One line somebody wants to send. `number`: from 1, its place in the order."""

    content: bytes
    order_digest: bytes
    number: int


Counted = Callable[[Payable], int]


def check_orders(found: Sequence[Evidence], signed: SignedPolicy) -> dict[bytes, CheckedOrder | str]:
    """Return each order as proven, by digest, or the reason why it is not; one batch of verifications per key."""
    keys = signed.public_keys()
    holds = verify_all(ORDER_CONTEXT, [one.order for one in found], keys)
    decisions = [(index, each) for index, one in enumerate(found) for each in one.decisions[:DECISIONS_MAX]]
    verdicts = verify_all(DECISION_CONTEXT, [each for _, each in decisions], keys)
    votes: dict[int, list[Vote]] = {}
    for (index, each), held in zip(decisions, verdicts, strict=True):
        vote = vote_of(each, found[index].digest, signed) if held else None
        if vote is not None:
            votes.setdefault(index, []).append(vote)
    return {
        one.digest: _checked(one, signed, tuple(votes.get(index, ()))) if held else "ORDER_SIGNATURE_INVALID"
        for index, (one, held) in enumerate(zip(found, holds, strict=True))
    }


def vote_of(decision: Signed, order_digest: bytes, signed: SignedPolicy) -> Vote | None:
    """Return a decision whose signature holds as a vote; None if it is of another order or its key was not valid."""
    try:
        said: OrderDecision = read_decision(decision)
    except OrderInvalid:
        return None
    key = signed.keys[decision.key_id]
    if said.order_digest != order_digest or not key.is_valid_at(said.decided_at):
        return None
    return Vote(key.person, said.approves, said.decided_at)


def _checked(one: Evidence, signed: SignedPolicy, votes: tuple[Vote, ...]) -> CheckedOrder | str:
    try:
        order = read_order(one.order)
    except OrderInvalid as error:
        return error.reason
    leaves = split(one.leaves)
    if len(leaves) != order.line_count or root_of(leaves) != order.lines_root:
        return "LEAVES_NOT_SIGNED"
    facts = facts_of(order, signed, votes)
    return facts if isinstance(facts, str) else CheckedOrder(order, facts, tuple(leaves))


def facts_of(order: Order, signed: SignedPolicy, votes: tuple[Vote, ...]) -> OrderFacts | str:
    """Return what the rules look at of an order whose signature holds, or why it counts for nothing."""
    key = signed.keys[order.key_id]
    if order.company != signed.policy.company:
        return "COMPANY_DIFFERS"
    if not key.is_valid_at(order.created_at):
        return "KEY_NOT_VALID"
    is_voucher = signed.policy.has_role(key.person, VOUCHER)
    if bool(order.vouched_for) != is_voucher:
        return "VOUCHER_ROLE_MISSING" if order.vouched_for else "VOUCHED_FOR_NOBODY"
    maker = order.vouched_for or key.person
    return OrderFacts(maker, is_voucher, order.created_at, tuple(sorted(order.totals.items())), votes)


def judge_lines(
    lines: Sequence[Line],
    orders: Mapping[bytes, CheckedOrder | str],
    signed: SignedPolicy,
    counted: Counted,
    now: datetime,
    passed: Callable[[Payable], None] | None = None,
) -> list[Verdict | str]:
    """Return for each line a verdict of the policy, or the reason why no signed order has it.

    Args:
        counted: minor units to the same creditor within the rule's window, the given line included; asked in order.
        passed: told of each line that may be sent, before the next is judged.
    """
    leaves = leaves_of([line.content for line in lines]) if lines else []
    return [_judged(line, leaf, orders, signed, counted, now, passed) for line, leaf in zip(lines, leaves, strict=True)]


def _judged(
    line: Line,
    leaf: bytes,
    orders: Mapping[bytes, CheckedOrder | str],
    signed: SignedPolicy,
    counted: Counted,
    now: datetime,
    passed: Callable[[Payable], None] | None,
) -> Verdict | str:
    order = orders.get(line.order_digest, "ORDER_MISSING")
    if isinstance(order, str):
        return order
    if not 1 <= line.number <= len(order.leaves) or order.leaves[line.number - 1] != leaf:
        return "LINE_NOT_SIGNED"
    try:
        payable = payable_of(payment_pb2.PaymentInstruction.FromString(line.content))
        verdict = judge(signed.policy, payable, order.facts, counted(payable), now)
        if verdict.passes and passed is not None:
            passed(payable)
        return verdict
    except (DecodeError, ValueError):  # Signed all the same; a maker's slip must not end the whole call.
        return "LINE_UNREADABLE"


def payable_of(message: payment_pb2.PaymentInstruction) -> Payable:
    """Return what the rules look at; an unset category is SUPP, as everywhere."""
    category = _CATEGORIES.get(message.category_purpose, "?")
    return Payable(
        message.debtor_account.identification,
        message.creditor_account.identification,
        "SUPP" if category == "UNSPECIFIED" else category,
        message.instructed_amount.currency,
        message.instructed_amount.minor_units,
        message.requested_execution_date,
    )


def evidence_from(message: order_pb2.OrderEvidence) -> Evidence:
    """Read what came."""
    return Evidence(
        signed_from(message.order),
        message.leaves,
        tuple(Signed(one.decision, one.key_id, one.signature) for one in message.decisions[: DECISIONS_MAX + 1]),
    )


def evidence_to(evidence: Evidence) -> order_pb2.OrderEvidence:
    """Write it out."""
    return order_pb2.OrderEvidence(
        order=signed_to(evidence.order),
        leaves=evidence.leaves,
        decisions=[
            order_pb2.SignedDecision(decision=one.content, key_id=one.key_id, signature=one.signature)
            for one in evidence.decisions
        ],
    )


def signed_from(message: order_pb2.SignedOrder) -> Signed:
    """Read a signed order."""
    return Signed(message.order, message.key_id, message.signature)


def signed_to(signed: Signed) -> order_pb2.SignedOrder:
    """Write a signed order."""
    return order_pb2.SignedOrder(order=signed.content, key_id=signed.key_id, signature=signed.signature)


WORDS: Mapping[str, tuple[str, str]] = {
    "ORDER_MISSING": ("no signed order came with it", "没有随附签名付款单"),
    "ORDER_SIGNATURE_INVALID": ("the order's signature does not hold", "付款单签名无效"),
    "LEAVES_NOT_SIGNED": ("the digests of the lines are not what was signed", "明细摘要与签名不符"),
    "LINE_NOT_SIGNED": ("the line is not the one that was signed", "明细与签名不符"),
    "LINE_UNREADABLE": ("the line cannot be read", "明细无法读取"),
    "COMPANY_DIFFERS": ("the order is another company's", "付款单属于其他公司"),
    "KEY_NOT_VALID": ("the key was not valid when the order was signed", "签名时密钥无效"),
    "VOUCHER_ROLE_MISSING": ("the key may not vouch for others", "该密钥不可代签"),
    "VOUCHED_FOR_NOBODY": ("the vouching key names nobody", "代签未注明调用者"),
    Refusal.NO_RULE: ("no rule of the policy is for this account, category and currency", "策略中没有适用的规则"),
    Refusal.SIGNATURE_REQUIRED: ("the policy wants the caller's own signature", "策略要求调用者本人签名"),
    Refusal.MAKER_ROLE_MISSING: ("the signer is no maker", "签名者没有经办角色"),
    Refusal.ORDER_FROM_FUTURE: ("the order is from the future: check the clocks", "付款单时间晚于当前时间，请检查时钟"),
    Refusal.ORDER_TOO_OLD: ("the order is too old to be released", "付款单已过期，不再放行"),
    Refusal.REFUSED_BY_APPROVER: ("an approver refused it", "审批人已拒绝"),
    Refusal.LIMIT_EXCEEDED: ("the amount is above what the policy allows at all", "金额超过策略上限"),
    "APPROVALS_MISSING": ("approvals are missing", "审批人数不足"),
}


def reason_of(verdict: Verdict | str) -> str:
    """Return the stable code of what stands in the way; "" if nothing does."""
    if isinstance(verdict, str):
        return verdict
    if verdict.refusal is not None:
        return verdict.refusal.value
    return "APPROVALS_MISSING" if verdict.missing else ""


def words_of(verdict: Verdict | str) -> str:
    """Return what stands in the way in words, both languages."""
    words, words_zh = WORDS.get(reason_of(verdict), ("it cannot be read", "无法读取"))
    missing = "" if isinstance(verdict, str) else ", ".join(f"{need.people} x {need.role}" for need in verdict.missing)
    return f"{words}{f': {missing}' if missing else ''} {words_zh}"
