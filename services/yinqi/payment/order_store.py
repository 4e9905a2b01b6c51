"""Signed orders, their lines and the decisions on them: rows ↔ values, set-based. No decisions of our own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from yinqi.orders.evidence import Evidence
from yinqi.orders.keys import Signed
from yinqi.payment.approvals import HELD_BACK
from yinqi.payment.model import NewPayment, OrderLine, OrderRecord, PaymentOrder, Position
from yinqi.payment.one_time_codes import CodeState
from yinqi.payment.status import PaymentStatus
from yinqi.payment.tables import (
    SEALED_DECISIONS,
    SEALED_ORDER_LINES,
    one_time_codes,
    order_decisions,
    order_lines,
    payment_orders,
    payments,
)
from yinqi.runtime.bulk_insert import insert_rows
from yinqi.runtime.sealing import pairs_as_stored, sealing_of

# Money of these never left and never will, so it does not count towards a creditor's sum.
_NEVER_PAID = (PaymentStatus.CANCELLED, PaymentStatus.BLOCKED, PaymentStatus.EXPIRED, PaymentStatus.REJECTED)
_KEYS_MAX = 200  # pairs of accounts in one question


class SqlOrderStore:
    """Implements `ports.OrderStore` on a connection whose transaction the caller holds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def taken_in(self, order: OrderRecord) -> list[OrderRecord]:
        c = payment_orders.c
        same_id = and_(c.company == order.company, c.order_id == order.order_id)
        same_nonce = and_(c.key_id == order.key_id, c.nonce == order.nonce)
        return [
            _record(row) for row in self._connection.execute(select(payment_orders).where(or_(same_id, same_nonce)))
        ]

    def lines_of(self, instruction_ids: Sequence[str]) -> dict[str, OrderLine]:
        query = select(order_lines.c.instruction_id, order_lines.c.order_digest, order_lines.c.line_number)
        found = self._connection.execute(query.where(order_lines.c.instruction_id.in_(instruction_ids)))
        return {row[0]: OrderLine(row[1], row[2]) for row in found}

    def evidence(self, digests: Collection[str]) -> dict[str, Evidence]:
        c = order_decisions.c
        decisions: dict[str, list[Signed]] = {}
        found = self._connection.execute(
            select(order_decisions).where(c.order_digest.in_(digests)).order_by(c.recorded_at, c.key_id)
        ).all()
        for digest, key_id, content, signature, _ in sealing_of(self._connection).open(
            self._connection, SEALED_DECISIONS, found
        ):
            decisions.setdefault(digest, []).append(Signed(bytes(content), key_id, bytes(signature)))
        rows = self._connection.execute(select(payment_orders).where(payment_orders.c.order_digest.in_(digests)))
        return {
            row.order_digest: Evidence(
                Signed(bytes(row.order_bytes), row.key_id, bytes(row.signature)),
                bytes(row.leaves),
                tuple(decisions.get(row.order_digest, ())),
            )
            for row in rows
        }

    def add_decision(self, order_digest: str, decision: Signed, recorded_at: datetime) -> None:
        row: dict[str, Any] = {
            "order_digest": order_digest,
            "key_id": decision.key_id,
            "decision_bytes": decision.content,
            "signature": decision.signature,
            "recorded_at": recorded_at,
        }
        sealed = sealing_of(self._connection).seal(self._connection, SEALED_DECISIONS, [row])
        insert_rows(self._connection, order_decisions, sealed)

    def creditor_sums(
        self, pairs: Collection[tuple[str, str, str]], since: datetime
    ) -> dict[tuple[str, str, str], int]:
        c = order_lines.c
        sums: dict[tuple[str, str, str], int] = {}
        meant = pairs_as_stored(self._connection, pairs)
        wanted = sorted(meant)
        for start in range(0, len(wanted), _KEYS_MAX):
            among = or_(*(_is_pair(pair) for pair in wanted[start : start + _KEYS_MAX]))
            query = (
                select(c.debtor_account, c.creditor_account, c.currency, func.sum(c.amount_minor_units))
                .join_from(order_lines, payments, c.instruction_id == payments.c.instruction_id)
                .where(c.received_at > since, payments.c.status.not_in(_NEVER_PAID), among)
                .group_by(c.debtor_account, c.creditor_account, c.currency)
            )
            for row in self._connection.execute(query):
                pair = meant[row[0], row[1], row[2]]
                sums[pair] = sums.get(pair, 0) + int(row[3])
        return sums

    def payments_of(self, order_digest: str) -> list[str]:
        query = select(order_lines.c.instruction_id).where(order_lines.c.order_digest == order_digest)
        return list(self._connection.execute(query.order_by(order_lines.c.line_number)).scalars())

    def waiting(self, after: Position | None, limit: int) -> list[PaymentOrder]:
        """Return up to `limit` orders with payments that wait for approval after (received_at, digest), oldest first."""
        received_at, digest = payment_orders.c.received_at, payment_orders.c.order_digest
        is_held_back = and_(payments.c.status == PaymentStatus.SCHEDULED, payments.c.reason_code == HELD_BACK)
        digests = (
            select(order_lines.c.order_digest)
            .join_from(order_lines, payments, order_lines.c.instruction_id == payments.c.instruction_id)
            .where(or_(payments.c.status == PaymentStatus.AWAITING_APPROVAL, is_held_back))
        )
        query = select(payment_orders).where(digest.in_(digests)).order_by(received_at, digest).limit(limit)
        if after is not None:
            is_later = and_(received_at == after.received_at, digest > after.instruction_id)
            query = query.where(or_(received_at > after.received_at, is_later))
        rows = self._connection.execute(query).all()
        return [PaymentOrder(_record(row), row.received_at) for row in rows]

    def get(self, company: str, id_or_digest: str) -> PaymentOrder | None:
        """Return an order by its digest or its id."""
        c = payment_orders.c
        named = or_(c.order_digest == id_or_digest, and_(c.company == company, c.order_id == id_or_digest))
        row = self._connection.execute(select(payment_orders).where(named)).first()
        return None if row is None else PaymentOrder(_record(row), row.received_at)


