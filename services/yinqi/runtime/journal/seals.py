"""The table of seals, and the rows of a journal as the store holds them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
)

from yinqi.runtime.database_engine import driver_of
from yinqi.runtime.feed import JOURNAL
from yinqi.runtime.journal.chain import Head, Row, Seal

SEAL_TABLE = "journal_seals"
BEFORE_ALL, AFTER_ALL = -(2**63), 2**63 - 1
_READ_ROWS = 2_000


def seal_columns() -> list[Column[Any]]:
    """Return the columns of the table of seals (also for `op.create_table(SEAL_TABLE, *seal_columns())`).

    Its key makes the sequencer single: of two that seal the same next row, one is refused.
    """
    return [
        Column("stream", String(100), primary_key=True),
        Column("first_position", BigInteger, primary_key=True, autoincrement=False),
        Column("position", BigInteger, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("previous_hash", LargeBinary, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        Column("entries", LargeBinary, nullable=False),
        Column("columns", Text, nullable=False),
        Column("sealed_at", BigInteger, nullable=False),  # microseconds since 1970
        Column("algorithm", String(40), nullable=False),
        Column("key_id", String(200), nullable=False),
        Column("signature", LargeBinary, nullable=False),
    ]


_seals = Table(SEAL_TABLE, MetaData(), *seal_columns())
_NEWEST_FIRST = _seals.c.first_position.desc()


def journals_of(service: str, metadata: MetaData) -> dict[str, Table]:
    """Return a service's journals by the names of their chains, e.g. "payment.payment_events"."""
    return {f"{service}.{t.name}": t for t in metadata.sorted_tables if t.info.get(JOURNAL)}


def has_seals(connection: Connection) -> bool:
    """Return whether the schema is new enough to have seals."""
    return inspect(connection).has_table(SEAL_TABLE)


# --- seals ----------------------------------------------------------------------------------------------------------


def head_of(connection: Connection, stream: str) -> Head:
    """Return where a chain stands."""
    query = select(_seals.c.position, _seals.c.sequence, _seals.c.hash).where(_seals.c.stream == stream)
    row = connection.execute(query.order_by(_NEWEST_FIRST).limit(1)).first()
    return Head.start(stream) if row is None else Head(row.position, row.sequence, bytes(row.hash))


def add_seal(connection: Connection, seal: Seal) -> bool:
    """Add a seal where the chain stands; return False if another sequencer was faster (nothing was added)."""
    if not seal.follows(head_of(connection, seal.stream)):
        return False
    connection.execute(
        insert(_seals),
        {
            "stream": seal.stream,
            "first_position": seal.first_position,
            "position": seal.position,
            "sequence": seal.sequence,
            "previous_hash": seal.previous_hash,
            "hash": seal.hash,
            "entries": seal.entries,
            "columns": ",".join(seal.columns),
            "sealed_at": seal.sealed_at,
            "algorithm": seal.algorithm,
            "key_id": seal.key_id,
            "signature": seal.signature,
        },
    )
    return True


def seals_from(connection: Connection, stream: str, position: int, limit: int) -> list[Seal]:
    """Return up to `limit` seals that end at `position` or later, in order."""
    query = select(_seals).where(_seals.c.stream == stream, _seals.c.position >= position)
    rows = connection.execute(query.order_by(_seals.c.first_position).limit(limit))
    return [_seal(row) for row in rows]


def seal_over(connection: Connection, stream: str, sequence: int) -> Seal | None:
    """Return the seal among whose rows a sequence belongs; None while nothing was sealed so far."""
    query = select(_seals).where(_seals.c.stream == stream, _seals.c.sequence >= sequence)
    row = connection.execute(query.order_by(_seals.c.first_position).limit(1)).first()
    return None if row is None else _seal(row)


def last_seal(connection: Connection, stream: str) -> Seal | None:
    """Return a chain's newest seal."""
    query = select(_seals).where(_seals.c.stream == stream).order_by(_NEWEST_FIRST).limit(1)
    row = connection.execute(query).first()
    return None if row is None else _seal(row)


def _seal(row: Any) -> Seal:
    return Seal(
        row.stream,
        row.first_position,
        row.position,
        row.sequence,
        bytes(row.previous_hash),
        bytes(row.hash),
        bytes(row.entries),
        tuple(row.columns.split(",")),
        row.sealed_at,
        row.algorithm,
        row.key_id,
        bytes(row.signature),
    )


