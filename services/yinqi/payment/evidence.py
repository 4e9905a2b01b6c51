"""What payment has of a payment, for an evidence bundle: the order, the decisions on it, the policy and the journal."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from yinqi.kernel.errors import NotFound
from yinqi.orders.evidence import Evidence
from yinqi.orders.line_tree import path_of, split
from yinqi.orders.policy_file import policy_item
from yinqi.orders.policy_watch import PolicyInForce
from yinqi.payment.order_store import SqlOrderStore
from yinqi.payment.tables import (
    SEALED_DECISIONS,
    SEALED_PAYMENTS,
    order_decisions,
    payment_doubts,
    payment_events,
    payments,
    resend_permits,
)
from yinqi.runtime.evidence import (
    Collect,
    Found,
    Item,
    Subject,
    in_base64,
    journal_rows,
    missing,
    plain,
    record,
    records,
)
from yinqi.runtime.sealing import sealing_of

_INTERNAL = ("order_bytes", "request_hash", "traceparent", "initiation_traceparent", "next_action_at", "step_tries")


def collector(policy: PolicyInForce | None) -> Collect:
    """Return what collects the items of one payment.

    Args:
        policy: the one in force; None without one.
    """

    def collect(connection: Connection, subject: Subject) -> Found:
        return _collect(connection, subject, policy)

    return collect


def _collect(connection: Connection, subject: Subject, policy: PolicyInForce | None) -> Found:
    c = payments.c
    by_id = c.instruction_id == subject.instruction_id if subject.instruction_id else c.end_to_end_id == subject[1]
    found = connection.execute(select(payments).where(by_id)).all()
    if not found:
        raise NotFound("PAYMENT_NOT_FOUND", "No payment has that id; try its end_to_end_id.", "没有该笔付款。")
    (values,) = sealing_of(connection).open(connection, SEALED_PAYMENTS, found)
    row = dict(zip(payments.c.keys(), values, strict=True))
    key = row["instruction_id"]
    facts = {name: value for name, value in row.items() if name not in _INTERNAL}
    items = [
        record("payments", facts),
        {"kind": "line", "content": in_base64(bytes(row["order_bytes"]))},
        *_order(connection, key, policy),
        *records(connection, payment_doubts, payment_doubts.c.instruction_id == key),
        *records(connection, resend_permits, resend_permits.c.instruction_id == key),
        *journal_rows(connection, "payment", payment_events, payment_events.c.instruction_id == key),
    ]
    return Found(Subject(key, row["end_to_end_id"]), items)


def _order(connection: Connection, key: str, policy: PolicyInForce | None) -> Iterator[Item]:
    if policy is None:
        yield missing("POLICY")
    else:
        yield policy_item(policy.files)
    store = SqlOrderStore(connection)
    place = store.lines_of([key]).get(key)
    if place is None:
        yield missing("ORDER")
        return
    evidence = store.evidence([place.order_digest])[place.order_digest]
    yield _order_item(evidence, place.number)
    yield from _decisions(connection, place.order_digest)
    if not evidence.decisions:
        yield missing("DECISIONS")


def _order_item(evidence: Evidence, number: int) -> Item:
    path = path_of(split(evidence.leaves), number - 1)
    return {
        "kind": "order",
        "content": in_base64(evidence.order.content),
        "key_id": evidence.order.key_id,
        "line_number": number,
        "path": [{"digest": digest.hex(), "is_left": is_left} for is_left, digest in path],
        "signature": evidence.order.signature.hex(),
    }


def _decisions(connection: Connection, order_digest: str) -> Iterator[Item]:
    c = order_decisions.c
    found = connection.execute(
        select(order_decisions).where(c.order_digest == order_digest).order_by(c.recorded_at, c.key_id)
    ).all()
    for _, key_id, content, signature, recorded_at in sealing_of(connection).open(connection, SEALED_DECISIONS, found):
        yield {
            "kind": "decision",
            "content": in_base64(bytes(content)),
            "key_id": key_id,
            "recorded_at": plain(recorded_at),
            "signature": bytes(signature).hex(),
        }
