"""The `PaymentStore` port on SQLAlchemy Core, set-based, for SQLite and PostgreSQL alike."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Integer,
    Result,
    Select,
    and_,
    bindparam,
    delete,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    update,
)

from yinqi.payment.doubt_tables import doubt_of, doubt_row, permit_rows, permits_from
from yinqi.payment.doubts import Doubt
from yinqi.payment.model import (
    STOPPED,
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
from yinqi.payment.tables import (
    SEALED_PAYMENTS,
    StatusColumn,
    payment_doubts,
    payment_events,
    payments,
    resend_permits,
)
from yinqi.runtime import feed
from yinqi.runtime.bulk_insert import insert_rows
from yinqi.runtime.columns import utc_instant
from yinqi.runtime.database_engine import driver_of
from yinqi.runtime.sealing import Clear, sealing_of
from yinqi.runtime.statements import among, prepared

_FIELDS = tuple(field.name for field in fields(Payment))
_CHANGING = _FIELDS[_FIELDS.index("status") :]
_UPDATE = prepared(
    update(payments)
    .where(payments.c.instruction_id == bindparam("key"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGING})
)
_ENTRY_COLUMNS = [payment_events.c[field.name] for field in fields(JournalEntry)]
_OF_PAYMENT = ("order_bytes", "received_at", "traceparent", "debtor_account")
_EVENT_NAMES = (*(column.name for column in _ENTRY_COLUMNS), *_OF_PAYMENT)
_SEARCHED_AT_ONCE = 1_000


class SqlPaymentStore:
    """The `PaymentStore` port on a connection whose transaction the caller holds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sealing = sealing_of(connection)
        self._is_postgresql = connection.dialect.name == "postgresql"

    def find_keys(self, end_to_end_ids: Sequence[str]) -> Mapping[str, RecordedKey]:
        # By the driver: every unary acceptance asks it, and SQLAlchemy's part would take four times as long as the answer.
        given = _as_parameter(end_to_end_ids, self._is_postgresql)
        rows = driver_of(self._connection).execute(_find_keys(self._connection.dialect), (given,))
        return {row[0]: RecordedKey(row[0], row[1], bytes(row[2]), utc_instant(row[3])) for row in rows}

    def add(self, new: Sequence[tuple[str, NewPayment]], received_at: datetime) -> None:
        same = {**_AS_RECEIVED, **dict.fromkeys(_AT_RECEIPT, received_at)}
        rows = [_row_of(key, payment) for key, payment in new]
        companies = [payment.place.order.company if payment.place else "" for _, payment in new]
        sealed = self._sealing.seal(self._connection, SEALED_PAYMENTS, rows, companies)
        insert_rows(self._connection, payments, sealed, same)
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
        query = select(payments).where(among(payments.c.instruction_id, instruction_ids))
        return {payment.instruction_id: payment for payment in self._payments(self._connection.execute(query))}

    def lock_by_end_to_end_id(self, end_to_end_ids: Collection[str]) -> dict[str, Payment]:
        return {payment.end_to_end_id: payment for payment in self._lock(payments.c.end_to_end_id, end_to_end_ids)}

    def _lock(self, column: Column[str], values: Collection[str]) -> list[Payment]:
        if not values:
            return []
        return self._payments(self._connection.execute(_LOCK[column.name], {"values": values}))

    def claim_due(
        self,
        statuses: Sequence[PaymentStatus],
        now: datetime,
        limit: int,
        *,
        due_date: str | None = None,
        busy_accounts: Collection[str] = (),
    ) -> list[Payment]:
        query = _claim(tuple(statuses), has_due_date=due_date is not None, has_busy_accounts=bool(busy_accounts))
        given: dict[str, Any] = {"now": now, "limit": limit}
        if due_date is not None:
            given["due_date"] = due_date
        if busy_accounts:
            given["busy_accounts"] = self._sealing.either(busy_accounts)
        return self._payments(self._connection.execute(query, given))

    def is_due(self, statuses: Sequence[PaymentStatus], now: datetime) -> bool:
        """Return whether `claim_due` would find something; for a reader, so that idle workers write nothing."""
        return self._connection.execute(_is_due(tuple(statuses)), {"now": now}).first() is not None

    def postpone(self, claimed: Sequence[Payment], until: datetime, *, step_tries: int | None = None) -> None:
        if not claimed:
            return
        given: dict[str, Any] = {"ids": [payment.instruction_id for payment in claimed], "until": until}
        if step_tries is None:
            self._connection.execute(_POSTPONE_ONCE_MORE, given)
        else:
            self._connection.execute(_POSTPONE, given | {"tries": step_tries})

    def free_claims(self, now: datetime, until: datetime) -> None:
        self._connection.execute(_FREE_SCREENING, {"now": now})
        self._connection.execute(_FREE_ASKED, {"until": until})

    def wake_stopped(self, now: datetime) -> None:
        self._connection.execute(_WAKE_STOPPED, {"now": now})

    def save(self, moves: Sequence[Move]) -> None:
        if not moves:
            return
        last = {move.payment.instruction_id: move.payment for move in moves}
        self._connection.execute(_UPDATE, [_changes_of(payment) for payment in last.values()])
        feed.append(self._connection, payment_events, [_event_of(move) for move in moves])

    def find_doubts(self, instruction_ids: Sequence[str]) -> dict[str, Doubt]:
        if not instruction_ids:
            return {}
        rows = self._connection.execute(_FIND_DOUBTS, {"ids": instruction_ids})
        return {row.instruction_id: doubt_of(row) for row in rows}

    def save_doubts(self, doubts: Sequence[Doubt]) -> None:
        if not doubts:
            return
        ids = [doubt.instruction_id for doubt in doubts]
        self._connection.execute(delete(payment_doubts).where(among(payment_doubts.c.instruction_id, ids)))
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
        found = select(payments).where(among(payments.c.instruction_id, ids))
        by_id = {payment.instruction_id: payment for payment in self._payments(self._connection.execute(found))}
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
        found = self._payments(self._connection.execute(select(payments).where(column == value)))
        return found[0] if found else None

    def journal(self, instruction_id: str) -> list[JournalEntry]:
        query = (
            select(*_ENTRY_COLUMNS)
            .where(payment_events.c.instruction_id == instruction_id)
            .order_by(payment_events.c.sequence)
        )
        return [JournalEntry(*row) for row in self._connection.execute(query)]

    def search(self, filter_: PaymentFilter, before: Position | None, limit: int) -> list[Payment]:
        if not (filter_.creditor_name and self._sealing.is_on):
            return self._page(filter_, before, limit)
        # A part of a name cannot be looked up in sealed ones: newest first they are opened and looked at.
        found: list[Payment] = []
        while len(found) < limit and (page := self._page(filter_, before, _SEARCHED_AT_ONCE)):
            found += [payment for payment in page if filter_.creditor_name in payment.creditor_name]
            before = Position(page[-1].received_at, page[-1].instruction_id)
        return found[:limit]

    def _page(self, filter_: PaymentFilter, before: Position | None, limit: int) -> list[Payment]:
        query = select(payments).where(*_conditions(filter_, self._sealing))
        if before is not None:
            received_at, key = payments.c.received_at, payments.c.instruction_id
            same_instant = and_(received_at == before.received_at, key < before.instruction_id)
            query = query.where(or_(received_at < before.received_at, same_instant))
        query = query.order_by(payments.c.received_at.desc(), payments.c.instruction_id.desc()).limit(limit)
        return self._payments(self._connection.execute(query))

    def count(self, filter_: PaymentFilter) -> list[PaymentCount]:
        if filter_.creditor_name and self._sealing.is_on:
            return self._count_by_name(filter_)
        group = (payments.c.status, payments.c.debtor_account, payments.c.currency)
        query = (
            select(*group, func.count(), func.sum(payments.c.amount_minor_units))
            .where(*_conditions(filter_, self._sealing))
            .group_by(*group)
            .order_by(*group)
        )
        # PostgreSQL sums 64-bit integers into a decimal; it is whole.
        return self._counts((*row[:4], int(row[4])) for row in self._connection.execute(query))

    def _count_by_name(self, filter_: PaymentFilter) -> list[PaymentCount]:
        counted: list[tuple[PaymentStatus, str, str, int, int]] = []
        before: Position | None = None
        while page := self.search(filter_, before, _SEARCHED_AT_ONCE):
            before = Position(page[-1].received_at, page[-1].instruction_id)
            counted += [(one.status, one.debtor_account, one.currency, 1, one.amount_minor_units) for one in page]
        return self._counts(counted)

    def _counts(self, rows: Iterable[Sequence[Any]]) -> list[PaymentCount]:
        """Add up by status, account and currency: an account may stand in clear and as its token."""
        counted = list(rows)
        accounts = self._sealing.clear_numbers(self._connection, [row[1] for row in counted])
        sums: dict[tuple[PaymentStatus, str, str], tuple[int, int]] = {}
        for (status, _, currency, number, amount), account in zip(counted, accounts, strict=True):
            so_far = sums.get((status, account, currency), (0, 0))
            sums[status, account, currency] = (so_far[0] + number, so_far[1] + amount)
        return [PaymentCount(*key, *sums[key]) for key in sorted(sums)]

    def settled_accounts(self, since: date) -> list[str]:
        accounts = self._connection.execute(_SETTLED_ACCOUNTS, {"since": since.isoformat()}).scalars().all()
        return sorted(set(self._sealing.clear_numbers(self._connection, accounts)))

    def events_after(self, after: int, limit: int) -> list[FeedEvent]:
        width = len(_ENTRY_COLUMNS)
        rows = self._connection.execute(_EVENTS_AFTER, {"after": after, "limit": limit}).all()
        return [
            FeedEvent(JournalEntry(*row[:width]), bytes(row[width]), row[width + 1], row[width + 2])
            for row in self._sealing.open(self._connection, SEALED_PAYMENTS, rows, _EVENT_NAMES)
        ]

    def _payments(self, rows: Result[Any]) -> list[Payment]:
        return [Payment(*row) for row in self._sealing.open(self._connection, SEALED_PAYMENTS, rows.all())]


