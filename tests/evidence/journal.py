"""Evidence 18, audit chain: a journal of 10,000 rows, every kind of tampering at random rows, and whether the row is named."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

from yinqi.crypto import Signer, SigningKey
from yinqi.payment.status import PaymentStatus
from yinqi.payment.tables import payment_events
from yinqi.runtime.columns import utc_instant
from yinqi.runtime.database_engine import open_engines
from yinqi.runtime.journal.chain import Head, canonical, lines_of, row_digests, seal_rows
from yinqi.runtime.journal.export import export_journal, header
from yinqi.runtime.journal.findings import FaultKind, Report
from yinqi.runtime.journal.keys import PublicKey, key_id_of
from yinqi.runtime.journal.seals import add_seal, column_names, head_of, rows_after, seals_from
from yinqi.runtime.journal.verify import Copies, Receipt, verify
from yinqi.runtime.migrations import migrate

STREAM = "payment.payment_events"
ROWS, SEAL_ROWS = 10_000, 500
CASES, CASES_SHORT = 10, 1
_MADE_AT = "2026-11-23T00:00:00.000000Z"
_SEALED_AT = 1_795_000_000_000_000


def signer(key: SigningKey | None = None) -> Signer:
    """Return a signer as services have one."""
    key = key or SigningKey.generate()
    return Signer.from_key(key, key_id_of(Signer.from_key(key).public_key()))


class Journal:
    """A payment service's journal in a file, sealed, its seals also outside. Sequences are even, so that rows fit between."""

    def __init__(self, folder: Path, rows: int = ROWS) -> None:
        self.rows = rows
        url = f"sqlite:///{folder}/payment.db"
        migrate(url, "payment")
        self._engine, self._reader = open_engines(url, writers=1, readers=1)
        self.key = signer()
        self.public_key = PublicKey(self.key.public_key())
        with self._engine.connect() as connection, connection.begin():
            connection.execute(payment_events.insert(), [_event(2 * number) for number in range(1, rows + 1)])
            seal(connection, self.key)
            lines = [one.as_line() for one in seals_from(connection, STREAM, 1, rows)]
            self.receipt = Receipt(STREAM, rows, head_of(connection, STREAM).hash.hex()[:32])
            self.export = list(self._lines(connection))
        self.copies = Copies([self.public_key])
        self.copies.add("outside", lines)

    def close(self) -> None:
        """Close the store."""
        self._engine.dispose()
        self._reader.dispose()

    def after(self, tamper: Callable[[Connection], None]) -> list[bytes]:
        """Return the export of the database after someone with all rights to it was there; then undo what they did."""
        with self._engine.connect() as connection:
            transaction = connection.begin()
            tamper(connection)
            lines = list(self._lines(connection))
            transaction.rollback()
        return lines

    def check(self, lines: list[bytes], *, outside: bool = True) -> Report:
        """Check an export."""
        return verify(lines, copies=self.copies if outside else None, keys=[self.public_key])

    @staticmethod
    def _lines(connection: Connection) -> Iterator[bytes]:
        yield from lines_of([header(["payment"], _MADE_AT)])
        yield from lines_of(export_journal(connection, STREAM, payment_events))


def seal(connection: Connection, key: Signer) -> None:
    """Seal all that is unsealed, as the sequencer does."""
    names = column_names(payment_events)
    while rows := rows_after(connection, payment_events, names, head_of(connection, STREAM).sequence or 0, SEAL_ROWS):
        assert add_seal(connection, seal_rows(STREAM, head_of(connection, STREAM), rows, names, _SEALED_AT, key))


def _event(sequence: int) -> dict[str, object]:
    return {
        "sequence": sequence,
        "occurred_at": utc_instant(_SEALED_AT + sequence),
        "instruction_id": f"PI{sequence // 10:022d}",
        "type": "SETTLED",
        "from_status": PaymentStatus.PROCESSING if sequence % 10 else None,
        "to_status": PaymentStatus.SETTLED,
        "reason_code": "",
        "reason_proprietary_code": "",
        "reason_text": "银行受理成功",
        "actor": "worker",
        "submission_attempts": 1,
        "account_servicer_reference": f"H{sequence}",
        "settlement_date": "2026-11-22",
        "return_date": "",
    }


# --- tampering with the database --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tampering:
    """What someone did, and the row that must be named.

    Attributes:
        sequence: the first bad row; None where only its position is known.
        position: its place in the chain; None for a row that never had one.
    """

    lines: list[bytes]
    sequence: int | None
    position: int | None
    kinds: tuple[FaultKind, ...] = ()


