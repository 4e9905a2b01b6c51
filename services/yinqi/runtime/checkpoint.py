"""Moves SQLite's log (WAL) into the store after commits, in the writer thread, once the callers have their answers.

SQLite would do it by itself inside a commit, but keeps a failed sync of that move to itself: nothing acknowledged would be
lost, as it stays in the log, yet the process would go on upon a disk that fails (D-085).
"""

from __future__ import annotations

from sqlalchemy import Connection

from yinqi.runtime.database_engine import driver_of

ROWS_BETWEEN = 2_000
"""A row changes about a page, so the log stays near 8 MB; SQLite's own limit is behind it for rows of many pages."""


class Checkpointer:
    """Counts what one connection changed since the last move."""

    def __init__(self) -> None:
        self._rows_moved = 0

    def after_commit(self, connection: Connection) -> None:
        """Move the log if enough has changed; readers are not waited for, what they need stays until the next time.

        Raises:
            sqlite3.Error: the disk failed or is full; the log still has everything.
        """
        driver = driver_of(connection)
        rows = driver.total_changes
        self._rows_moved = min(self._rows_moved, rows)  # a new connection counts from 0
        if rows - self._rows_moved >= ROWS_BETWEEN:
            self._rows_moved = rows
            driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
