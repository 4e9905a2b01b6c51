"""A service's store in memory: the real writer and the real repositories, a disk that can be made to fail."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import tempfile
from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

from yinqi.runtime.database import Database, HeldConnection
from yinqi.runtime.migrations import migrate, version_table
from yinqi.runtime.statements import keep_plans
from yinqi.runtime.telemetry import Telemetry
from yinqi.simulation.loop import OWNER

T = TypeVar("T")
_COMMIT_S = 0.002


class DiskFault(StrEnum):
    """What can go wrong at a commit. Nobody who waits for that commit hears that it succeeded."""

    CRASH_BEFORE = "crash before the commit"
    CRASH_AFTER = "crash after the commit, before anybody heard of it"
    SYNC_FAILED = "sync failed, the un-synced tail is lost"
    SYNC_FAILED_KEPT = "sync failed, but the tail was on the disk"
    FULL = "disk full"


class ProcessEnded(BaseException):
    """The process ended in the middle of what it did."""


class Disk:
    """What outlives a process: one SQLite database in memory, and the faults its next commits will meet.

    Args:
        on_crash: ends the process that uses the disk.
        tally: counts the faults that struck.
    """

    def __init__(self, service: str, on_crash: Callable[[str], None], tally: Counter[str]) -> None:
        self.raw = _emptied(service)
        self.engine = _engine(service)
        self.faults: deque[DiskFault] = deque()
        self.commits = 0
        self.is_reading = False
        self._on_crash = on_crash
        self._tally = tally
        self.held = HeldConnection(self.engine)
        _disk_of[service] = self

    def commit(self) -> None:
        """Let the fault that waits for this commit happen, if any."""
        self.commits += 1
        if not self.faults:
            return
        fault = self.faults.popleft()
        self._tally[f"disk: {fault}"] += 1
        if fault is DiskFault.FULL:
            raise _sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full")
        if fault in (DiskFault.CRASH_AFTER, DiskFault.SYNC_FAILED_KEPT):
            self.raw.execute("COMMIT")
        if fault in (DiskFault.SYNC_FAILED, DiskFault.SYNC_FAILED_KEPT):
            raise _sqlite_error(sqlite3.SQLITE_IOERR | (4 << 8), "disk I/O error")  # SQLITE_IOERR_FSYNC
        self._end(str(fault))

    def break_down(self, _error: BaseException) -> NoReturn:
        """End the process because its store broke a promise (`Database`'s fail stop)."""
        self._end("fail stop: the store broke its promise")

    def _end(self, why: str) -> NoReturn:
        self.raw.rollback()  # what was not committed is gone with the process
        self._on_crash(why)
        raise ProcessEnded(why)


class SimulatedDatabase(Database):
    """`Database` with its own group commit, but on the event loop instead of in threads."""

    def __init__(self, disk: Disk, telemetry: Telemetry) -> None:
        # Not super().__init__(): it starts threads.
        self._disk = disk
        disk.held.drop()  # a process that crashed in a commit left it broken
        self.write_engine = self.read_engine = disk.engine
        self.dialect = "sqlite"
        self._fail_stop = disk.break_down
        self._telemetry = telemetry
        self._group_max, self._group_time_max_s = 256, float("inf")
        self._queue: queue.Queue[Any] = queue.Queue()
        self._listeners: list[Callable[[], None]] = []
        self._closed = False
        self._owner = OWNER.get()
        self._is_scheduled = False

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query; see `Database.read`."""
        await asyncio.sleep(0)
        self._end_if_dead()
        return self.read_sync(query)

    def read_sync(self, query: Callable[[Connection], T]) -> T:
        """Run a query at once; see `Database.read_sync`."""
        self._disk.is_reading = True
        connection = self._disk.held.get()
        try:
            with connection.begin():
                return query(connection)
        finally:
            self._disk.is_reading = False

    def close(self) -> None:
        """Nothing to close: the disk stays."""

    def _enqueue(self, job: Any) -> None:
        self._end_if_dead()
        self._queue.put_nowait(job)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_later(_COMMIT_S, self._write)

    def _write(self) -> None:
        self._is_scheduled = False
        while self._is_alive() and not self._queue.empty():
            self._write_group(self._disk.held, self._queue.get_nowait())

    def _is_alive(self) -> bool:
        return self._owner is None or self._owner.is_alive

    def _end_if_dead(self) -> None:
        if not self._is_alive():
            raise asyncio.CancelledError


_disk_of: dict[str, Disk] = {}


class _Kept(sqlite3.Connection):
    """A connection to a database that must outlive it: closing ends what is uncommitted, as with a file."""

    def close(self) -> None:
        self.rollback()


@cache
def _engine(service: str) -> Engine:
    """Return one engine per service and process: what SQLAlchemy compiled is kept from seed to seed."""
    engine = create_engine("sqlite+pysqlite://", creator=lambda: _raw(service), poolclass=StaticPool)
    keep_plans(engine)

    # Not SQLAlchemy's events: one listener makes it look for listeners at every statement.
    dialect: Any = engine.dialect
    original_commit = dialect.do_commit

    def commit(connection: Any) -> None:
        if not _disk_of[service].is_reading:
            _disk_of[service].commit()
        original_commit(connection)

    dialect.do_begin = lambda _connection: _disk_of[service].raw.execute("BEGIN IMMEDIATE")
    dialect.do_commit = commit
    return engine


@cache
def _raw(service: str) -> sqlite3.Connection:
    """Return one database per service and process: what SQLite prepared is kept from seed to seed."""
    raw = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, cached_statements=512, factory=_Kept
    )
    raw.deserialize(_template(service))
    raw.execute("PRAGMA foreign_keys=ON")
    return raw


def _emptied(service: str) -> sqlite3.Connection:
    """Return the service's database as its migrations make it, without what the story before left."""
    raw = _raw(service)
    raw.rollback()
    for statement in _emptying(service):
        raw.execute(statement)
    return raw


@cache
def _emptying(service: str) -> list[str]:
    tables = _raw(service).execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    # No pragma here: one that sets a flag makes SQLite prepare every statement of the connection again.
    return [f"DELETE FROM {name}" for (name,) in tables if name != version_table(service)]  # noqa: S608 (our own names)


def _template(service: str) -> bytes:
    """Return an empty database as the service's migrations make it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template.db"
        migrate(f"sqlite:///{file}", service)
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("PRAGMA journal_mode=DELETE")  # an image in WAL mode cannot live in memory
        image = connection.serialize()
        connection.close()
        return image


def _sqlite_error(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error
