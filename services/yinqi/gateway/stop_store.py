"""The stops and their journal. Set-based, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Index, RowMapping, String, Table, select, update

from yinqi.gateway.metadata import METADATA
from yinqi.gateway.stops import Scope, ScopeKind, Stop, StopChange, StopEventType, Word
from yinqi.runtime.bulk_insert import insert_rows
from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.feed import append, event_table
from yinqi.runtime.statements import prepared

STOPS = Table(
    "gateway_stops",
    METADATA,
    Column("stop_id", String(32), primary_key=True),
    Column("scope_kind", String(8), nullable=False),
    Column("scope_name", String(140), nullable=False),
    Column("pulled_by", String(100), nullable=False),
    Column("pulled_at", UtcTimestamp, nullable=False),
    Column("reason", String(280), nullable=False),
    Column("lift_asked_by", String(100), nullable=False),
    Column("lift_asked_at", UtcTimestamp),
    Column("lift_asked_reason", String(280), nullable=False),
    Column("lifted_by", String(100), nullable=False),
    Column("lifted_at", UtcTimestamp),
    Column("lifted_reason", String(280), nullable=False),
)
# At most one in force per scope: whoever pulls at the same moment loses the race, runs again and finds the other's.
_IN_FORCE = STOPS.c.lifted_at.is_(None)
Index(
    "gateway_stops_in_force",
    STOPS.c.scope_kind,
    STOPS.c.scope_name,
    unique=True,
    sqlite_where=_IN_FORCE,
    postgresql_where=_IN_FORCE,
)
STOP_EVENTS = event_table(
    "gateway_stop_events",
    METADATA,
    Column("type", String(32), nullable=False),
    Column("stop_id", String(32), nullable=False),
    Column("scope_kind", String(8), nullable=False),
    Column("scope_name", String(140), nullable=False),
    Column("person", String(100), nullable=False),
    Column("reason", String(280), nullable=False),
)


class SqlStops:
    """Implements `ports.Stops`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def active(self) -> list[Stop]:
        return [_stop(row) for row in self._connection.execute(_FIND_ACTIVE).mappings()]

    def find(self, stop_ids: Collection[str], *, lock: bool = False) -> dict[str, Stop]:
        if not stop_ids:
            return {}
        query = select(STOPS).where(STOPS.c.stop_id.in_(stop_ids))
        rows = self._connection.execute(query.with_for_update() if lock else query).mappings()
        return {row["stop_id"]: _stop(row) for row in rows}

    def lock_active(self, scope: Scope) -> Stop | None:
        its = STOPS.c.scope_kind == scope.kind, STOPS.c.scope_name == scope.name
        row = self._connection.execute(select(STOPS).where(_IN_FORCE, *its).with_for_update()).mappings().first()
        return None if row is None else _stop(row)

    def newest(self, limit: int) -> list[Stop]:
        query = select(STOPS).order_by(STOPS.c.pulled_at.desc(), STOPS.c.stop_id.desc()).limit(limit)
        return [_stop(row) for row in self._connection.execute(query).mappings()]

    def save(self, change: StopChange, word: Word) -> None:
        stop, row = change.stop, _row(change.stop)
        if change.type is StopEventType.PULLED:
            insert_rows(self._connection, STOPS, [row])
        elif change.type is not None:
            self._connection.execute(update(STOPS).where(STOPS.c.stop_id == stop.stop_id).values(row))
        if change.type is not None:
            append(self._connection, STOP_EVENTS, [_event_row(stop, change.type, word)])


# Every message to a bank runs this: it is made once.
_FIND_ACTIVE = prepared(select(STOPS).where(_IN_FORCE).order_by(STOPS.c.pulled_at, STOPS.c.stop_id))


def _row(stop: Stop) -> dict[str, Any]:
    asked, lifted = stop.lift_asked, stop.lifted
    return {
        "stop_id": stop.stop_id,
        "scope_kind": stop.scope.kind,
        "scope_name": stop.scope.name,
        "pulled_by": stop.pulled.person,
        "pulled_at": stop.pulled.at,
        "reason": stop.pulled.reason,
        "lift_asked_by": asked.person if asked else "",
        "lift_asked_at": asked.at if asked else None,
        "lift_asked_reason": asked.reason if asked else "",
        "lifted_by": lifted.person if lifted else "",
        "lifted_at": lifted.at if lifted else None,
        "lifted_reason": lifted.reason if lifted else "",
    }


def _event_row(stop: Stop, type_: StopEventType, word: Word) -> dict[str, Any]:
    return {
        "occurred_at": word.at,
        "type": type_,
        "stop_id": stop.stop_id,
        "scope_kind": stop.scope.kind,
        "scope_name": stop.scope.name,
        "person": word.person,
        "reason": word.reason,
    }


def _stop(row: RowMapping) -> Stop:
    return Stop(
        row["stop_id"],
        Scope(ScopeKind(row["scope_kind"]), row["scope_name"]),
        Word(row["pulled_by"], row["pulled_at"], row["reason"]),
        _word(row["lift_asked_by"], row["lift_asked_at"], row["lift_asked_reason"]),
        _word(row["lifted_by"], row["lifted_at"], row["lifted_reason"]),
    )


def _word(person: str, at: datetime | None, reason: str) -> Word | None:
    return None if at is None else Word(person, at, reason)
