"""The signed order, the line of it that is the payment, and what people decided. Source: docs/signed-orders.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from yinqi.crypto import sm3
from yinqi.verify.bundle import Bundle, Item
from yinqi.verify.claims import Broken, Claim, limit, missing, proved, reading, said, unchecked
from yinqi.verify.forms import from_base64, from_hex, listed, text, whole
from yinqi.verify.policy import Policy, Registered, Vote, are_filled, needs_of
from yinqi.verify.protobuf import Message

_ORDER = b"yinqi/payment-order/v1\x00"
_DECISION = b"yinqi/order-decision/v1\x00"
_CATEGORIES = ("SUPP", "SUPP", "SALA", "TAXS", "INTC", "SWEP", "TOPG", "ZABA", "TREA")
_APPROVE, _REFUSE = 1, 2


class Line(NamedTuple):
    """What the caller ordered, as its bytes say. Amounts in minor units."""

    line: int
    content: bytes
    end_to_end_id: str
    debtor_account: str
    creditor_name: str
    creditor_account: str
    currency: str
    amount: int
    category: str
    requested_date: str = ""


class Order(NamedTuple):
    """A proven order."""

    line: int
    digest: bytes
    order_id: str
    maker: str
    created_at: datetime
    totals: Mapping[str, int]
    line_number: int


def line_of(bundle: Bundle) -> Line:
    """Read the payment's line, and compare it with what payment says of the payment."""
    item = next(bundle.parts["payment"].of_kind("line"), None)
    if item is None:
        raise Broken(bundle.parts["payment"].line, "gives no line of an order", "未包含付款明细")
    with reading(item.line):
        line = _line(item.line, from_base64(item.value["content"]))
    for record in bundle.parts["payment"].rows("payments"):
        with reading(record.line):
            row = record.value["row"]
            facts = {
                "end_to_end_id": line.end_to_end_id,
                "debtor_account": line.debtor_account,
                "creditor_name": line.creditor_name,
                "creditor_account": line.creditor_account,
                "currency": line.currency,
                "amount_minor_units": line.amount,
            }
            differs = [name for name, value in facts.items() if row[name] != value]
        if differs:
            words = f"says another {differs[0]} than the order's line"
            raise Broken(record.line, words, f"{differs[0]} 与付款单明细不符")
    return line


def _line(number: int, content: bytes) -> Line:
    found = Message(content)
    amount = found.message(8)
    category = found.number(10)
    return Line(
        number,
        content,
        found.text(1),
        found.message(3).text(1),
        found.message(5).text(1),
        found.message(6).text(1),
        amount.text(1),
        amount.number(2),
        _CATEGORIES[category] if 0 <= category < len(_CATEGORIES) else "?",
        found.text(9),
    )


def check_order(bundle: Bundle, line: Line, policies: Sequence[Policy]) -> Iterator[Claim]:
    """Check the order's signature, that the line belongs to it, and what people decided."""
    for item in bundle.parts["payment"].of_kind("order"):
        with reading(item.line):
            order = _order(item, line)
            key = _key(text(item.value["key_id"]), policies)
            yield from _order_signature(item, order, key)
        yield from check_decisions(bundle, line, order._replace(maker=_maker(order, key)), policies)


def _order(item: Item, line: Line) -> Order:
    content = from_base64(item.value["content"])
    found = Message(content)
    if found.text(3) != item.value["key_id"]:
        raise Broken(item.line, "names another key than the one that signed", "付款单所列密钥与签名密钥不符")
    number, count = whole(item.value["line_number"]), found.number(7)
    if not 1 <= number <= count or _root(line.content, number - 1, count, listed(item.value["path"])) != found.content(
        9
    ):
        raise Broken(
            item.line, "is not over the payment's line: line and path do not lead to its root", "明细不属于该付款单"
        )
    totals = {one.text(1): one.number(2) for one in found.messages(8)}
    return Order(item.line, sm3(_ORDER + content), found.text(1), found.text(10), found.instant(4), totals, number)


def _root(line: bytes, index: int, count: int, path: Sequence[Mapping[str, Any]]) -> bytes:
    """Return where the line and its path lead in a tree of `count` leaves (RFC 6962, 2.1, with SM3)."""
    digest, steps = sm3(b"\x00" + line), iter(path)
    while count > 1:
        sibling = index ^ 1
        if sibling < count:
            step = next(steps, None)
            if step is None or step["is_left"] is not (sibling < index):
                return b""
            other = from_hex(step["digest"])
            digest = sm3(b"\x01" + (other + digest if step["is_left"] else digest + other))
        index, count = index // 2, (count + 1) // 2
    return digest if next(steps, None) is None else b""


def _key(key_id: str, policies: Sequence[Policy]) -> Registered | None:
    return next((policy.people[key_id] for policy in policies if key_id in policy.people), None)


def _maker(order: Order, key: Registered | None) -> str:
    return order.maker or (key.person if key else "")


