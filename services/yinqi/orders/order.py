"""Orders and decisions as bytes: made once by who signs them, read by everybody else, never written anew."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.common.v1 import money_pb2
from yinqi.api.payment.v1 import order_pb2, payment_pb2
from yinqi.crypto import sm3
from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.kernel.ids import RandomBytes
from yinqi.orders.keys import DECISION_CONTEXT, ORDER_CONTEXT, PrivateKey, Signed
from yinqi.orders.line_tree import DIGEST_BYTES, leaves_of, root_of

LINES_MAX = 10_000
SHOWN_MAX = 4_000
NONCE_BYTES = 16
_NONCE_BYTES_MAX = 32
_ORDER_ID = re.compile(r"[A-Za-z0-9\-/._:]{1,35}")
_COMPANY_MAX = 140
_PERSON_MAX = 100
_SECONDS_MAX = 253_402_300_799  # the end of the year 9999


class OrderInvalid(InvalidRequest):
    """An order or a decision cannot be read, or a field of it is wrong. Nothing was stored."""


class Order(NamedTuple):
    """What a signed order says. `vouched_for`: the caller that the payment service vouches for, "" if it signed itself."""

    order_id: str
    company: str
    key_id: str
    created_at: datetime
    expires_at: datetime
    nonce: bytes
    line_count: int
    totals: Mapping[str, int]
    lines_root: bytes
    vouched_for: str = ""


class OrderDecision(NamedTuple):
    """What a signed decision says."""

    order_digest: bytes
    approves: bool
    key_id: str
    decided_at: datetime
    shown: str


class NewOrder(NamedTuple):
    """An order ready to be handed in."""

    signed: Signed
    lines: tuple[bytes, ...]
    leaves: tuple[bytes, ...]

    @property
    def digest(self) -> bytes:
        """What decisions name it by."""
        return digest_of(self.signed.content)


def digest_of(order: bytes) -> bytes:
    """Return the SM3 digest of an order, 32 bytes; decisions name it by this."""
    return sm3(ORDER_CONTEXT + order)


def sign_order(
    order_id: str,
    lines: Sequence[bytes],
    *,
    company: str,
    key: PrivateKey,
    now: datetime,
    lifetime: timedelta,
    random_bytes: RandomBytes,
    vouched_for: str = "",
) -> NewOrder:
    """Make and sign an order over 1 to LINES_MAX serialized PaymentInstructions."""
    leaves = leaves_of(lines)
    order = order_pb2.PaymentOrder(
        order_id=order_id,
        company=company,
        key_id=key.key_id,
        created_at=_timestamp(now),
        expires_at=_timestamp(now + lifetime),
        nonce=random_bytes(NONCE_BYTES),
        line_count=len(lines),
        totals=[money_pb2.Money(currency=c, minor_units=sum_) for c, sum_ in sorted(totals_of(lines).items())],
        lines_root=root_of(leaves),
        vouched_for=vouched_for,
    )
    return NewOrder(key.sign(ORDER_CONTEXT, order.SerializeToString()), tuple(lines), tuple(leaves))


def totals_of(lines: Sequence[bytes]) -> dict[str, int]:
    """Return the sum of the lines per currency.

    Raises:
        OrderInvalid: LINE_UNREADABLE.
    """
    sums: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        amount = read_line(line, number).instructed_amount
        sums[amount.currency] = sums.get(amount.currency, 0) + amount.minor_units
    return sums


def read_line(line: bytes, number: int) -> payment_pb2.PaymentInstruction:
    """Read one line.

    Raises:
        OrderInvalid: LINE_UNREADABLE.
    """
    try:
        return payment_pb2.PaymentInstruction.FromString(line)
    except DecodeError:
        raise _wrong(
            f"lines[{number - 1}]", "LINE_UNREADABLE", "is no serialized PaymentInstruction", "不是付款指令"
        ) from None


def sign_decision(order_digest: bytes, *, approves: bool, shown: str, key: PrivateKey, now: datetime) -> Signed:
    """Make and sign a decision over what was shown."""
    decision = order_pb2.OrderDecision(
        order_digest=order_digest,
        decision=order_pb2.DECISION_APPROVE if approves else order_pb2.DECISION_REFUSE,
        key_id=key.key_id,
        decided_at=_timestamp(now),
        shown=shown,
    )
    return key.sign(DECISION_CONTEXT, decision.SerializeToString())


def read_order(signed: Signed) -> Order:
    """Read an order's fields; the signature is another matter.

    Raises:
        OrderInvalid: names the field and what is allowed.
    """
    try:
        message = order_pb2.PaymentOrder.FromString(signed.content)
    except DecodeError:
        raise _wrong("order", "ORDER_UNREADABLE", "is no serialized PaymentOrder", "不是付款单") from None
    order = Order(
        message.order_id,
        message.company,
        message.key_id,
        _instant(message.created_at, "order.created_at"),
        _instant(message.expires_at, "order.expires_at"),
        message.nonce,
        message.line_count,
        {total.currency: total.minor_units for total in message.totals},
        message.lines_root,
        message.vouched_for,
    )
    _check_order(order, signed.key_id, len(message.totals))
    return order


def read_decision(signed: Signed) -> OrderDecision:
    """Read a decision's fields; the signature is another matter.

    Raises:
        OrderInvalid: names the field and what is allowed.
    """
    try:
        message = order_pb2.OrderDecision.FromString(signed.content)
    except DecodeError:
        raise _wrong("decision", "DECISION_UNREADABLE", "is no serialized OrderDecision", "不是审批意见") from None
    if message.decision not in (order_pb2.DECISION_APPROVE, order_pb2.DECISION_REFUSE):
        raise _wrong("decision.decision", "VALUE_UNKNOWN", "must be APPROVE or REFUSE", "须为同意或拒绝")
    if message.key_id != signed.key_id or not message.key_id:
        raise _wrong("decision.key_id", "KEY_DIFFERS", "must be the key that signs", "须为签名所用密钥")
    if len(message.order_digest) != DIGEST_BYTES:
        raise _wrong("decision.order_digest", "LENGTH", "must be 32 bytes", "须为 32 字节")
    if not 1 <= len(message.shown) <= SHOWN_MAX:
        raise _wrong(
            "decision.shown", "LENGTH", f"must be 1 to {SHOWN_MAX} characters", f"须为 1 至 {SHOWN_MAX} 个字符"
        )
    return OrderDecision(
        message.order_digest,
        message.decision == order_pb2.DECISION_APPROVE,
        message.key_id,
        _instant(message.decided_at, "decision.decided_at"),
        message.shown,
    )


def require_lines(order: Order, lines: Sequence[bytes]) -> list[bytes]:
    """Return the leaves of the lines if they are, all of them and in order, what the order was signed over.

    Raises:
        OrderInvalid: LINES_NOT_SIGNED, TOTALS_DIFFER or LINE_UNREADABLE. The whole order is refused.
    """
    leaves = leaves_of(lines) if lines else []
    if len(lines) != order.line_count or root_of(leaves) != order.lines_root:
        raise OrderInvalid(
            "LINES_NOT_SIGNED",
            f"The {len(lines)} lines are not the {order.line_count} lines that were signed: at least one was changed, "
            "added, left out or moved. The whole order is refused; nothing was recorded.",
            "付款明细与签名不符，整单拒绝，均未受理。",
            [
                FieldViolation(
                    "lines", "LINES_NOT_SIGNED", "lines: not what lines_root was signed over", "明细与签名不符"
                )
            ],
        )
    if totals_of(lines) != dict(order.totals):
        raise _wrong(
            "order.totals", "TOTALS_DIFFER", "must be the sums of the lines per currency", "须等于各币种明细合计"
        )
    return leaves


def _check_order(order: Order, key_id: str, totals: int) -> None:
    if not _ORDER_ID.fullmatch(order.order_id):
        raise _wrong(
            "order.order_id", "CHARACTER", "must be 1 to 35 characters of A-Z a-z 0-9 and - / . _ :", "格式不符"
        )
    if order.key_id != key_id or not key_id:
        raise _wrong("order.key_id", "KEY_DIFFERS", "must be the key that signs", "须为签名所用密钥")
    if not order.company or len(order.company) > _COMPANY_MAX or not order.company.isprintable():
        raise _wrong(
            "order.company", "TEXT_INVALID", f"must be 1 to {_COMPANY_MAX} printable characters", "公司名称无效"
        )
    if len(order.vouched_for) > _PERSON_MAX:
        raise _wrong("order.vouched_for", "TOO_LONG", f"must be at most {_PERSON_MAX} characters", "过长")
    if not NONCE_BYTES <= len(order.nonce) <= _NONCE_BYTES_MAX:
        raise _wrong(
            "order.nonce", "LENGTH", f"must be {NONCE_BYTES} to {_NONCE_BYTES_MAX} bytes", "须为 16 至 32 字节"
        )
    if not 1 <= order.line_count <= LINES_MAX:
        raise _wrong("order.line_count", "OUT_OF_RANGE", f"must be 1 to {LINES_MAX}", f"须为 1 至 {LINES_MAX}")
    if len(order.lines_root) != DIGEST_BYTES:
        raise _wrong("order.lines_root", "LENGTH", "must be 32 bytes", "须为 32 字节")
    if len(order.totals) != totals:
        raise _wrong("order.totals", "CURRENCY_TWICE", "must name each currency once", "每个币种只能出现一次")
    if order.expires_at <= order.created_at:
        raise _wrong("order.expires_at", "OUT_OF_RANGE", "must be after created_at", "须晚于创建时间")


def _timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def _instant(message: Timestamp, field: str) -> datetime:
    if not 0 < message.seconds <= _SECONDS_MAX or not 0 <= message.nanos < 1_000_000_000:
        raise _wrong(field, "TIMESTAMP_INVALID", "must be an instant of the years 1970 to 9999", "时间无效")
    return datetime.fromtimestamp(message.seconds, UTC) + timedelta(microseconds=message.nanos // 1000)


def _wrong(field: str, reason: str, words: str, words_zh: str) -> OrderInvalid:
    violation = FieldViolation(field, reason, f"{field}: {words}.", f"{field}：{words_zh}。")
    return OrderInvalid(reason, violation.description, violation.description_zh, [violation])