def _as_parameter(values: Collection[str], is_postgresql: bool) -> list[str] | str:
    return list(values) if is_postgresql else json.dumps(list(values))


@lru_cache(maxsize=8)
def _find_keys(dialect: Dialect) -> str:
    columns = (payments.c.end_to_end_id, payments.c.instruction_id, payments.c.request_hash, payments.c.received_at)
    query = select(*columns).where(among(payments.c.end_to_end_id, "values"))
    return str(query.compile(dialect=dialect)).replace("%(values)s", "%s")


# --- statements that every worker and follower runs again and again ------------------------------------------------

# In the order of the key, so that two writers never wait for each other's rows.
_LOCK = {
    column.name: prepared(
        select(payments).where(among(column, "values")).order_by(payments.c.instruction_id).with_for_update()
    )
    for column in (payments.c.instruction_id, payments.c.end_to_end_id)
}
_POSTPONED = update(payments).where(among(payments.c.instruction_id, "ids"))
_POSTPONE = prepared(_POSTPONED.values(next_action_at=bindparam("until"), step_tries=bindparam("tries")))
_POSTPONE_ONCE_MORE = prepared(
    _POSTPONED.values(next_action_at=bindparam("until"), step_tries=payments.c.step_tries + 1)
)
_FIND_DOUBTS = prepared(select(payment_doubts).where(among(payment_doubts.c.instruction_id, "ids")))
_EVENTS_AFTER = prepared(
    select(*_ENTRY_COLUMNS, *[payments.c[name] for name in _OF_PAYMENT])
    .join_from(payment_events, payments, payment_events.c.instruction_id == payments.c.instruction_id)
    .where(payment_events.c.sequence > bindparam("after"))
    .order_by(payment_events.c.sequence)
    .limit(bindparam("limit", type_=Integer))
)


