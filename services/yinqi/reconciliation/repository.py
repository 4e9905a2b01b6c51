"""The ports of reconciliation on SQLAlchemy Core, set-based, for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    tuple_,
    update,
)

from yinqi.kernel.money import Money
from yinqi.reconciliation.model import (
    BalanceAdjustment,
    Booking,
    Break,
    BreakReason,
    BreakStatus,
    Direction,
    Entry,
    Match,
    MatchRule,
    Pair,
    Reconciliation,
)
from yinqi.reconciliation.tables import (
    ADJUSTMENT,
    COUNTS,
    SEALED_BOOKINGS,
    SEALED_BREAKS,
    SEALED_ENTRIES,
    bookings,
    breaks,
    entries,
    events,
    matches,
    runs,
)
from yinqi.runtime.feed import append
from yinqi.runtime.sealing import Sealed, sealing_of
from yinqi.runtime.statements import prepared, upsert


def insert_new(connection: Connection, sealed: Sealed, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows whose key is not there yet; leave the others alone."""
    if rows:
        written = sealing_of(connection).seal(connection, sealed, rows)
        connection.execute(_insert_new(sealed.table, connection.dialect.name), list(written))


@cache
def _insert_new(table: Table, dialect: str) -> Any:
    return prepared(upsert(table, dialect).on_conflict_do_nothing())


def _opened(connection: Connection, sealed: Sealed, query: Select[Any]) -> list[Any]:
    """Return whole rows of a table, opened."""
    rows = connection.execute(query).all()
    return [SimpleNamespace(**row) for row in sealing_of(connection).open_mappings(connection, sealed, rows)]


def _movement_row(item: Booking | Entry) -> dict[str, Any]:
    return {
        "account": item.account,
        "booking_date": item.booking_date.isoformat(),
        "direction": item.direction.value,
        "currency": item.amount.currency,
        "minor_units": item.amount.minor_units,
        "instruction_id": item.instruction_id,
        "end_to_end_id": item.end_to_end_id,
        "account_servicer_reference": item.account_servicer_reference,
        "counterparty_name": item.counterparty_name[:200],
        "counterparty_account": item.counterparty_account[:64],
        "is_matched": False,
    }


def _movement(row: Any) -> dict[str, Any]:
    return {
        "account": row.account,
        "booking_date": date.fromisoformat(row.booking_date),
        "direction": Direction(row.direction),
        "amount": Money(row.currency, row.minor_units),
        "instruction_id": row.instruction_id,
        "end_to_end_id": row.end_to_end_id,
        "account_servicer_reference": row.account_servicer_reference,
        "counterparty_name": row.counterparty_name,
        "counterparty_account": row.counterparty_account,
    }


def _booking(row: Any) -> Booking:
    return Booking(booking_id=row.booking_id, traceparent=row.traceparent, **_movement(row))


def _entry(row: Any) -> Entry:
    return Entry(entry_id=row.entry_id, description=row.description, **_movement(row))