def _sql(statement: str, **values: object) -> Callable[[Connection], None]:
    return lambda connection: connection.execute(text(statement), values) and None


def _edit(column: str, value: str) -> Callable[[Journal, random.Random], Tampering]:
    def tamper(journal: Journal, chance: random.Random) -> Tampering:
        n = chance.randint(1, journal.rows)
        statement = f"UPDATE payment_events SET {column} = {value} WHERE sequence = :s"
        return Tampering(journal.after(_sql(statement, s=2 * n)), 2 * n, n, (FaultKind.CHANGED,))

    return tamper


def _delete(journal: Journal, chance: random.Random) -> Tampering:
    n = chance.randint(1, journal.rows)
    lines = journal.after(_sql("DELETE FROM payment_events WHERE sequence = :s", s=2 * n))
    return Tampering(lines, 2 * n, n, (FaultKind.DELETED,))


def _insert(journal: Journal, chance: random.Random) -> Tampering:
    n = chance.randint(1, journal.rows - 1)
    event = _event(2 * n + 1)
    lines = journal.after(lambda connection: connection.execute(payment_events.insert(), event) and None)
    return Tampering(lines, 2 * n + 1, None, (FaultKind.INSERTED,))


def _swap(journal: Journal, chance: random.Random) -> Tampering:
    first, second = sorted(chance.sample(range(1, journal.rows + 1), 2))
    statement = "UPDATE payment_events SET sequence = :new WHERE sequence = :old"

    def tamper(connection: Connection) -> None:
        for old, new in ((2 * first, -1), (2 * second, 2 * first), (-1, 2 * second)):
            connection.execute(text(statement), {"old": old, "new": new})

    return Tampering(journal.after(tamper), 2 * first, first, (FaultKind.CHANGED,))


def _move(journal: Journal, chance: random.Random) -> Tampering:
    n, to = sorted(chance.sample(range(1, journal.rows), 2))
    statement = "UPDATE payment_events SET sequence = :new WHERE sequence = :old"
    return Tampering(journal.after(_sql(statement, old=2 * n, new=2 * to + 1)), 2 * n, n, (FaultKind.DELETED,))


def _cut_rows(journal: Journal, chance: random.Random) -> Tampering:
    n = chance.randint(1, journal.rows)
    lines = journal.after(_sql("DELETE FROM payment_events WHERE sequence >= :s", s=2 * n))
    return Tampering(lines, 2 * n, n, (FaultKind.DELETED,))


def _cut_rows_and_seals(journal: Journal, chance: random.Random) -> Tampering:
    """Leave a journal that is whole in itself, only shorter; the seals outside know more."""
    last = chance.randrange(0, journal.rows, SEAL_ROWS)

    def tamper(connection: Connection) -> None:
        connection.execute(text("DELETE FROM payment_events WHERE sequence > :s"), {"s": 2 * last})
        connection.execute(text("DELETE FROM journal_seals WHERE position > :p"), {"p": last})

    return Tampering(journal.after(tamper), 2 * last + 2, last + 1, (FaultKind.CUT,))


def _rewrite(journal: Journal, chance: random.Random) -> Tampering:
    """Change a row and make the whole chain again from there on, with a key of their own."""
    n = chance.randint(1, journal.rows)

    def tamper(connection: Connection) -> None:
        connection.execute(text("UPDATE payment_events SET actor = 'nobody' WHERE sequence = :s"), {"s": 2 * n})
        connection.execute(text("DELETE FROM journal_seals WHERE position >= :p"), {"p": n})
        seal(connection, signer())

    return Tampering(journal.after(tamper), 2 * n, n, (FaultKind.REWRITTEN,))


# --- tampering with the export -----------------------------------------------------------------------------------------


def _row_line(journal: Journal, chance: random.Random) -> tuple[int, int]:
    """Return a row's position and the index of its line: a head and a name come first, a seal after each 500 rows."""
    n = chance.randint(2, journal.rows - 1)
    return n, 1 + n + (n - 1) // SEAL_ROWS


def _flip(journal: Journal, chance: random.Random) -> Tampering:
    n, index = _row_line(journal, chance)
    line = bytearray(journal.export[index])
    line[chance.randrange(len(line))] ^= 1 << chance.randrange(8)
    return Tampering([*journal.export[:index], bytes(line), *journal.export[index + 1 :]], None, n)


def _drop_line(journal: Journal, chance: random.Random) -> Tampering:
    n, index = _row_line(journal, chance)
    return Tampering([*journal.export[:index], *journal.export[index + 1 :]], 2 * n, n)