next_at = payments.c.next_action_at
_WAKE_STOPPED = prepared(
    update(payments)
    .where(
        payments.c.status == literal(PaymentStatus.SCHEDULED, StatusColumn),
        payments.c.reason_code == literal(STOPPED),
        next_at > bindparam("now"),
    )
    .values(next_action_at=bindparam("now", type_=next_at.type))
)
_FREE_SCREENING = prepared(
    update(payments)
    .where(payments.c.status == PaymentStatus.RECEIVED, next_at > bindparam("now"), payments.c.step_tries > 0)
    .values(next_action_at=bindparam("now", type_=next_at.type), step_tries=0)
)
_ASKED = [literal(status, StatusColumn) for status in (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN)]
_FREE_ASKED = prepared(
    update(payments)
    .where(payments.c.status.in_(_ASKED), next_at > bindparam("until"))
    .values(next_action_at=bindparam("until", type_=next_at.type))
)
_SETTLED_ACCOUNTS = prepared(
    select(payments.c.debtor_account)
    .distinct()
    .where(
        payments.c.settlement_date >= bindparam("since"),
        payments.c.settlement_date != literal_column("''"),  # as the index says it
        payments.c.status == PaymentStatus.SETTLED,
    )
    .order_by(payments.c.debtor_account)
)


