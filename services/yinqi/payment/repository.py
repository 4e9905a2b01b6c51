"""The `PaymentStore` port on SQLAlchemy Core, set-based, for SQLite and PostgreSQL alike."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    String,
    and_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from yinqi.payment.doubt_tables import doubt_of, doubt_row, permit_rows, permits_from
from yinqi.payment.doubts import Doubt
from yinqi.payment.model import (
    FeedEvent,
    JournalEntry,
    Move,
    NewPayment,
    Payment,
    PaymentCount,
    PaymentFilter,
    Position,
    RecordedKey,
    RecordedPermit,
)
from yinqi.payment.order_store import insert_orders
from yinqi.payment.resend import ResendPermit
from yinqi.payment.status import PaymentStatus
from yinqi.payment.tables import payment_doubts, payment_events, payments, resend_permits
from yinqi.runtime import feed
from yinqi.runtime.bulk_insert import insert_rows
from yinqi.runtime.columns import utc_instant
from yinqi.runtime.database_engine import driver_of

_FIELDS = tuple(field.name for field in fields(Payment))
_CHANGING = _FIELDS[_FIELDS.index("status") :]
_UPDATE = (
    update(payments)
    .where(payments.c.instruction_id == bindparam("key"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGING})
)
_ENTRY_COLUMNS = [payment_events.c[field.name] for field in fields(JournalEntry)]


class SqlPaymentStore:
    """The `PaymentStore` port on a connection whose transaction the caller holds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_postgresql = connection.dialect.name == "postgresql"

    def find_keys(self, end_to_end_ids: Sequence[str]) -> Mapping[str, RecordedKey]:
        # By the driver: every unary acceptance asks it, and SQLAlchemy's part would take four times as long as the answer.
        given = _as_parameter(end_to_end_ids, self._is_postgresql)
        rows = driver_of(self._connection).execute(_find_keys(self._connection.dialect), (given,))
        return {row[0]: RecordedKey(row[0], row[1], bytes(row[2]), utc_instant(row[3])) for row in rows}

    def add(self, new: Sequence[tuple[str, NewPayment]], received_at: datetime) -> None:
        insert_rows(self._connection, payments, [_row_of(key, payment, received_at) for key, payment in new])
        feed.append(
            self._connection,
            payment_events,
            [_received_event(key, received_at, payment.initiator) for key, payment in new],
        )
        insert_orders(self._connection, new, received_at)

    def lock(self, instruction_ids: Collection[str]) -> dict[str, Payment]:
        return {payment.instruction_id: payment for payment in self._lock(payments.c.instruction_id, instruction_ids)}

    def find(self, instruction_ids: Collection[str]) -> dict[str, Payment]:
        """Return the payments as they are, without locking them: for readers."""
        query = select(payments).where(self._among(payments.c.instruction_id, instruction_ids))
        return {payment.instruction_id: payment for payment in _payments(self._connection.execute(query))}

    def lock_by_end_to_end_id(self, end_to_end_ids: Collection[str]) -> dict[str, Payment]:
        return {payment.end_to_end_id: payment for payment in self._lock(payments.c.end_to_end_id, end_to_end_ids)}

    def _lock(self, column: Column[str], values: Collection[str]) -> list[Payment]:
        if not values:
            return []
        # In the order of the key, so that two writers never wait for each other's rows.
        query = select(payments).where(self._among(column, values)).order_by(payments.c.instruction_id)
        return _payments(self._connection.execute(query.with_for_update()))

    def claim_due(
        self,
        statuses: Sequence[PaymentStatus],
        now: datetime,
        limit: int,
        *,
        due_date: str | None = None,
        busy_accounts: Collection[str] = (),
    ) -> list[Payment]:
        query = select(payments).where(payments.c.status.in_(statuses), payments.c.next_action_at <= now)
        if due_date is not None:
            query = query.where(payments.c.requested_execution_date <= due_date)
        if busy_accounts:
            query = query.where(payments.c.debtor_account.not_in(busy_accounts))
        query = query.order_by(payments.c.next_action_at, payments.c.instruction_id).limit(limit)
        return _payments(self._connection.execute(query.with_for_update(skip_locked=True)))

    def is_due(self, statuses: Sequence[PaymentStatus], now: datetime) -> bool:
        """Return whether `claim_due` would find something; for a reader, so that idle workers write nothing."""
        query = select(1).where(payments.c.status.in_(statuses), payments.c.next_action_at <= now).limit(1)
        return self._connection.execute(query).first() is not None

    def postpone(self, claimed: Sequence[Payment], until: datetime, *, step_tries: int | None = None) -> None:
        if not claimed:
            return
        tries = payments.c.step_tries + 1 if step_tries is None else step_tries
        ids = [payment.instruction_id for payment in claimed]
        self._connection.execute(
            update(payments)
            .where(self._among(payments.c.instruction_id, ids))
            .values(next_action_at=until, step_tries=tries)
        )

    def free_claims(self, now: datetime, until: datetime) -> None:
        due, tries = payments.c.next_action_at, payments.c.step_tries
        screening = (payments.c.status == PaymentStatus.RECEIVED, due > now, tries > 0)
        asked = (payments.c.status.in_([PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN]), due > until)
        self._connection.execute(update(payments).where(*screening).values(next_action_at=now, step_tries=0))
        self._connection.execute(update(payments).where(*asked).values(next_action_at=until))

    def save(self, moves: Sequence[Move]) -> None:
        if not moves:
            return
        last = {move.payment.instruction_id: move.payment for move in moves}
        self._connection.execute(_UPDATE, [_changes_of(payment) for payment in last.values()])
        feed.append(self._connection, payment_events, [_event_of(move) for move in moves])

    def find_doubts(self, instruction_ids: Sequence[str]) -> dict[str, Doubt]:
        if not instruction_ids:
            return {}
        query = select(payment_doubts).where(self._among(payment_doubts.c.instruction_id, instruction_ids))
        return {row.instruction_id: doubt_of(row) for row in self._connection.execute(query)}

    def save_doubts(self, doubts: Sequence[Doubt]) -> None:
        if not doubts:
            return
        ids = [doubt.instruction_id for doubt in doubts]
        self._connection.execute(delete(payment_doubts).where(self._among(payment_doubts.c.instruction_id, ids)))
        insert_rows(self._connection, payment_doubts, [doubt_row(doubt) for doubt in doubts])

    def list_doubts(
        self, after: tuple[datetime, str] | None, limit: int, *, with_closed: bool
    ) -> list[tuple[Payment, Doubt]]:
        opened_at, key = payment_doubts.c.opened_at, payment_doubts.c.instruction_id
        query = select(payment_doubts).order_by(opened_at, key).limit(limit)
        if not with_closed:
            query = query.where(payment_doubts.c.closed_at.is_(None))
        if after is not None:
            query = query.where(or_(opened_at > after[0], and_(opened_at == after[0], key > after[1])))
        doubts = [doubt_of(row) for row in self._connection.execute(query)]
        ids = [doubt.instruction_id for doubt in doubts]
        found = select(payments).where(self._among(payments.c.instruction_id, ids))
        by_id = {payment.instruction_id: payment for payment in _payments(self._connection.execute(found))}
        return [(by_id[doubt.instruction_id], doubt) for doubt in doubts]

    def add_permits(self, permits: Sequence[ResendPermit], used_at: datetime, actor: str) -> None:
        insert_rows(self._connection, resend_permits, permit_rows(permits, used_at, actor))

    def permits_of(self, instruction_id: str) -> list[RecordedPermit]:
        query = (
            select(resend_permits)
            .where(resend_permits.c.instruction_id == instruction_id)
            .order_by(resend_permits.c.permit_number)
        )
        return permits_from(self._connection.execute(query).all())

    def get(self, *, instruction_id: str = "", end_to_end_id: str = "") -> Payment | None:
        column, value = (
            (payments.c.instruction_id, instruction_id) if instruction_id else (payments.c.end_to_end_id, end_to_end_id)
        )
        found = _payments(self._connection.execute(select(payments).where(column == value)))
        return found[0] if found else None

    def journal(self, instruction_id: str) -> list[JournalEntry]:
        query = (
            select(*_ENTRY_COLUMNS)
            .where(payment_events.c.instruction_id == instruction_id)
            .order_by(payment_events.c.sequence)
        )
        return [JournalEntry(*row) for row in self._connection.execute(query)]

    def search(self, filter_: PaymentFilter, before: Position | None, limit: int) -> list[Payment]:
        query = select(payments).where(*_conditions(filter_))
        if before is not None:
            received_at, key = payments.c.received_at, payments.c.instruction_id
            same_instant = and_(received_at == before.received_at, key < before.instruction_id)
            query = query.where(or_(received_at < before.received_at, same_instant))
        query = query.order_by(payments.c.received_at.desc(), payments.c.instruction_id.desc()).limit(limit)
        return _payments(self._connection.execute(query))

    def count(self, filter_: PaymentFilter) -> list[PaymentCount]:
        group = (payments.c.status, payments.c.debtor_account, payments.c.currency)
        query = (
            select(*group, func.count(), func.sum(payments.c.amount_minor_units))
            .where(*_conditions(filter_))
            .group_by(*group)
            .order_by(*group)
        )
        # PostgreSQL sums 64-bit integers into a decimal; it is whole.
        rows = self._connection.execute(query)
        return [PaymentCount(row[0], row[1], row[2], row[3], int(row[4])) for row in rows]

    def settled_accounts(self, since: date) -> list[str]:
        query = (
            select(payments.c.debtor_account)
            .distinct()
            .where(
                payments.c.settlement_date >= since.isoformat(),
                payments.c.settlement_date != "",  # as the index says it
                payments.c.status == PaymentStatus.SETTLED,
            )
            .order_by(payments.c.debtor_account)
        )
        return list(self._connection.execute(query).scalars())

    def events_after(self, after: int, limit: int) -> list[FeedEvent]:
        query = (
            select(*_ENTRY_COLUMNS, payments.c.order_bytes, payments.c.received_at, payments.c.traceparent)
            .join_from(payment_events, payments, payment_events.c.instruction_id == payments.c.instruction_id)
            .where(payment_events.c.sequence > after)
            .order_by(payment_events.c.sequence)
            .limit(limit)
        )
        width = len(_ENTRY_COLUMNS)
        return [
            FeedEvent(JournalEntry(*row[:width]), bytes(row[width]), row[width + 1], row[width + 2])
            for row in self._connection.execute(query)
        ]

    def _among(self, column: Column[str], values: Collection[str]) -> ColumnElement[bool]:
        given = literal(_as_parameter(values, self._is_postgresql), ARRAY(String) if self._is_postgresql else String)
        return _among(column, given, self._is_postgresql)


