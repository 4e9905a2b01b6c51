"""What a failure of the store means: which ones pass, which end the process, which go to the caller."""

from __future__ import annotations

import enum
import sqlite3

import psycopg
from sqlalchemy.exc import DBAPIError

from yinqi.kernel.errors import StorageFull, Unavailable


class CommitOutcomeUnknown(Exception):
    """The connection broke while the commit was under way; carries the driver's error as its cause."""


class Fault(enum.Enum):
    """Kinds of failure, by what must happen next."""

    NONE = "the use case's own error"
    LOST_RACE = "another writer stored the same key first; running again will see it"
    CONFLICT = "deadlock or serialization failure; running again helps"
    DISCONNECTED = "the connection broke before the commit; running again is safe"
    BUSY = "another process holds the store"
    COMMIT_UNKNOWN = "the connection broke during the commit"
    FULL = "the disk is full"
    BROKEN = "the store broke its promise: the process must end"

    @property
    def spoils_transaction(self) -> bool:
        """Whether nothing in the transaction can be kept."""
        return self not in (Fault.NONE, Fault.LOST_RACE)

    @property
    def passes(self) -> bool:
        """Whether running the use case again in a new transaction is safe and may help."""
        return self in (Fault.LOST_RACE, Fault.CONFLICT, Fault.DISCONNECTED)


_SQLITE_FAULTS = {
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_IOERR: Fault.BROKEN,
    sqlite3.SQLITE_CORRUPT: Fault.BROKEN,
    sqlite3.SQLITE_NOTADB: Fault.BROKEN,
    sqlite3.SQLITE_BUSY: Fault.BUSY,
}
_POSTGRESQL_FAULTS = {
    "40001": Fault.CONFLICT,
    "40P01": Fault.CONFLICT,
    "53100": Fault.FULL,
    "58030": Fault.BROKEN,
    "XX001": Fault.BROKEN,
    "XX002": Fault.BROKEN,
    "55P03": Fault.BUSY,
}
_POSTGRESQL_CLASSES = {"08": Fault.DISCONNECTED, "57": Fault.DISCONNECTED, "53": Fault.BUSY}
_UNIQUE_VIOLATION = "23505"


def fault_of(error: BaseException) -> Fault:
    """Classify an error raised in or around a use case."""
    if isinstance(error, CommitOutcomeUnknown):
        return Fault.COMMIT_UNKNOWN
    if isinstance(error, DBAPIError):
        if error.connection_invalidated and not isinstance(error.orig, sqlite3.Error):
            return Fault.DISCONNECTED
        return _driver_fault(error.orig)
    return _driver_fault(error)


def _driver_fault(error: BaseException | None) -> Fault:
    if isinstance(error, sqlite3.Error):
        # Extended codes (SQLITE_IOERR_FSYNC …) carry the primary code in their low byte.
        return _SQLITE_FAULTS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, Fault.NONE)
    if not isinstance(error, psycopg.Error):
        return Fault.NONE
    state = error.sqlstate or ""
    if state == _UNIQUE_VIOLATION:
        return Fault.LOST_RACE
    fault = _POSTGRESQL_FAULTS.get(state) or _POSTGRESQL_CLASSES.get(state[:2])
    if fault is None and not state and isinstance(error, psycopg.OperationalError):
        return Fault.DISCONNECTED  # could not connect, or the line broke: the driver has no state to report
    return fault or Fault.NONE


def storage_error(error: BaseException) -> BaseException:
    """Return what the caller is told; the driver's own words stay inside (they may quote stored values)."""
    fault = fault_of(error)
    if fault is Fault.FULL:
        return StorageFull(
            "STORAGE_FULL",
            "The service's disk is full; nothing was stored. An operator must free space; then repeat the call.",
            "磁盘已满，未保存任何内容；请清理空间后重试。",
        )
    if fault is Fault.COMMIT_UNKNOWN:
        return Unavailable(
            "COMMIT_OUTCOME_UNKNOWN",
            "The database connection broke during the commit; repeat the call with the same key.",
        )
    if fault is Fault.NONE:
        return error
    return Unavailable("DATABASE_UNAVAILABLE", "The database did not answer; nothing was stored. Try again shortly.")