class SqlBookStore:
    """Bookings, entries and pairs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_bookings(self, items: Sequence[Booking]) -> None:
        rows = [{"booking_id": b.booking_id, "traceparent": b.traceparent, **_movement_row(b)} for b in items]
        insert_new(self._connection, SEALED_BOOKINGS, rows)

    def add_entries(self, items: Sequence[Entry]) -> None:
        rows = [{"entry_id": e.entry_id, "description": e.description[:500], **_movement_row(e)} for e in items]
        insert_new(self._connection, SEALED_ENTRIES, rows)

    def unmatched_bookings(self, account: str, until: date) -> list[Booking]:
        rows = _opened(self._connection, SEALED_BOOKINGS, self._unmatched(bookings, account, until))
        return [_booking(row) for row in rows]

    def unmatched_entries(self, account: str, until: date) -> list[Entry]:
        rows = _opened(self._connection, SEALED_ENTRIES, self._unmatched(entries, account, until))
        return [_entry(row) for row in rows]

    @staticmethod
    def _unmatched(table: Table, account: str, until: date) -> Any:
        day = until.isoformat()
        return select(table).where(table.c.account == account, ~table.c.is_matched, table.c.booking_date <= day)

    def matched_across(self, account: str, on: date) -> list[tuple[Booking, Entry]]:
        day = on.isoformat()
        split = or_(
            and_(matches.c.booking_date <= day, matches.c.entry_date > day),
            and_(matches.c.entry_date <= day, matches.c.booking_date > day),
        )
        keys = select(matches.c.booking_id, matches.c.entry_id).where(matches.c.account == account, split)
        found = self._connection.execute(keys).all()
        ours = select(bookings).where(bookings.c.booking_id.in_([row.booking_id for row in found]))
        theirs = select(entries).where(entries.c.entry_id.in_([row.entry_id for row in found]))
        by_booking = {row.booking_id: _booking(row) for row in _opened(self._connection, SEALED_BOOKINGS, ours)}
        by_entry = {row.entry_id: _entry(row) for row in _opened(self._connection, SEALED_ENTRIES, theirs)}
        return [(by_booking[row.booking_id], by_entry[row.entry_id]) for row in found]

    def add_matches(self, run_id: str, found: Sequence[Match]) -> None:
        if not found:
            return
        rows = [
            {
                "entry_id": m.entry.entry_id,
                "booking_id": m.booking.booking_id,
                "run_id": run_id,
                "rule": m.rule.value,
                "account": m.entry.account,
                "booking_date": m.booking.booking_date.isoformat(),
                "entry_date": m.entry.booking_date.isoformat(),
            }
            for m in found
        ]
        self._connection.execute(matches.insert(), rows)
        keys = [{"key": row["booking_id"]} for row in rows]
        self._connection.execute(
            update(bookings).where(bookings.c.booking_id == bindparam("key")).values(is_matched=True), keys
        )
        keys = [{"key": row["entry_id"]} for row in rows]
        self._connection.execute(
            update(entries).where(entries.c.entry_id == bindparam("key")).values(is_matched=True), keys
        )

    def count_day(self, account: str, on: date) -> tuple[int, int]:
        def count(table: Table) -> int:
            where = (table.c.account == account, table.c.booking_date == on.isoformat())
            return self._connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()

        return count(bookings), count(entries)

    def sum_day(self, account: str, on: date) -> tuple[int, int]:
        def net(table: Table) -> int:
            signed = case(
                (table.c.direction == Direction.CREDIT.value, table.c.minor_units), else_=-table.c.minor_units
            )
            where = (table.c.account == account, table.c.booking_date == on.isoformat())
            return int(self._connection.execute(select(func.sum(signed)).where(*where)).scalar() or 0)

        return net(bookings), net(entries)

    def count_matches(self, account: str, on: date) -> tuple[int, int]:
        query = (
            select(matches.c.rule, func.count())
            .where(matches.c.account == account, matches.c.entry_date == on.isoformat())
            .group_by(matches.c.rule)
        )
        counts = {row[0]: int(row[1]) for row in self._connection.execute(query)}
        by_reference = counts.pop(MatchRule.REFERENCE.value, 0)
        return by_reference, sum(counts.values())

    def pairs(self, account: str, on: date) -> list[Pair]:
        query = (
            select(matches.c.rule, bookings.c.instruction_id, entries)
            .join(entries, entries.c.entry_id == matches.c.entry_id)
            .join(bookings, bookings.c.booking_id == matches.c.booking_id)
            .where(matches.c.account == account, matches.c.entry_date == on.isoformat())
            .order_by(matches.c.entry_id)
        )
        return [
            Pair(
                rule=MatchRule(row[0]),
                instruction_id=row[1],
                account_servicer_reference=row.account_servicer_reference,
                amount=Money(row.currency, row.minor_units),
                direction=Direction(row.direction),
            )
            for row in self._connection.execute(query)
        ]


class SqlBreakStore:
    """Breaks and their events; `actor` is who causes the events of this transaction."""

    def __init__(self, connection: Connection, now: Any, actor: str) -> None:
        self._connection = connection
        self._now = now
        self._actor = actor

    def open_of(self, account: str, until: date) -> list[Break]:
        alive = breaks.c.status != BreakStatus.CLEARED.value
        query = select(breaks).where(breaks.c.account == account, alive, breaks.c.date <= until.isoformat())
        return [_break(row) for row in _opened(self._connection, SEALED_BREAKS, query)]

    def add(self, items: Sequence[Break]) -> None:
        if items:
            rows = [_break_row(item) for item in items]
            sealed = sealing_of(self._connection).seal(self._connection, SEALED_BREAKS, rows)
            self._connection.execute(breaks.insert(), list(sealed))
        self._record(items, "break.opened")

    def set_status(self, items: Sequence[Break], event: str) -> None:
        if items:
            changed = ("status", "reason", "resolved_by", "resolution", "resolved_at")
            statement = (
                update(breaks)
                .where(breaks.c.break_id == bindparam("key"))
                .values({name: bindparam(f"new_{name}") for name in changed})
            )
            rows = [_break_row(item) for item in items]
            self._connection.execute(
                statement, [{"key": row["break_id"], **{f"new_{n}": row[n] for n in changed}} for row in rows]
            )
        self._record(items, event)

    def get(self, break_id: str) -> Break | None:
        query = select(breaks).where(breaks.c.break_id == break_id).with_for_update()
        found = _opened(self._connection, SEALED_BREAKS, query)
        return _break(found[0]) if found else None

    def list(
        self, account: str, on: date | None, status: BreakStatus | None, limit: int, after: tuple[str, str] | None
    ) -> list[Break]:
        query = select(breaks).order_by(breaks.c.date, breaks.c.break_id).limit(limit)
        if account:
            query = query.where(breaks.c.account == account)
        if on is not None:
            query = query.where(breaks.c.date == on.isoformat())
        if status is not None:
            query = query.where(breaks.c.status == status.value)
        if after is not None:
            query = query.where(tuple_(breaks.c.date, breaks.c.break_id) > after)
        return [_break(row) for row in _opened(self._connection, SEALED_BREAKS, query)]

    def _record(self, items: Sequence[Break], event: str) -> None:
        append(
            self._connection, events, [_event_row(self._now, event, self._actor, break_id=b.break_id) for b in items]
        )


class SqlRunStore:
    """Runs, of which one per account and day is the latest."""

    def __init__(self, connection: Connection, actor: str) -> None:
        self._connection = connection
        self._actor = actor

    def add(self, run: Reconciliation) -> None:
        where = (runs.c.account == run.account, runs.c.date == run.date.isoformat(), runs.c.is_latest)
        self._connection.execute(update(runs).where(*where).values(is_latest=False))
        self._connection.execute(runs.insert(), [_run_row(run)])
        event = _event_row(run.ran_at, "reconciliation.completed", self._actor, run_id=run.run_id)
        append(self._connection, events, [event])

    def latest(self, account: str, on: date) -> Reconciliation | None:
        query = select(runs).where(runs.c.account == account, runs.c.date == on.isoformat(), runs.c.is_latest)
        row = self._connection.execute(query).first()
        return _run(row) if row is not None else None

    def list_latest(self, limit: int, after: tuple[str, str] | None) -> Iterable[Reconciliation]:
        query = select(runs).where(runs.c.is_latest).order_by(runs.c.date.desc(), runs.c.account).limit(limit)
        if after is not None:
            day, account = after
            query = query.where(or_(runs.c.date < day, and_(runs.c.date == day, runs.c.account > account)))
        return [_run(row) for row in self._connection.execute(query)]


class SqlUnitOfWork:
    """The stores of one transaction."""

    def __init__(self, connection: Connection, now: Any, actor: str) -> None:
        self.books = SqlBookStore(connection)
        self.breaks = SqlBreakStore(connection, now, actor)
        self.runs = SqlRunStore(connection, actor)


def read_events(
    connection: Connection, after: int, limit: int
) -> list[tuple[Any, Break | None, Reconciliation | None]]:
    """Return up to `limit` events after a sequence, each with its break or its run as it stands now."""
    query = select(events).where(events.c.sequence > after).order_by(events.c.sequence).limit(limit)
    rows = connection.execute(query).all()
    wanted = select(breaks).where(breaks.c.break_id.in_({r.break_id for r in rows if r.break_id}))
    found_breaks = {r.break_id: _break(r) for r in _opened(connection, SEALED_BREAKS, wanted)}
    ran = select(runs).where(runs.c.run_id.in_({r.run_id for r in rows if r.run_id}))
    found_runs = {r.run_id: _run(r) for r in connection.execute(ran)}
    return [(row, found_breaks.get(row.break_id), found_runs.get(row.run_id)) for row in rows]


def _event_row(now: Any, event: str, actor: str, *, break_id: str = "", run_id: str = "") -> dict[str, Any]:
    return {"occurred_at": now, "type": event, "break_id": break_id, "run_id": run_id, "actor": actor}


def _break_row(item: Break) -> dict[str, Any]:
    return {
        "break_id": item.break_id,
        "account": item.account,
        "date": item.date.isoformat(),
        "reason": item.reason.value,
        "direction": item.direction.value,
        "currency": item.amount.currency,
        "minor_units": item.amount.minor_units,
        "booking_id": item.booking_id,
        "entry_id": item.entry_id,
        "instruction_id": item.instruction_id,
        "account_servicer_reference": item.account_servicer_reference,
        "counterparty_name": item.counterparty_name[:200],
        "description": item.description[:500],
        "status": item.status.value,
        "opened_at": item.opened_at,
        "resolved_by": item.resolved_by,
        "resolution": item.resolution,
        "resolved_at": item.resolved_at,
    }


def _break(row: Any) -> Break:
    return Break(
        break_id=row.break_id,
        account=row.account,
        date=date.fromisoformat(row.date),
        reason=BreakReason(row.reason),
        amount=Money(row.currency, row.minor_units),
        direction=Direction(row.direction),
        booking_id=row.booking_id,
        entry_id=row.entry_id,
        instruction_id=row.instruction_id,
        account_servicer_reference=row.account_servicer_reference,
        counterparty_name=row.counterparty_name,
        description=row.description,
        status=BreakStatus(row.status),
        opened_at=row.opened_at,
        resolved_by=row.resolved_by,
        resolution=row.resolution,
        resolved_at=row.resolved_at,
    )


def _run_row(run: Reconciliation) -> dict[str, Any]:
    table = run.balance_adjustment
    return {
        "run_id": run.run_id,
        "account": run.account,
        "date": run.date.isoformat(),
        "ran_at": run.ran_at,
        "currency": table.book_balance.currency,
        "is_statement_complete": run.is_statement_complete,
        **{name: getattr(run, name) for name in COUNTS},
        **{name: getattr(table, name).minor_units for name in ADJUSTMENT},
        "is_latest": True,
    }


def _run(row: Any) -> Reconciliation:
    table = BalanceAdjustment(**{name: Money(row.currency, getattr(row, name)) for name in ADJUSTMENT})
    return Reconciliation(
        run_id=row.run_id,
        account=row.account,
        date=date.fromisoformat(row.date),
        ran_at=row.ran_at,
        is_statement_complete=row.is_statement_complete,
        balance_adjustment=table,
        **{name: getattr(row, name) for name in COUNTS},
    )