def _swap_lines(journal: Journal, chance: random.Random) -> Tampering:
    n, index = _row_line(journal, chance)
    if n % SEAL_ROWS == 0:  # the next line is a seal
        n, index = n - 1, index - 1
    lines = list(journal.export)
    lines[index], lines[index + 1] = lines[index + 1], lines[index]
    return Tampering(lines, 2 * n, n)


def _repeat_line(journal: Journal, chance: random.Random) -> Tampering:
    n, index = _row_line(journal, chance)
    lines = list(journal.export)
    lines.insert(index + 1, lines[index])
    return Tampering(lines, 2 * n, n, (FaultKind.MISPLACED,))


def _forge_line(journal: Journal, chance: random.Random) -> Tampering:
    """Change a row, its digest and its hash."""
    n, index = _row_line(journal, chance)
    line, before = json.loads(journal.export[index]), n - 1
    line["row"]["actor"] = "nobody"
    digest = row_digests(STREAM, [canonical(line["row"])])[0]
    head = [one for one in map(json.loads, journal.export[index - 2 : index]) if one["kind"] == "row"][-1]
    after = Head(before, head["sequence"], bytes.fromhex(head["hash"])).then(line["sequence"], digest)
    line["digest"], line["hash"] = digest.hex(), after.hash.hex()
    lines = [*journal.export[:index], *lines_of([line]), *journal.export[index + 1 :]]
    return Tampering(lines, 2 * n, n, (FaultKind.REWRITTEN,))


def _cut_export(journal: Journal, chance: random.Random) -> Tampering:
    """Cut the file and write a fitting last line."""
    n, index = _row_line(journal, chance)
    end = {"kind": "end", "journal": STREAM, "position": n - 1, "unsealed": 0}
    return Tampering([*journal.export[:index], *lines_of([end])], None, None)


KINDS: dict[str, Callable[[Journal, random.Random], Tampering]] = {
    "edit a text": _edit("reason_text", "'银行受理失败'"),
    "edit a status": _edit("to_status", "'REJECTED'"),
    "edit a time by 1 µs": _edit("occurred_at", "occurred_at + 1"),
    "edit a number": _edit("submission_attempts", "0"),
    "edit: text to bytes": _edit("actor", "CAST('worker' AS BLOB)"),
    "edit: empty to nothing else than null": _edit("from_status", "coalesce(nullif(from_status, 'PROCESSING'), '')"),
    "delete": _delete,
    "insert": _insert,
    "swap two rows": _swap,
    "move a row": _move,
    "cut the tail": _cut_rows,
    "cut the tail and its seals": _cut_rows_and_seals,
    "rewrite the chain with another key": _rewrite,
    "export: flip a bit of a row": _flip,
    "export: drop a line": _drop_line,
    "export: swap two lines": _swap_lines,
    "export: repeat a line": _repeat_line,
    "export: forge a line with its hash": _forge_line,
    "export: cut, with a fitting end": _cut_export,
}


@contextmanager
def sealed_journal(rows: int = ROWS) -> Iterator[Journal]:
    """Make a journal in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="yinqi-journal-") as folder:
        made = Journal(Path(folder), rows)
        try:
            yield made
        finally:
            made.close()


def is_named(report: Report, done: Tampering) -> bool:
    """Return whether the first fault names the row that was tampered with first."""
    if report.is_good:
        return False
    first = report.faults[0]
    if done.position is None and done.sequence is None:
        return first.position is not None
    return (
        (done.position is None or first.position == done.position)
        and (done.sequence is None or first.sequence == done.sequence)
        and (not done.kinds or first.kind in done.kinds)
    )


def journal(short: bool) -> None:
    """Run the cases, print the figures; AssertionError if one was not found or the wrong row was named."""
    run(CASES_SHORT if short else CASES)


def run(cases: int, rows: int = ROWS, seed: int = 1) -> None:
    """Run `cases` of every kind at random rows."""
    chance, wrong = random.Random(seed), Counter[str]()
    with sealed_journal(rows) as made:
        started = time.process_time()
        clean = made.check(made.export)
        seconds = time.process_time() - started
        assert clean.is_good, clean.faults[:1]
        assert clean.rows == rows
        print(f"{rows:,} rows, untouched: no fault; {rows / seconds:,.0f} rows checked per CPU second", flush=True)
        for name, tamper in KINDS.items():
            named = 0
            for _ in range(cases):
                done = tamper(made, chance)
                named += is_named(made.check(done.lines), done)
            wrong[name] = cases - named
            print(f"  {name}: {named} of {cases} found, the row named", flush=True)
    assert not wrong.total(), f"not found, or the wrong row named: {dict(+wrong)}"


if __name__ == "__main__":
    run(CASES)