def _order_signature(item: Item, order: Order, key: Registered | None) -> Iterator[Claim]:
    content, key_id = from_base64(item.value["content"]), item.value["key_id"]
    if key is None:
        yield _unknown(item.line, key_id)
        return
    if not key.key.signed(_ORDER + content, from_hex(item.value["signature"])):
        raise Broken(item.line, "carries a signature that does not fit the order", "付款单签名无效")
    if not key.is_valid_at(order.created_at):
        raise Broken(item.line, f"was signed with key {key_id} on a day on which it was not valid", "签名时密钥无效")
    at = order.created_at.isoformat()
    if order.maker:
        yield proved(
            item.line,
            f"payment vouched for {order.maker}, who did not sign: order {order.order_id}, {at}",
            f"付款单 {order.order_id} 由 payment 代 {order.maker} 签署，{at}",
        )
    else:
        yield proved(
            item.line,
            f"{key.person} signed order {order.order_id} at {at}; the payment is line {order.line_number} of it, to the byte",
            f"{key.person} 于 {at} 签署付款单 {order.order_id}，本付款是其中第 {order.line_number} 笔，逐字节一致",
        )


def check_decisions(bundle: Bundle, line: Line, order: Order, policies: Sequence[Policy]) -> Iterator[Claim]:
    """Check what people decided, and whether the policy asked for more."""
    votes, refused = list[Vote](), False
    for item in bundle.parts["payment"].of_kind("decision"):
        with reading(item.line):
            found = Message(from_base64(item.value["content"]))
            if found.content(1) != order.digest:
                raise Broken(item.line, "is a decision on another order", "该审批意见属于另一张付款单")
            key = _key(text(item.value["key_id"]), policies)
            yield _decision(item, found, key, line)
            if key is not None and found.number(2) == _APPROVE:
                votes.append(Vote(key.person, found.instant(4)))
            refused = refused or found.number(2) == _REFUSE
    if refused:
        yield said(order.line, "somebody refused the order", "该付款单已被拒绝")
    elif policies:
        with reading(policies[0].line):
            yield from _quorum(bundle, line, order, policies[0], votes)


def _decision(item: Item, found: Message, key: Registered | None, line: Line) -> Claim:
    key_id = item.value["key_id"]
    if found.text(3) != key_id or found.number(2) not in (_APPROVE, _REFUSE):
        raise Broken(item.line, "names another key than the one that signed, or no decision", "审批意见内容不符")
    if key is None:
        return _unknown(item.line, key_id)
    if not key.key.signed(_DECISION + from_base64(item.value["content"]), from_hex(item.value["signature"])):
        raise Broken(item.line, "carries a signature that does not fit the decision", "审批签名无效")
    at = found.instant(4)
    if not key.is_valid_at(at):
        raise Broken(item.line, f"was signed with key {key_id} on a day on which it was not valid", "签名时密钥无效")
    does, does_zh = ("approved", "同意") if found.number(2) == _APPROVE else ("refused", "拒绝")
    is_named = f"{line.end_to_end_id}:" in found.text(5) and line.creditor_account in found.text(5)
    seen = "with this payment among it" if is_named else "which does not name this payment"
    seen_zh = "其中列明本付款" if is_named else "其中未列明本付款"
    return proved(
        item.line,
        f"{key.person} {does} the order at {at.isoformat()}, and signed what was shown, {seen}",
        f"{key.person} 于 {at.isoformat()} {does_zh}，并对所见内容签名，{seen_zh}",
    )


def _quorum(bundle: Bundle, line: Line, order: Order, policy: Policy, votes: list[Vote]) -> Iterator[Claim]:
    rule = policy.rule_of(line.debtor_account, line.category, line.currency)
    is_by_order = rule is not None and rule.get("by") == "order"
    amount = max(line.amount, order.totals.get(line.currency, 0)) if is_by_order else line.amount
    needs = needs_of(rule, amount) if rule is not None else None
    if rule is None or needs is None or not are_filled(needs, policy, order.maker, rule, votes):
        tell = unchecked if _was_sent(bundle) else missing
        yield tell(
            policy.line,
            f"by version {policy.version} of the policy approvals lack for this amount; an older version may have asked for less",
            f"按策略第 {policy.version} 版，该金额的审批不足；当时的版本或有不同要求",
        )
        return
    asked = ", ".join(f"{count} {role}" for role, count in sorted(needs.items())) or "nobody"
    yield proved(
        policy.line,
        f"version {policy.version} of the policy asks for {asked} at this amount, and so many different people approved",
        f"策略第 {policy.version} 版对该金额要求 {asked}，已由相应的不同人员同意",
    )
    if rule.get("window_days"):
        yield limit(
            f"that payments to the same creditor within {rule['window_days']} days did not ask for more people together",
            f"同一收款人 {rule['window_days']} 天内累计金额是否要求更多审批",
        )


def _was_sent(bundle: Bundle) -> bool:
    return any(item.value.get("direction") == "SENT" for item in bundle.parts["gateway"].of_kind("message"))


def _unknown(line: int, key_id: str) -> Claim:
    return unchecked(
        line,
        f"is signed with key {key_id}, which is in no policy here; it may have been taken out since",
        f"签名密钥 {key_id} 不在现行策略中，可能已被移除",
    )
