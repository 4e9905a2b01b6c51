"""Events gathered during a transaction and written at its end.

PostgreSQL: a feed's sequence numbers must become visible in their order, so the insert takes a lock per feed that
lasts until the commit. Were it taken in the middle of a use case, two writers could each wait for a row the other
has locked. At the end of the transaction nothing else is waited for, and one insert serves the whole group.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, Connection, Table, bindparam, func, select

from yinqi.runtime.bulk_insert import insert_rows

_KEY = "yinqi.pending_events"
Row = Mapping[str, Any]


class Pending:
    """Rows per event table, in the order of their appending."""

    def __init__(self) -> None:
        self._rows: list[tuple[Table, Sequence[Row]]] = []

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        self._rows.append((table, rows))

    def mark(self) -> int:
        """Return the place to go back to if the use case fails."""
        return len(self._rows)

    def back_to(self, mark: int) -> None:
        del self._rows[mark:]

    def flush(self, connection: Connection) -> None:
        """Write all rows, feed by feed in the order of their names (every writer locks in the same order)."""
        by_table: dict[str, tuple[Table, list[Row]]] = {}
        for table, rows in self._rows:
            by_table.setdefault(table.name, (table, []))[1].extend(rows)
        self._rows.clear()
        for name in sorted(by_table):
            table, rows = by_table[name]
            insert_events(connection, table, rows)


def insert_events(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert at once; on PostgreSQL under the feed's lock, so that commit order is sequence order."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {"key": zlib.crc32(table.name.encode()) | 0x5919_0000_0000})
    insert_rows(connection, table, rows)


_LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))


@contextmanager
def collecting(connection: Connection) -> Iterator[Pending]:
    """Make `of(connection)` return a new `Pending` inside the block."""
    pending = Pending()
    info = connection.info  # Asked for once: a connection that broke meanwhile would raise and hide its own error.
    info[_KEY] = pending
    try:
        yield pending
    finally:
        info.pop(_KEY, None)


def of(connection: Connection) -> Pending | None:
    """Return the transaction's pending events, or None outside `Database.run`."""
    found: Pending | None = connection.info.get(_KEY)
    return found
