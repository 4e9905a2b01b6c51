"""The bank's book: one SQLite file (or memory), one writer, double entry, an answer only after the commit."""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from yinqi.sandbox_bank.schema import create_schema


@dataclass(frozen=True, slots=True)
class Posting:
    """One movement seen from a company account; its other leg is booked on the bank's clearing account.

    amount: hundredths, negative takes from the account.
    """

    account: str
    amount: int
    kind: str
    text: str
    counterparty_name: str = ""
    counterparty_account: str = ""
    reversal: str = ""
    request_number: int | None = None
    reference: str = ""
    original_serial: int | None = None


class Book:
    """Connections to the book. A failed commit leaves the last committed state, also after kill -9."""

    def __init__(self, path: Path | None) -> None:
        """Open the book in a file, or in memory when there is no path: quick to make, gone when closed."""
        if path is None:
            self._writer = self._reader = _in_memory()
            self._writer_lock = self._reader_lock = threading.Lock()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = _durable(_connect(path))
        self._writer_lock, self._reader_lock = threading.Lock(), threading.Lock()
        create_schema(self._writer)
        self._reader = _durable(_connect(path))

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction; rolled back when the block raises."""
        with self._writer_lock, _transaction(self._writer, "BEGIN IMMEDIATE"):
            yield self._writer

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of what is committed; does not wait for the writer of a file."""
        with self._reader_lock, _transaction(self._reader, "BEGIN"):
            yield self._reader

    def close(self) -> None:
        """Wait for running transactions, then close."""
        with self._writer_lock:
            self._writer.close()
        with self._reader_lock:
            self._reader.close()


def get_setting(connection: sqlite3.Connection, name: str) -> str | None:
    """A stored setting, None when never set."""
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def put_setting(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Store a setting."""
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))


def create_account(
    connection: sqlite3.Connection, account: str, currency: str, name: str, opening: int, owner: str = "company"
) -> None:
    """Open an account, and the clearing account of its currency where there is none yet; an existing one stays as it is."""
    insert = "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?, ?, ?)"
    connection.execute(insert, (account, currency, name, owner, opening, opening))
    connection.execute(insert, (clearing_account(currency), currency, "清算户 clearing", "bank", 0, 0))


def clearing_account(currency: str) -> str:
    """The bank's own account that is the other leg of every entry of a currency."""
    return f"CLEARING-{currency}"


def balances(connection: sqlite3.Connection) -> dict[str, int]:
    """Booked balance of every account, hundredths."""
    return dict(connection.execute("SELECT account, booked FROM accounts").fetchall())


def post(connection: sqlite3.Connection, postings: Sequence[Posting], booking_date: str, booked_at: int) -> list[int]:
    """Book both legs of each posting in order.

    Returns:
        The serial of the company's leg, one per posting.
    """
    if not postings:
        return []
    currencies = dict(connection.execute("SELECT account, currency FROM accounts").fetchall())
    running = balances(connection)
    serial = connection.execute("SELECT coalesce(max(serial), 0) FROM entries").fetchone()[0]
    rows, serials = [], []
    for posting in postings:
        clearing = clearing_account(currencies[posting.account])
        serials.append(serial + 1)
        for account, amount in ((posting.account, posting.amount), (clearing, -posting.amount)):
            serial += 1
            running[account] += amount
            rows.append(
                (serial, serials[-1], account, booking_date, booked_at, amount, running[account], posting.kind,
                 posting.reversal, posting.request_number, posting.reference, posting.original_serial,
                 posting.counterparty_name, posting.counterparty_account, posting.text)
            )  # fmt: skip
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    touched = {row[2] for row in rows}
    connection.executemany("UPDATE accounts SET booked = ? WHERE account = ?", [(running[a], a) for a in touched])
    return serials


def _connect(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.row_factory = sqlite3.Row
    return connection


def _durable(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _in_memory() -> sqlite3.Connection:
    connection = _connect(":memory:")
    connection.deserialize(_empty_book())
    return connection


@functools.cache
def _empty_book() -> bytes:
    """An empty book as bytes: a simulation opens thousands, and making the tables is the slow part."""
    connection = _connect(":memory:")
    create_schema(connection)
    return connection.serialize()


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