def _as_parameter(values: Collection[str], is_postgresql: bool) -> list[str] | str:
    return list(values) if is_postgresql else json.dumps(list(values))


def _among(column: Column[str], given: ColumnElement[Any], is_postgresql: bool) -> ColumnElement[bool]:
    """Return `column in values` with one parameter, however many values there are."""
    if is_postgresql:
        return column == func.any(cast(given, ARRAY(String)))
    each = func.json_each(given).table_valued("value")
    return column.in_(select(each.c.value))


@lru_cache(maxsize=8)
def _find_keys(dialect: Dialect) -> str:
    is_postgresql = dialect.name == "postgresql"
    given = bindparam("values", type_=ARRAY(String) if is_postgresql else String)
    columns = (payments.c.end_to_end_id, payments.c.instruction_id, payments.c.request_hash, payments.c.received_at)
    query = select(*columns).where(_among(payments.c.end_to_end_id, given, is_postgresql))
    return str(query.compile(dialect=dialect)).replace("%(values)s", "%s")


def _payments(rows: Any) -> list[Payment]:
    return [Payment(*row) for row in rows]


def _conditions(filter_: PaymentFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if filter_.statuses:
        conditions.append(payments.c.status.in_(filter_.statuses))
    if filter_.debtor_account:
        conditions.append(payments.c.debtor_account == filter_.debtor_account)
    if filter_.payment_information_id:
        conditions.append(payments.c.payment_information_id == filter_.payment_information_id)
    if filter_.creditor_name:
        conditions.append(payments.c.creditor_name.contains(filter_.creditor_name, autoescape=True))
    if filter_.received_from is not None:
        conditions.append(payments.c.received_at >= filter_.received_from)
    if filter_.received_until is not None:
        conditions.append(payments.c.received_at < filter_.received_until)
    return conditions


def _row_of(instruction_id: str, new: NewPayment, received_at: datetime) -> dict[str, Any]:
    line = new.instruction
    return {
        "instruction_id": instruction_id,
        "end_to_end_id": line.end_to_end_id,
        "order_bytes": new.order_bytes,
        "request_hash": new.request_hash,
        "debtor_account": line.debtor_account,
        "creditor_name": line.creditor_name,
        "creditor_account": line.creditor_account,
        "currency": line.currency,
        "amount_minor_units": line.amount_minor_units,
        "requested_execution_date": line.requested_execution_date,
        "category_purpose": line.category_purpose,
        "payment_information_id": line.payment_information_id,
        "traceparent": new.traceparent,
        "initiation_traceparent": new.initiation_traceparent,
        "received_at": received_at,
        "status": PaymentStatus.RECEIVED,
        "reason_code": "",
        "reason_proprietary_code": "",
        "reason_text": "",
        "updated_at": received_at,
        "submission_attempts": 0,
        "account_servicer_reference": "",
        "settlement_date": "",
        "return_date": "",
        "first_submitted_at": None,
        "last_submitted_at": None,
        "step_tries": 0,
        "next_action_at": received_at,
        "contradiction": "",
    }


def _received_event(instruction_id: str, occurred_at: datetime, actor: str) -> dict[str, Any]:
    return {
        "occurred_at": occurred_at,
        "instruction_id": instruction_id,
        "type": "payment.received",
        "from_status": None,
        "to_status": PaymentStatus.RECEIVED,
        "reason_code": "",
        "reason_proprietary_code": "",
        "reason_text": "",
        "actor": actor,
        "submission_attempts": 0,
        "account_servicer_reference": "",
        "settlement_date": "",
        "return_date": "",
    }


def _event_of(move: Move) -> dict[str, Any]:
    payment = move.payment
    return {
        "occurred_at": payment.updated_at,
        "instruction_id": payment.instruction_id,
        "type": move.type,
        "from_status": move.from_status,
        "to_status": payment.status,
        "reason_code": move.reason.code,
        "reason_proprietary_code": move.reason.proprietary_code,
        "reason_text": move.reason.text,
        "actor": move.actor,
        "submission_attempts": payment.submission_attempts,
        "account_servicer_reference": payment.account_servicer_reference,
        "settlement_date": payment.settlement_date,
        "return_date": payment.return_date,
    }


def _changes_of(payment: Payment) -> dict[str, Any]:
    changes = {f"new_{name}": getattr(payment, name) for name in _CHANGING}
    changes["key"] = payment.instruction_id
    return changes
