"""Feeds: a service's event table is its journal and its outbox; others follow it from a cursor.

Server side: `append` in the use case's transaction, `Feed.follow` behind a `Follow…(after)` RPC.
Client side: `Follower` applies a batch and stores the cursor in one transaction, so each event takes effect once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Generic, TypeVar, cast

import structlog
from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, bindparam, column, select
from sqlalchemy import table as table_named
from sqlalchemy.dialects import postgresql, sqlite

from yinqi.kernel.errors import YinqiError
from yinqi.runtime import pending_events
from yinqi.runtime.columns import UtcTimestamp, big_integer
from yinqi.runtime.database import Database
from yinqi.runtime.statements import prepared
from yinqi.runtime.worker import backoff_s, pause

T = TypeVar("T")
E = TypeVar("E")
_log = structlog.get_logger(__name__)

JOURNAL = "is_journal"  # mark in a table's `info`: its rows are sealed (runtime/journal)
CURSOR_TABLE = "feed_cursor"
_cursor = table_named(CURSOR_TABLE, column("name", String), column("sequence", BigInteger))


# --- tables ---------------------------------------------------------------------------------------------------------


def event_columns() -> list[Column[Any]]:
    """Return the columns every event table begins with (also for `op.create_table` in a migration).

    `sequence`: 64-bit, ascending in commit order, never reused. `occurred_at`: instant, UTC.
    """
    return [
        Column("sequence", big_integer(), primary_key=True, autoincrement=True),
        Column("occurred_at", UtcTimestamp(), nullable=False),
    ]


def event_table(name: str, metadata: MetaData, *own_columns: Any) -> Table:
    """Return an event table: the common columns, then the service's own columns, constraints and indexes.

    A migration makes the same with `op.create_table(name, *event_columns(), ..., sqlite_autoincrement=True)`.
    """
    return Table(name, metadata, *event_columns(), *own_columns, sqlite_autoincrement=True, info={JOURNAL: True})


def cursor_columns() -> list[Column[Any]]:
    """Return the columns of the cursor table (also for `op.create_table(CURSOR_TABLE, *cursor_columns())`)."""
    return [Column("name", String(100), primary_key=True), Column("sequence", BigInteger, nullable=False)]


def cursor_table(metadata: MetaData) -> Table:
    """Return the table that holds one cursor per followed feed; a service that follows needs it."""
    return Table(CURSOR_TABLE, metadata, *cursor_columns())


# --- writing and reading --------------------------------------------------------------------------------------------


def append(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add events to the feed, in order, in the running transaction.

    Inside `Database.run` the rows are written at the end of the transaction, together with those of the other use
    cases of the same commit: decide from your state tables, not from this table. Call `flush` first if a use case
    must read its own events.

    Args:
        rows: one mapping per event, all with the same keys; without `sequence`.
    """
    if not rows:
        return
    pending = pending_events.of(connection)
    if pending is None:
        pending_events.insert_events(connection, table, rows)
    else:
        pending.add(table, rows)


def flush(connection: Connection) -> None:
    """Write the appended events now. On PostgreSQL this holds the feeds' locks until the commit; rarely needed."""
    pending = pending_events.of(connection)
    if pending is not None:
        pending.flush(connection)


def load_cursor(connection: Connection, name: str, *, lock: bool = False) -> int:
    """Return the last sequence that took effect, 0 if none did. `lock` keeps other replicas out until the commit."""
    return int(connection.execute(_LOCK_CURSOR if lock else _LOAD_CURSOR, {"of_feed": name}).scalar() or 0)


def save_cursor(connection: Connection, name: str, sequence: int) -> None:
    """Store the last sequence that took effect; call it in the same transaction as the effect."""
    connection.execute(_SAVE_CURSOR[connection.dialect.name], {"name": name, "sequence": sequence})


def _save_cursor(insert: Callable[..., Any]) -> Any:
    new = insert(_cursor)
    return prepared(new.on_conflict_do_update(index_elements=["name"], set_={"sequence": new.excluded.sequence}))