def _due(statuses: tuple[PaymentStatus, ...]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    known = [literal(status, StatusColumn) for status in statuses]
    return payments.c.status.in_(known), payments.c.next_action_at <= bindparam("now")


@lru_cache(maxsize=64)
def _is_due(statuses: tuple[PaymentStatus, ...]) -> Select[Any]:
    return prepared(select(1).where(*_due(statuses)).limit(literal_column("1")))


@lru_cache(maxsize=256)
def _claim(statuses: tuple[PaymentStatus, ...], *, has_due_date: bool, has_busy_accounts: bool) -> Select[Any]:
    query = select(payments).where(*_due(statuses))
    if has_due_date:
        query = query.where(payments.c.requested_execution_date <= bindparam("due_date"))
    if has_busy_accounts:
        query = query.where(not_(among(payments.c.debtor_account, "busy_accounts")))
    query = query.order_by(payments.c.next_action_at, payments.c.instruction_id)
    return prepared(query.limit(bindparam("limit", type_=Integer)).with_for_update(skip_locked=True))


def _conditions(filter_: PaymentFilter, sealing: Clear) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if filter_.statuses:
        conditions.append(payments.c.status.in_(filter_.statuses))
    if filter_.debtor_account:
        conditions.append(payments.c.debtor_account.in_(sealing.either([filter_.debtor_account])))
    if filter_.payment_information_id:
        conditions.append(payments.c.payment_information_id == filter_.payment_information_id)
    if filter_.creditor_name and not sealing.is_on:
        conditions.append(payments.c.creditor_name.contains(filter_.creditor_name, autoescape=True))
    if filter_.received_from is not None:
        conditions.append(payments.c.received_at >= filter_.received_from)
    if filter_.received_until is not None:
        conditions.append(payments.c.received_at < filter_.received_until)
    return conditions


# What is the same for all payments when they come.
_AT_RECEIPT = ("received_at", "updated_at", "next_action_at")
_AS_RECEIVED = {
    "status": PaymentStatus.RECEIVED,
    "reason_code": "",
    "reason_proprietary_code": "",
    "reason_text": "",
    "submission_attempts": 0,
    "account_servicer_reference": "",
    "settlement_date": "",
    "return_date": "",
    "first_submitted_at": None,
    "last_submitted_at": None,
    "step_tries": 0,
    "contradiction": "",
    "releases": 0,
}


def _row_of(instruction_id: str, new: NewPayment) -> dict[str, Any]:
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
