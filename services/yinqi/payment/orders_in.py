"""Orders on their way in: what a caller signed is proven, and for callers that do not sign the service vouches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from yinqi.kernel.errors import AlreadyExists, FieldViolation, InvalidRequest
from yinqi.kernel.ids import IdSource, RandomBytes
from yinqi.orders.evidence import WORDS, facts_of
from yinqi.orders.keys import ORDER_CONTEXT, PrivateKey, Signed, verify_all
from yinqi.orders.line_tree import joined
from yinqi.orders.order import LINES_MAX, Order, digest_of, read_order, require_lines, sign_order
from yinqi.orders.policy import MAKER, VOUCHER, OrderFacts, Payable, Refusal, judge
from yinqi.orders.policy_file import PolicyInvalid, SignedPolicy
from yinqi.orders.policy_watch import PolicyInForce
from yinqi.payment.model import NewPayment, OrderPlace, OrderRecord, RefusedLine
from yinqi.payment.ports import OrderStore

_VOUCHED_ID_PREFIX = "VO"


class OrderRefused(InvalidRequest):
    """The order as a whole is refused: it is not what was signed, or its signer may not. Nothing was recorded."""


class OrderTaken(AlreadyExists):
    """Another order was taken in under this id or nonce. Nothing was recorded."""


@dataclass(frozen=True, slots=True)
class ProvenOrder:
    """An order whose signature and lines hold."""

    order: Order
    record: OrderRecord
    facts: OrderFacts


def prove_order(handed_in: Signed, lines: Sequence[bytes], signed: SignedPolicy, now: datetime) -> ProvenOrder:
    """Return the order if its signer may order it and signed exactly these lines.

    Raises:
        OrderInvalid, OrderRefused: the whole order is refused, in words.
    """
    order = read_order(handed_in)
    if handed_in.key_id not in signed.keys:
        raise _refused("KEY_UNKNOWN", "the policy has no such key", "策略中没有该密钥")
    if not verify_all(ORDER_CONTEXT, [handed_in], signed.public_keys())[0]:
        raise _refused("ORDER_SIGNATURE_INVALID", *WORDS["ORDER_SIGNATURE_INVALID"])
    facts = facts_of(order, signed, ())
    if isinstance(facts, str):
        raise _refused(facts, *WORDS[facts])
    if facts.is_vouched:
        raise _refused("VOUCHED_ELSEWHERE", "only this service itself may vouch for others", "代签只能由本服务作出")
    if not signed.policy.has_role(facts.maker, MAKER):
        raise _refused(Refusal.MAKER_ROLE_MISSING, *WORDS[Refusal.MAKER_ROLE_MISSING])
    if order.created_at > now + signed.policy.clock_skew:
        raise _refused(Refusal.ORDER_FROM_FUTURE, *WORDS[Refusal.ORDER_FROM_FUTURE])
    if order.expires_at - order.created_at > signed.order_lifetime:
        raise _refused(
            "ORDER_LIFETIME_TOO_LONG",
            f"it may be handed in for at most {signed.order_lifetime} after it was made",
            "付款单有效期过长",
        )
    leaves = require_lines(order, lines)
    return ProvenOrder(order, _record(order, handed_in, leaves), facts)


def require_new_or_same(proven: ProvenOrder, store: OrderStore, now: datetime) -> None:
    """Return if the order may be taken in: never seen and in time, or the very order of before.

    Raises:
        OrderTaken: ORDER_ID_REUSED or NONCE_REUSED. OrderRefused: ORDER_EXPIRED.
    """
    record = proven.record
    taken = store.taken_in(record)
    if any(one.digest == record.digest for one in taken):
        return  # The lines find their first outcomes by their end_to_end_ids.
    for one in taken:
        if (one.company, one.order_id) == (record.company, record.order_id):
            raise OrderTaken(
                "ORDER_ID_REUSED",
                f"Another order was taken in as {record.order_id}; nothing was recorded. Give a new order a new id.",
                f"付款单号 {record.order_id} 已用于另一张付款单，本单未受理。",
            )
        raise OrderTaken(
            "NONCE_REUSED",
            "The nonce was used by another order of this key; nothing was recorded. Draw 16 new random bytes.",
            "随机数已被使用，本单未受理，请重新生成。",
        )
    if now > proven.order.expires_at:
        raise _refused(
            "ORDER_EXPIRED", "it had to be handed in before; make and sign it anew", "已过期，请重新制单签名"
        )


def placed(
    lines: Sequence[NewPayment | RefusedLine], proven: ProvenOrder, signed: SignedPolicy, now: datetime
) -> list[NewPayment | RefusedLine]:
    """Bind the lines of a proven order to it; those that the policy never lets pass are refused."""
    found: list[NewPayment | RefusedLine] = []
    for number, line in enumerate(lines, 1):
        if isinstance(line, NewPayment):
            refusal = _never(line, proven.facts, signed, now)
            found.append(refusal or replace(line, place=OrderPlace(proven.record, number)))
        else:
            found.append(line)
    return found


class Voucher:
    """Signs in the service's own name for callers that do not sign, where the policy allows that.

    Args:
        key: registered in the policy for a person or system with the role `voucher`; None: nobody vouches.
    Raises:
        PolicyInvalid: the key is not.
    """

    def __init__(self, policy: PolicyInForce, key: PrivateKey | None, ids: IdSource, random_bytes: RandomBytes) -> None:
        if key is not None:
            _require_voucher(key, policy.current)
        self._policy = policy
        self._registered_key = key
        self._ids = ids
        self._random_bytes = random_bytes

    def refuse(self, lines: Sequence[NewPayment | RefusedLine], now: datetime) -> list[NewPayment | RefusedLine]:
        """Refuse the unsigned lines whose rule wants a signature, or that the policy never lets pass."""
        signed = self._policy.current
        has_key = self._key(signed) is not None
        return [
            line
            if isinstance(line, RefusedLine) or line.place is not None
            else _unsigned_refusal(line, signed, now, has_key=has_key) or line
            for line in lines
        ]

    def vouch(self, new: Sequence[NewPayment], now: datetime) -> list[NewPayment]:
        """Bind unsigned payments that are about to be recorded to orders that say who called."""
        found, signed = list(new), self._policy.current
        by_caller: dict[str, list[int]] = {}
        for index, line in enumerate(new):
            if line.place is None:
                by_caller.setdefault(line.initiator, []).append(index)
        if by_caller and (key := self._key(signed)) is not None:
            for caller, indexes in by_caller.items():
                for start in range(0, len(indexes), LINES_MAX):
                    self._sign(key, signed, found, indexes[start : start + LINES_MAX], caller, now)
        return found

    def _key(self, signed: SignedPolicy) -> PrivateKey | None:
        """Return the key while the policy in force has it: a new one may take the right away."""
        return self._registered_key if self._registered_key and _is_voucher(self._registered_key, signed) else None

    def _sign(
        self,
        key: PrivateKey,
        signed: SignedPolicy,
        found: list[NewPayment],
        indexes: Sequence[int],
        caller: str,
        now: datetime,
    ) -> None:
        its = [found[index] for index in indexes]
        new = sign_order(
            self._ids.new_ids(_VOUCHED_ID_PREFIX, 1)[0],
            [line.order_bytes for line in its],
            company=signed.policy.company,
            key=key,
            now=now,
            lifetime=signed.order_lifetime,
            random_bytes=self._random_bytes,
            vouched_for=caller,
        )
        record = _record(read_order(new.signed), new.signed, new.leaves)
        for number, (index, line) in enumerate(zip(indexes, its, strict=True), 1):
            found[index] = replace(line, place=OrderPlace(record, number))


def _unsigned_refusal(line: NewPayment, signed: SignedPolicy, now: datetime, *, has_key: bool) -> RefusedLine | None:
    facts = OrderFacts(line.initiator, True, now, (), ())
    return _never(line, facts, signed, now) if has_key else _signature_required(line)


def _is_voucher(key: PrivateKey, signed: SignedPolicy) -> bool:
    registered = signed.keys.get(key.key_id)
    return (
        registered is not None
        and registered.public == key.public_key()
        and signed.policy.has_role(registered.person, VOUCHER)
    )


def _require_voucher(key: PrivateKey, signed: SignedPolicy) -> None:
    if not _is_voucher(key, signed):
        raise PolicyInvalid(
            "POLICY_INVALID",
            f"The voucher key {key.key_id!r} is not registered in policy version {signed.policy.version} for somebody with "
            f"the role {VOUCHER!r}; register it, or leave YINQI_PAYMENT_VOUCHER_KEY_ID empty.",
            f"代签密钥 {key.key_id!r} 未在策略中登记为 {VOUCHER} 角色。",
        )


def _never(line: NewPayment, facts: OrderFacts, signed: SignedPolicy, now: datetime) -> RefusedLine | None:
    """Return the refusal of a line that no approval could help, None for the others."""
    order = line.instruction
    payable = Payable(
        order.debtor_account,
        order.creditor_account,
        order.category_purpose,
        order.currency,
        order.amount_minor_units,
        order.requested_execution_date,
    )
    refusal = judge(signed.policy, payable, facts, order.amount_minor_units, now).refusal
    if refusal is None:
        return None
    if refusal is Refusal.SIGNATURE_REQUIRED:
        return _signature_required(line)
    words, words_zh = WORDS[refusal]
    return RefusedLine(order.end_to_end_id, [FieldViolation("order", refusal, f"{words}.", f"{words_zh}。")])


def _signature_required(line: NewPayment) -> RefusedLine:
    words = "the policy wants an order that the caller signed; hand it in with InitiateSignedPayments"
    violation = FieldViolation(
        "order", Refusal.SIGNATURE_REQUIRED, f"{words}.", "策略要求调用者签名，请提交签名付款单。"
    )
    return RefusedLine(line.instruction.end_to_end_id, [violation])


def _record(order: Order, signed: Signed, leaves: Sequence[bytes]) -> OrderRecord:
    return OrderRecord(
        digest_of(signed.content).hex(),
        order.order_id,
        order.company,
        order.key_id,
        order.nonce.hex(),
        signed.content,
        signed.signature,
        joined(leaves),
    )


def _refused(reason: str, words: str, words_zh: str) -> OrderRefused:
    text = f"The whole order is refused, nothing was recorded: {words}."
    violation = FieldViolation("order", str(reason), f"order: {words}.", f"付款单：{words_zh}。")
    return OrderRefused(str(reason), text, f"整单拒绝，均未受理：{words_zh}。", [violation])