_OF_FEED = select(_cursor.c.sequence).where(_cursor.c.name == bindparam("of_feed"))
_LOAD_CURSOR, _LOCK_CURSOR = prepared(_OF_FEED), prepared(_OF_FEED.with_for_update())
_SAVE_CURSOR = {"postgresql": _save_cursor(postgresql.insert), "sqlite": _save_cursor(sqlite.insert)}


class Feed(Generic[T]):
    """Serves one event table to followers.

    Args:
        read_batch: returns up to `limit` events with a sequence above `after`, ascending.
        sequence_of: an event's sequence.
        poll_interval_s: how often to look without being woken: other replicas commit without telling us.
        gather_ms: pause after a wake-up, so that a burst of commits is read as one batch.
        shared_batches: keep so many batches for followers that come to the same place, and let those that are there at the
            same time share one read. Only for events that never change once they are written.
    """

    def __init__(
        self,
        database: Database,
        read_batch: Callable[[Connection, int, int], Sequence[T]],
        sequence_of: Callable[[T], int],
        *,
        poll_interval_s: float = 0.5,
        gather_ms: float = 5.0,
        shared_batches: int = 0,
    ) -> None:
        self._shared_batches = shared_batches
        self._shared: dict[tuple[int, int], tuple[int, asyncio.Task[Sequence[T]]]] = {}
        self._wakes = 0
        self._database = database
        self._read_batch = read_batch
        self._sequence_of = sequence_of
        self._poll_interval_s = poll_interval_s
        self._gather_s = gather_ms / 1000
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()
        self._wake_scheduled = False
        database.on_commit(self._committed)

    async def follow(self, after: int, *, batch_max: int = 500) -> AsyncIterator[Sequence[T]]:
        """Yield batches of events after the cursor, for ever; never empty, never out of order, none left out.

        Args:
            after: the last sequence the caller has; 0 for all.
            batch_max: most events in a batch.
        """
        self._loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        self._waiting.add(woken)
        try:
            while True:
                woken.clear()  # Before the read: a commit during it must not be missed.
                batch, is_fresh = await self._read(after, batch_max)
                if batch:
                    after = self._sequence_of(batch[-1])
                    yield batch
                if is_fresh and len(batch) < batch_max:
                    await pause(self._poll_interval_s, woken)
                    await asyncio.sleep(self._gather_s)
        finally:
            self._waiting.discard(woken)

    async def _read(self, after: int, limit: int) -> tuple[Sequence[T], bool]:
        """Return a batch, and whether it holds all that was committed before this call."""
        if not self._shared_batches:
            return await self._database.read(lambda connection: self._read_batch(connection, after, limit)), True
        wakes, task = self._shared.get((after, limit), (-1, None))
        if task is None or (not task.done() and wakes != self._wakes):
            # A read under way since before the last wake-up may lack what woke us.
            task = asyncio.ensure_future(
                self._database.read(lambda connection: self._read_batch(connection, after, limit))
            )
            wakes = self._wakes
            self._shared[after, limit] = (wakes, task)
        was_done = task.done()
        try:
            # One follower's end must not end the read of the others.
            batch = await asyncio.shield(task)
        except BaseException:
            if task.done():
                self._shared.pop((after, limit), None)
            raise
        if not batch:
            self._shared.pop((after, limit), None)
        while len(self._shared) > self._shared_batches:
            del self._shared[next(iter(self._shared))]
        return batch, not was_done

    def _committed(self) -> None:
        """Wake the followers; runs in a writer thread."""
        if self._loop is None or self._wake_scheduled or not self._waiting:
            return
        self._wake_scheduled = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # The loop has ended, and its followers with it.
            self._wake_scheduled = False

    def _wake(self) -> None:
        self._wake_scheduled = False
        self._wakes += 1
        for woken in self._waiting:
            woken.set()