class SqlCodeStates:
    """What is remembered of people's one-time codes, in the same transaction as the decision they come with."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self, person: str) -> CodeState | None:
        """Return what is remembered of a person, locked until the commit; None if nothing is."""
        c = one_time_codes.c
        query = select(c.last_step, c.wrong, c.locked_until).where(c.person == person).with_for_update()
        row = self._connection.execute(query).first()
        return None if row is None else CodeState(*row)

    def save(self, person: str, state: CodeState, *, is_new: bool) -> None:
        """Remember it; of two who are the first at once one fails and runs again."""
        if is_new:
            insert_rows(self._connection, one_time_codes, [{"person": person, **state._asdict()}])
        else:
            change = update(one_time_codes).where(one_time_codes.c.person == person)
            self._connection.execute(change.values(**state._asdict()))


def insert_orders(connection: Connection, new: Sequence[tuple[str, NewPayment]], received_at: datetime) -> None:
    """Write the orders of new payments, and which line of which order each is."""
    placed = [(key, payment, payment.place) for key, payment in new if payment.place is not None]
    if not placed:
        return
    orders = {place.order.digest: place.order for _, _, place in placed}
    known = set(
        connection.execute(
            select(payment_orders.c.order_digest).where(payment_orders.c.order_digest.in_(list(orders)))
        ).scalars()
    )
    insert_rows(
        connection,
        payment_orders,
        [_order_row(order, received_at) for digest, order in orders.items() if digest not in known],
    )
    lines: list[dict[str, Any]] = [
        {
            "instruction_id": key,
            "order_digest": place.order.digest,
            "line_number": place.number,
            "debtor_account": payment.instruction.debtor_account,
            "creditor_account": payment.instruction.creditor_account,
            "currency": payment.instruction.currency,
            "amount_minor_units": payment.instruction.amount_minor_units,
            "received_at": received_at,
        }
        for key, payment, place in placed
    ]
    insert_rows(connection, order_lines, sealing_of(connection).seal(connection, SEALED_ORDER_LINES, lines))


def _is_pair(pair: tuple[str, str, str]) -> ColumnElement[bool]:
    c = order_lines.c
    return and_(c.debtor_account == pair[0], c.creditor_account == pair[1], c.currency == pair[2])


def _order_row(order: OrderRecord, received_at: datetime) -> dict[str, Any]:
    return {
        "order_digest": order.digest,
        "order_id": order.order_id,
        "company": order.company,
        "key_id": order.key_id,
        "nonce": order.nonce,
        "order_bytes": order.content,
        "signature": order.signature,
        "leaves": order.leaves,
        "received_at": received_at,
    }


def _record(row: Any) -> OrderRecord:
    return OrderRecord(
        row.order_digest,
        row.order_id,
        row.company,
        row.key_id,
        row.nonce,
        bytes(row.order_bytes),
        bytes(row.signature),
        bytes(row.leaves),
    )
