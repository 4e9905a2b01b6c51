"""The journal of the keys, in the gateway's database: the only record of which key is in use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from yinqi.gateway.key_set import KeyEvent, KeyEventKind, KeyPurpose, KeySet, key_set_of
from yinqi.gateway.repository import KEY_EVENTS
from yinqi.runtime.feed import append, flush

_LOCK_KEY = 7_105_002  # any number that no feed and no other lock uses


class SqlKeys:
    """The keys' journal, on a connection whose transaction the caller holds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self) -> None:
        """Let nobody else decide about keys until the commit, on any replica; and see what this commit holds already."""
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK_KEY)))
        flush(self._connection)

    def events(self, profile: str) -> list[KeyEvent]:
        """Return everything that happened to a profile's keys, oldest first."""
        query = select(KEY_EVENTS).where(KEY_EVENTS.c.profile == profile).order_by(KEY_EVENTS.c.sequence)
        return [_event(row) for row in self._connection.execute(query).mappings()]

    def keys(self, profile: str) -> KeySet:
        """Return a profile's keys."""
        return key_set_of(self.events(profile))

    def append(self, events: Sequence[KeyEvent]) -> None:
        """Add entries."""
        append(self._connection, KEY_EVENTS, [_row(event) for event in events])


def _row(event: KeyEvent) -> dict[str, Any]:
    return {
        "occurred_at": event.at,
        "profile": event.profile,
        "key_id": event.key_id,
        "purpose": event.purpose,
        "kind": event.kind,
        "actor": event.actor,
        "origin": event.origin,
        "public_key": event.public_key,
        "file": event.file,
        "valid_from": event.valid_from,
        "valid_until": event.valid_until,
        "overlap_s": event.overlap // timedelta(seconds=1),
        "signer": event.signer,
        "signature": event.signature,
    }


def _event(row: RowMapping) -> KeyEvent:
    return KeyEvent(
        profile=row["profile"],
        key_id=row["key_id"],
        purpose=KeyPurpose(row["purpose"]),
        kind=KeyEventKind(row["kind"]),
        actor=row["actor"],
        at=row["occurred_at"],
        origin=row["origin"],
        public_key=row["public_key"],
        file=row["file"],
        valid_from=row["valid_from"],
        valid_until=row["valid_until"],
        overlap=timedelta(seconds=row["overlap_s"]),
        signer=row["signer"],
        signature=bytes(row["signature"]),
    )