class Follower(Generic[E]):
    """Follows a sister service's feed and applies each event once.

    Args:
        name: of the cursor, e.g. "payment"; one per feed and effect.
        open_stream: opens the feed after a sequence and yields batches, ascending. It may end or break at any time.
        sequence_of: an event's sequence.
        apply: the effect of a batch, a use case in the transaction that also stores the cursor. It must be a
            function of its arguments alone. Events that took effect before are not given to it again.
        idle_timeout_s: reopen the stream if nothing came for so long (a peer may have vanished in silence).
    """

    def __init__(
        self,
        name: str,
        database: Database,
        open_stream: Callable[[int], AsyncIterator[Sequence[E]]],
        sequence_of: Callable[[E], int],
        apply: Callable[[Connection, Sequence[E]], None],
        *,
        backoff_max_s: float = 5.0,
        idle_timeout_s: float = 60.0,
    ) -> None:
        self.name = name
        self.cursor = 0
        self.failures = 0  # in a row; 0 means the feed is being followed
        self.last_error = ""
        self._database = database
        self._open_stream = open_stream
        self._sequence_of = sequence_of
        self._apply = apply
        self._backoff_max_s = backoff_max_s
        self._idle_timeout_s = idle_timeout_s

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop` is set. Every failure is logged and retried from the stored cursor, with backoff."""
        ended = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                following = asyncio.ensure_future(self._follow_once())
                await asyncio.wait([following, ended], return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    following.cancel()
                    await asyncio.wait([following])
                    return
                error = following.exception()
                if error is None and following.result():
                    self.failures = 0  # A silent feed is not a broken one.
                    continue
                self.failures += 1
                rest_s = backoff_s(self.failures, 0.05, self._backoff_max_s)
                self._report(error, rest_s)
                await pause(rest_s, stop)
        finally:
            ended.cancel()

    async def _follow_once(self) -> bool:
        """Follow one stream to its end; return whether it only fell silent."""
        self.cursor = await self._database.read(lambda connection: load_cursor(connection, self.name))
        async with aclosing(cast("Any", self._open_stream(self.cursor))) as stream:
            while True:
                try:
                    # Not wait_for: before Python 3.12 it swallows a cancellation that meets an arriving batch.
                    async with asyncio.timeout(self._idle_timeout_s):
                        batch = await anext(stream)
                except StopAsyncIteration:
                    return False
                except TimeoutError:
                    return True
                await self._take(batch)

    async def _take(self, batch: Sequence[E]) -> None:
        def apply_once(connection: Connection) -> int:
            # Read again under lock: another replica may follow with the same name.
            cursor = load_cursor(connection, self.name, lock=True)
            fresh = [event for event in batch if self._sequence_of(event) > cursor]
            if fresh:
                self._apply(connection, fresh)
                cursor = self._sequence_of(fresh[-1])
                save_cursor(connection, self.name, cursor)
            return cursor

        self.cursor = await self._database.run(apply_once)
        if self.failures:
            _log.info("feed is followed again", feed=self.name, cursor=self.cursor)
        self.failures = 0
        self.last_error = ""

    def _report(self, error: BaseException | None, rest_s: float) -> None:
        facts = {"feed": self.name, "cursor": self.cursor, "failures": self.failures, "retry_in_s": round(rest_s, 3)}
        if error is None:
            self.last_error = "the stream ended"
            _log.debug("feed ended, opening it again", **facts)
        elif isinstance(error, YinqiError):
            self.last_error = str(error)
            _log.warning("feed broke off", reason=error.reason, message=error.message, **facts)
        elif hasattr(error, "code") and callable(error.code):  # a gRPC error: the sister is away or refuses
            self.last_error = f"{type(error).__name__}: {error.code()}"
            _log.warning("feed broke off", code=str(error.code()), **facts)
        else:
            self.last_error = type(error).__name__
            _log.error("feed event could not be applied", exc_info=error, **facts)
