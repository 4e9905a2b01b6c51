"""Single rows of a journal, with what shows that they are in the chain that a signed seal ends (docs/evidence-bundle.md).

A seal signs the hash after its last row. So a row needs the hash before it and, from it on, each row's sequence and digest
up to the seal's end: 40 bytes a row, at most those of one seal.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table

from yinqi.runtime.journal.chain import Head, Seal
from yinqi.runtime.journal.seals import column_names, rows_after, seal_over

Item = dict[str, Any]


def prove_rows(connection: Connection, stream: str, table: Table, sequences: Sequence[int]) -> Iterator[Item]:
    """Yield the seals over some rows, each before its rows, then the rows that wait for their seal.

    Args:
        sequences: of rows that are there, in any order.
    """
    waiting, wanted = [], dict[int, tuple[Seal, list[int]]]()
    seal: Seal | None = None
    for sequence in sorted(set(sequences)):
        if seal is None or sequence > seal.sequence:
            seal = seal_over(connection, stream, sequence)
        if seal is None:
            waiting.append(sequence)
        else:
            wanted.setdefault(seal.position, (seal, []))[1].append(sequence)
    for seal, its in wanted.values():
        yield from _sealed(connection, table, seal, its)
    for sequence in waiting:
        yield _row(connection, stream, table, column_names(table), sequence, None)


def _sealed(connection: Connection, table: Table, seal: Seal, sequences: Sequence[int]) -> Iterator[Item]:
    places = {sequence: seal.first_position + index for index, (sequence, _) in enumerate(seal.rows())}
    # A row among sealed ones that the seal does not know is told with place 0, which no seal covers: the check says so.
    first = min((places[one] for one in sequences if one in places), default=seal.first_position)
    before = Head(seal.first_position - 1, None, seal.previous_hash)
    for sequence, digest in seal.rows():
        if before.position == first - 1:
            break
        before = before.then(sequence, digest)
    entry_bytes = len(seal.entries) // (seal.position - seal.first_position + 1)
    entries = seal.entries[(first - seal.first_position) * entry_bytes :]
    yield {
        "kind": "seal",
        **seal.as_json(),
        "after": {"hash": before.hash.hex(), "position": before.position},
        "entries": base64.b64encode(entries).decode("ascii"),
    }
    names = tuple(name for name in seal.columns if name in table.c)
    for sequence in sequences:
        yield _row(connection, seal.stream, table, names, sequence, places.get(sequence, 0))


def _row(
    connection: Connection, stream: str, table: Table, names: tuple[str, ...], sequence: int, position: int | None
) -> Item:
    ((_, text),) = rows_after(connection, table, names, sequence - 1, 1, up_to=sequence)
    return {"kind": "row", "journal": stream, "position": position, "row": json.loads(text)}