# --- rows -----------------------------------------------------------------------------------------------------------


def column_names(table: Table) -> tuple[str, ...]:
    """Return the names of all columns of a journal, sorted."""
    return tuple(sorted(table.c.keys()))


def rows_after(
    connection: Connection, table: Table, names: tuple[str, ...], after: int, limit: int, *, up_to: int = AFTER_ALL
) -> list[tuple[int, bytes]]:
    """Return up to `limit` rows with a sequence above `after` (and up to `up_to`): sequence and canonical form, ascending.

    The store writes the form itself, of what it really holds: a column's type would smooth an edit away, and a busy event
    loop would feel a thousand rows made in Python.

    Args:
        names: columns, sorted.
    """
    if connection.dialect.name == "postgresql":
        found = connection.exec_driver_sql(_postgresql_query(table, names), (after, up_to, limit))
        return [(sequence, text.encode()) for sequence, text in found]
    driver, bounds = driver_of(connection), (after, up_to, limit)
    try:
        sequences, texts = driver.execute(_sqlite_query(table, names), bounds).fetchone()
    except sqlite3.OperationalError:
        # "JSON cannot hold BLOB values": no journal has one where it belongs to, but any column of SQLite may hold it.
        sequences, texts = driver.execute(_sqlite_query(table, names, holds_bytes=True), bounds).fetchone()
    if sequences is None:
        return []
    # No text in canonical form holds a line feed.
    return list(zip(map(int, sequences.split(",")), texts.split(b"\n"), strict=True))


def all_rows(
    connection: Connection, table: Table, names: tuple[str, ...], after: int, up_to: int = AFTER_ALL
) -> Iterator[tuple[int, Row]]:
    """Yield the rows with a sequence above `after` and up to `up_to`, ascending, a few thousand read at a time."""
    while batch := rows_after(connection, table, names, after, _READ_ROWS, up_to=up_to):
        for after, text in batch:
            # Whoever edits a SQLite file need not write UTF-8.
            yield after, json.loads(text.decode("utf-8", "surrogateescape"))


@lru_cache(maxsize=64)
def _sqlite_query(table: Table, names: tuple[str, ...], *, holds_bytes: bool = False) -> str:
    """Return the query for rows; the one for any that hold bytes writes the others as the quicker one does."""

    def value_of(name: str) -> str:
        kind, cases = table.c[name].type, ""
        if isinstance(kind, Boolean):
            cases += f"WHEN {name} IS 1 THEN json('true') WHEN {name} IS 0 THEN json('false') "
        if not isinstance(kind, String):  # a column for texts makes a text of a number
            cases += f"WHEN typeof({name}) = 'real' THEN json_object('real', {name} || '') "
        if holds_bytes or isinstance(kind, LargeBinary):
            cases += f"WHEN typeof({name}) = 'blob' THEN json_object('bytes', lower(hex({name}))) "
        return f"CASE {cases}ELSE {name} END" if cases else name

    members = ", ".join(f"'{name}', {value_of(name)}" for name in names)
    # One step for all rows: the driver takes and gives the interpreter lock at every step.
    return (
        "SELECT group_concat(sequence), CAST(group_concat(text, char(10)) AS BLOB) "  # noqa: S608 (names are our own)
        f"FROM (SELECT sequence, json_object({members}) AS text FROM {table.name} "
        "WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?)"
    )


@lru_cache(maxsize=64)
def _postgresql_query(table: Table, names: tuple[str, ...]) -> str:
    def value_of(name: str) -> str:
        if isinstance(table.c[name].type, LargeBinary):
            return f"coalesce('{{\"bytes\":\"' || encode({name}, 'hex') || '\"}}', 'null')"
        return f"coalesce(to_json({name})::text, 'null')"

    members = " || ".join(f"'{'{' if i == 0 else ','}\"{name}\":' || {value_of(name)}" for i, name in enumerate(names))
    return (
        f"SELECT sequence, {members} || '}}' FROM {table.name} "  # noqa: S608 (names are our own)
        "WHERE sequence > %s AND sequence <= %s ORDER BY sequence LIMIT %s"
    )
