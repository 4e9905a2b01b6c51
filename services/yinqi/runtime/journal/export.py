"""Journals with their seals as a file of lines, for those who check them elsewhere (docs/audit.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select

from yinqi.runtime.journal.chain import Head, Row, Seal
from yinqi.runtime.journal.seals import AFTER_ALL, BEFORE_ALL, all_rows, column_names, seals_from

VERSION = 1
_SEALS_AT_ONCE = 50
Line = dict[str, Any]


def header(services: Sequence[str], made_at: str) -> Line:
    """Return the first line of an export.

    Args:
        made_at: all that was sealed up to this instant is in it (`instant_text`).
    """
    return {"kind": "export", "made_at": made_at, "services": sorted(services), "version": VERSION}


def count_rows(connection: Connection, journals: Mapping[str, Table]) -> int:
    """Return how many rows the journals have."""
    counts = (connection.execute(select(func.count()).select_from(table)).scalar() for table in journals.values())
    return sum(int(count or 0) for count in counts)


def export_journal(
    connection: Connection, stream: str, table: Table, advance: Callable[[], None] = lambda: None
) -> Iterator[Line]:
    """Yield one journal's lines: its name, its rows beside their places in the chain, its seals, its end.

    Nothing is judged here: a row that is gone is written as null, one that was never sealed without a place.

    Args:
        connection: in one transaction, so that rows and seals fit.
        advance: called for each row.
    """
    yield {"kind": "journal", "journal": stream}
    head, after, unsealed = Head.start(stream), BEFORE_ALL, 0
    for seal in _seals(connection, stream):
        names = tuple(name for name in seal.columns if name in table.c)
        rows = dict(all_rows(connection, table, names, after, seal.sequence))
        for sequence, digest in seal.rows():
            yield from _strange(rows, sequence)
            head = head.then(sequence, digest)
            advance()
            yield _line(head.position, sequence, digest, head.hash, rows.pop(sequence, None))
        yield from _strange(rows, AFTER_ALL)
        after = max(after, seal.sequence)
        yield {"kind": "seal", **seal.as_json()}
    for sequence, row in all_rows(connection, table, column_names(table), after):
        unsealed += 1
        advance()
        yield {"kind": "unsealed", "row": row, "sequence": sequence}
    yield {"kind": "end", "journal": stream, "position": head.position, "unsealed": unsealed}


def _seals(connection: Connection, stream: str) -> Iterator[Seal]:
    position = 0
    while found := seals_from(connection, stream, position + 1, _SEALS_AT_ONCE):
        yield from found
        position = max(position, *(seal.position for seal in found))


def _strange(rows: dict[int, Row], below: int) -> Iterator[Line]:
    """Yield, and take out, the rows among sealed ones that the seal does not know; `rows` ascend."""
    while rows and (sequence := next(iter(rows))) < below:
        yield _line(None, sequence, None, None, rows.pop(sequence))


def _line(position: int | None, sequence: int, digest: bytes | None, hash_: bytes | None, row: Row | None) -> Line:
    return {
        "kind": "row",
        "position": position,
        "sequence": sequence,
        "digest": digest.hex() if digest else None,
        "hash": hash_.hex() if hash_ else None,
        "row": row,
    }
