"""Seals what was written in clear, while the service works: small steps, each a transaction of its own (docs/data-at-rest.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, select, tuple_, update

from yinqi.crypto import crc32c
from yinqi.runtime.database import Database
from yinqi.runtime.sealing import Sealed, is_sealed, sealing_of


class Walked(NamedTuple):
    """How far a walk over a table is: rows looked at, rows sealed now."""

    table: str
    seen: int
    sealed: int


def count_rows(connection: Connection, tables: Sequence[Sealed]) -> int:
    """Return how many rows a walk will look at."""
    walked = [one.table for one in tables if not one.is_journal]
    return sum(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in walked)


def reseal(database: Database, tables: Sequence[Sealed], *, rows_at_once: int = 500) -> Iterator[Walked]:
    """Seal the rows of tables that are still in clear; yield after each step. May be broken off and begun again.

    Journals are passed over: their rows are in a hash chain, and stay as they were written.

    Raises:
        SealBroken, DataKeyLost, WrappingKeyInvalid: see `Sealing`.
    """
    for sealed in tables:
        if sealed.is_journal:
            continue
        seen, changed, after = 0, 0, None
        while True:
            count, some, after = database.run_sync(
                lambda connection: _step(connection, sealed, after, rows_at_once)  # noqa: B023 (run at once)
            )
            seen, changed = seen + count, changed + some
            yield Walked(sealed.table.name, seen, changed)
            if count < rows_at_once:
                break


def _step(
    connection: Connection, sealed: Sealed, after: tuple[Any, ...] | None, limit: int
) -> tuple[int, int, tuple[Any, ...] | None]:
    """Seal the next rows in the order of their key; return how many were seen, how many changed, and the last key."""
    keys = list(sealed.table.primary_key.columns)
    names = list(dict.fromkeys([*(key.name for key in keys), *sealed.row, *sealed.columns]))
    query = select(*(sealed.table.c[name] for name in names)).order_by(*keys).limit(limit).with_for_update()
    if after is not None:
        query = query.where(tuple_(*keys) > tuple_(*after))
    rows = connection.execute(query).all()
    clear = [row for row in rows if not all(is_sealed(sealed, name, getattr(row, name)) for name in sealed.columns)]
    if clear:
        # A row that is half sealed is opened first: its columns are bound to one another.
        opened = sealing_of(connection).open(connection, sealed, clear, names)
        written = [dict(zip(names, row, strict=True)) for row in opened]
        sealing_of(connection).seal(connection, sealed, written)
        _write(connection, sealed, written)
    last = tuple(getattr(rows[-1], key.name) for key in keys) if rows else after
    return len(rows), len(clear), last


def _write(connection: Connection, sealed: Sealed, rows: Sequence[dict[str, Any]]) -> None:
    keys = list(sealed.table.primary_key.columns)
    written = [*sealed.columns, *([sealed.checksum] if sealed.checksum else [])]
    for row in rows if sealed.checksum else ():
        row[sealed.checksum] = crc32c(row[sealed.fields[0]])
    change = (
        update(sealed.table)
        .where(*(key == bindparam(f"key_{key.name}") for key in keys))
        .values({name: bindparam(f"new_{name}") for name in written})
    )
    given = [
        {f"key_{key.name}": row[key.name] for key in keys} | {f"new_{name}": row[name] for name in written}
        for row in rows
    ]
    connection.execute(change, given)
