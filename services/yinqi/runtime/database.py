"""The store: synchronous use cases in real transactions, many of them in one commit.

`Database.run` puts a use case into a bounded queue. A writer thread takes as many as are waiting, runs them in one
transaction (a savepoint each, so that one's error undoes only itself) and commits once; every caller hears only
after that commit. SQLite has one writer thread, PostgreSQL several. A use case must be a function of its connection
alone: after a lost race, a deadlock or a lost connection it is run again.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, NoReturn, TypeVar

import structlog
from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, SpanKind
from sqlalchemy import Connection, Engine

from yinqi.kernel.clock import epoch_ns
from yinqi.kernel.errors import FailedPrecondition, Overloaded, Unavailable
from yinqi.runtime import attributes, pending_events
from yinqi.runtime.checkpoint import Checkpointer
from yinqi.runtime.database_engine import driver_of, open_engines, with_password_hidden
from yinqi.runtime.database_errors import Fault, fault_of, storage_error
from yinqi.runtime.fail_stop import end_process
from yinqi.runtime.telemetry import Telemetry, format_traceparent

__all__ = ["Database", "DatabaseTooNew", "DatabaseTooOld"]

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_ATTEMPTS_MAX = 5
_RETRY_S = 0.02  # doubled each time: 0.6 s in all
_LINKS_MAX = 128


class DatabaseTooNew(FailedPrecondition):
    """The schema was written by a newer version of the program; nothing was changed."""


class DatabaseTooOld(FailedPrecondition):
    """The schema is older than the program and must be migrated first."""


class _TransactionEnded(RuntimeError):
    """A use case committed or rolled back by itself; the transaction it shares with others is gone."""


class _Job(Generic[T]):
    """One use case on its way through a writer thread."""

    __slots__ = ("error", "future", "loop", "span_context", "use_case", "value")

    def __init__(
        self,
        use_case: Callable[[Connection], T],
        future: asyncio.Future[T] | Future[T],
        loop: asyncio.AbstractEventLoop | None,
        span_context: SpanContext,
    ) -> None:
        self.use_case = use_case
        self.future = future
        self.loop = loop
        self.span_context = span_context
        self.value: T | None = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tell the caller; runs in the caller's loop, or in the writer thread for `run_sync`."""
        if self.future.done():  # cancelled meanwhile
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)  # type: ignore[arg-type]


class _Group:
    """The use cases of one commit; `ended` once the end mark was met among the waiting."""

    __slots__ = ("ended", "jobs")

    def __init__(self, first: _Job[Any]) -> None:
        self.jobs = [first]
        self.ended = False


class HeldConnection:
    """A writer thread's connection, kept from commit to commit: taking it from the pool costs as much as two statements."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def get(self) -> Connection:
        """Return the connection, a new one after `drop`."""
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def drop(self, *, is_broken: bool = False) -> None:
        """Give the connection back; a broken one is thrown away."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if is_broken:
                connection.invalidate()
            connection.close()


def _settle_all(jobs: Sequence[_Job[Any]]) -> None:
    for job in jobs:
        job.settle()


class Database:
    """One service's own store. Build it with `Database.open`."""

    def __init__(
        self,
        write_engine: Engine,
        read_engine: Engine,
        *,
        writers: int,
        readers: int,
        fail_stop: Callable[[BaseException], NoReturn],
        telemetry: Telemetry,
        queue_max: int,
        group_max: int,
        group_time_max_s: float,
    ) -> None:
        self.write_engine = write_engine
        self.read_engine = read_engine
        self.dialect = write_engine.dialect.name
        self._fail_stop = fail_stop
        self._telemetry = telemetry
        self._group_max = group_max
        self._group_time_max_s = group_time_max_s
        self._queue: queue.Queue[_Job[Any] | None] = queue.Queue(maxsize=queue_max)
        self._listeners: list[Callable[[], None]] = []
        self._closed = False
        self._readers = ThreadPoolExecutor(max_workers=readers, thread_name_prefix="db-read")
        self._writers = [
            threading.Thread(target=self._write_loop, name=f"db-write-{number}", daemon=True)
            for number in range(writers)
        ]
        for writer in self._writers:
            writer.start()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        writers: int | None = None,
        readers: int | None = None,
        fail_stop: Callable[[BaseException], NoReturn] = end_process,
        telemetry: Telemetry | None = None,
        queue_max: int = 10_000,
        group_max: int = 256,
        group_time_max_ms: float = 20.0,
    ) -> Database:
        """Open the store at a SQLAlchemy URL (`sqlite:///file`, `postgresql://…`); a SQLite file is made if absent.

        Args:
            writers: writer threads; SQLite always has one, PostgreSQL 4 unless told otherwise.
            readers: reader threads, each with its own connection.
            fail_stop: called when the store broke its promise (I/O error, corruption); must end the process.
            queue_max: use cases waiting; above it `run` raises `Overloaded`.
            group_max: most use cases in one commit.
            group_time_max_ms: after this time a group takes no further use case.
        Raises:
            FailedPrecondition: the URL names a store we do not support, or an in-memory SQLite.
            Unavailable: the store cannot be reached or opened; the message says why.
        """
        telemetry = telemetry or Telemetry.off()
        is_sqlite = url.startswith("sqlite")
        writers = 1 if is_sqlite else writers or 4
        readers = readers or (2 if is_sqlite else 4)
        write_engine, read_engine = open_engines(url, writers=writers, readers=readers)
        _log.debug("database opened", url=with_password_hidden(url), writers=writers, readers=readers)
        return cls(
            write_engine,
            read_engine,
            writers=writers,
            readers=readers,
            fail_stop=fail_stop,
            telemetry=telemetry,
            queue_max=queue_max,
            group_max=group_max,
            group_time_max_s=group_time_max_ms / 1000,
        )

    async def run(self, use_case: Callable[[Connection], T]) -> T:
        """Run a use case in a transaction and return its result after the commit.

        If the use case raises, its changes are undone and the error is raised here. A caller that is cancelled does
        not undo anything: its use case may still be committed.

        Raises:
            Overloaded: the queue is full; nothing was done.
            StorageFull: the disk is full; nothing was recorded.
            Unavailable: the store is away. With reason COMMIT_OUTCOME_UNKNOWN the connection broke during the
                commit: repeat the call with the same key.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._enqueue(_Job(use_case, future, loop, trace.get_current_span().get_span_context()))
        return await future

    def run_sync(self, use_case: Callable[[Connection], T]) -> T:
        """Do what `run` does, from a thread without an event loop (tests, command line)."""
        future: Future[T] = Future()
        self._enqueue(_Job(use_case, future, None, trace.get_current_span().get_span_context()))
        return future.result()

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on a reader thread: one snapshot, all commits so far included, no changes possible.

        Raises:
            Unavailable: the store is away.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_sync, query)

    def read_sync(self, query: Callable[[Connection], T]) -> T:
        """Do what `read` does, in this thread."""
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            try:
                with self.read_engine.connect() as connection, connection.begin():
                    return query(connection)
            except Exception as error:
                self._end_if_broken(error)
                fault = fault_of(error)
                if fault is Fault.NONE:
                    raise
                if not fault.passes or attempt == _ATTEMPTS_MAX:
                    raise storage_error(error) from error
            time.sleep(_RETRY_S * 2**attempt)
        raise Unavailable("DATABASE_UNAVAILABLE", "The database did not answer; try again shortly.")

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every commit, in the writer thread; it must be quick and must not raise."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Finish the queued use cases, then close; later calls raise `Unavailable`. May be called twice."""
        if self._closed:
            return
        self._closed = True
        for _ in self._writers:
            self._queue.put(None)
        for writer in self._writers:
            writer.join()
        self._readers.shutdown(wait=True)
        self.write_engine.dispose()
        self.read_engine.dispose()

    def _enqueue(self, job: _Job[Any]) -> None:
        if self._closed:
            raise Unavailable("DATABASE_CLOSED", "The service is stopping; try again in a few seconds.")
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            raise Overloaded(
                "WRITE_QUEUE_FULL", "Too many changes are waiting to be stored; try again in a second."
            ) from None

    def _write_loop(self) -> None:
        held, checkpointer = HeldConnection(self.write_engine), Checkpointer()
        try:
            while (job := self._queue.get()) is not None:
                is_last = self._write_group(held, job)
                if self.dialect == "sqlite":
                    self._checkpoint(held, checkpointer)
                if is_last:
                    return
        finally:
            held.drop()

    def _checkpoint(self, held: HeldConnection, checkpointer: Checkpointer) -> None:
        try:
            checkpointer.after_commit(held.get())
        except Exception as error:  # noqa: BLE001 (the callers have their answers; what was committed is in the log)
            self._end_if_broken(error)
            _log.warning("the log could not be moved into the store", error=str(error))

    def _write_group(self, held: HeldConnection, first: _Job[Any]) -> bool:
        """Run the first use case and whatever else waits, commit, tell the callers; return whether the end was met."""
        started_ns = epoch_ns()
        group = _Group(first)
        try:
            self._run_group(held, group)
        except BaseException as error:  # noqa: BLE001 (a writer must never die with callers waiting)
            _log.error("writer failed", exc_info=error)
            for waiting in group.jobs:
                waiting.error = waiting.error or storage_error(error)
        self._after_group(group.jobs, started_ns)
        return group.ended

    def _run_group(self, held: HeldConnection, group: _Group) -> None:
        """Run the group's first use case and whatever else waits in one transaction."""
        try:
            self._fill_group(held.get(), group)
        except Exception as error:  # noqa: BLE001 (classified; each caller gets an answer)
            # The whole transaction is gone, not just one use case.
            self._end_if_broken(error)
            fault = fault_of(error)
            held.drop(is_broken=fault is Fault.DISCONNECTED)
            if fault in (Fault.FULL, Fault.COMMIT_UNKNOWN):
                for job in group.jobs:
                    job.error = storage_error(error)
                return
            # One of them spoilt it for all (deadlock, deferred check, lost connection): each alone, with retries.
            for job in group.jobs:
                self._run_alone(job)

    def _fill_group(self, connection: Connection, group: _Group) -> None:
        jobs = group.jobs
        end_at = time.monotonic() + self._group_time_max_s
        with pending_events.collecting(connection) as pending:
            transaction = connection.begin()
            try:
                worth_keeping = False  # whether earlier work must be kept apart from the next use case's error
                index = 0
                while index < len(jobs):
                    job = jobs[index]
                    index += 1
                    if not job.future.cancelled():
                        if self._run_one(connection, job, pending, savepoint=worth_keeping):
                            worth_keeping = True
                        elif not worth_keeping and transaction.is_active:
                            transaction.rollback()
                            transaction = connection.begin()
                        if not transaction.is_active:
                            raise _TransactionEnded("a use case ended the transaction it was given")
                    if index == len(jobs) < self._group_max and time.monotonic() < end_at:
                        self._take_next(group)
                pending.flush(connection)
                transaction.commit()
            except BaseException as error:
                # First of all: after a failed sync even a rollback would touch a store that cannot be trusted.
                self._end_if_broken(error)
                if transaction.is_active:
                    transaction.rollback()
                else:  # A failed commit may leave the driver's transaction open.
                    connection.invalidate()
                raise

    def _end_if_broken(self, error: BaseException) -> None:
        if fault_of(error) is Fault.BROKEN:
            self._fail_stop(error)

    def _take_next(self, group: _Group) -> None:
        """Add the next waiting use case, if any, to the group."""
        try:
            following = self._queue.get_nowait()
        except queue.Empty:
            return
        if following is None:
            group.ended = True
        else:
            group.jobs.append(following)

    def _run_one(
        self, connection: Connection, job: _Job[Any], pending: pending_events.Pending, *, savepoint: bool
    ) -> bool:
        """Run one use case; return whether it left changes worth keeping.

        The first of a group needs no savepoint: if it fails, the transaction holds nothing else.
        """
        attempts_max = 2 if savepoint else 1
        for attempt in range(1, attempts_max + 1):
            mark = pending.mark()
            if savepoint:
                driver_of(connection).execute("SAVEPOINT use_case")
            try:
                job.value = job.use_case(connection)
                if not connection.in_transaction():
                    raise _TransactionEnded("a use case ended the transaction it was given")
                if savepoint:
                    driver_of(connection).execute("RELEASE SAVEPOINT use_case")
            except BaseException as error:
                fault = fault_of(error)
                if fault.spoils_transaction or (fault is Fault.LOST_RACE and not savepoint):
                    raise
                pending.back_to(mark)
                job.error = error
                if not savepoint or not connection.in_transaction():
                    return False
                driver_of(connection).execute("ROLLBACK TO SAVEPOINT use_case")
                driver_of(connection).execute("RELEASE SAVEPOINT use_case")
                if fault is Fault.LOST_RACE and attempt < attempts_max:
                    job.error = None
                    continue
                return False
            return True
        return False

    def _run_alone(self, job: _Job[Any]) -> None:
        """Run one use case in a transaction of its own, again after a fault that passes."""
        job.error = None
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            try:
                with (
                    self.write_engine.connect() as connection,
                    connection.begin() as transaction,
                    pending_events.collecting(connection) as pending,
                ):
                    job.value = job.use_case(connection)
                    if not transaction.is_active:
                        raise _TransactionEnded("a use case ended the transaction it was given")
                    pending.flush(connection)
                return
            except BaseException as error:  # noqa: BLE001 (handed to the caller)
                self._end_if_broken(error)
                fault = fault_of(error)
                if not fault.passes or attempt == _ATTEMPTS_MAX:
                    job.error = error if fault is Fault.NONE else storage_error(error)
                    return
            time.sleep(_RETRY_S * 2**attempt)

    def _after_group(self, jobs: list[_Job[Any]], started_ns: int) -> None:
        for listener in self._listeners:
            try:
                listener()
            except Exception as error:  # noqa: BLE001 (a listener must not cost a caller its answer)
                _log.error("commit listener failed", exc_info=error)
        try:
            self._trace_group(jobs, started_ns)
        except Exception as error:  # noqa: BLE001 (nor may a trace)
            _log.error("commit could not be traced", exc_info=error)
        by_loop: dict[asyncio.AbstractEventLoop | None, list[_Job[Any]]] = {}
        for job in jobs:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, settled in by_loop.items():
            if loop is None:
                _settle_all(settled)
                continue
            try:
                loop.call_soon_threadsafe(_settle_all, settled)
            except RuntimeError:  # The loop has ended; nobody waits any more.
                _log.info("answers dropped, the event loop has ended", count=len(settled))

    def _trace_group(self, jobs: list[_Job[Any]], started_ns: int) -> None:
        """One span for the commit: child of its only caller's span, or a root that links to all of them."""
        if not self._telemetry.enabled:
            return
        by_id = {(job.span_context.trace_id, job.span_context.span_id): job.span_context for job in jobs}
        contexts = [context for context in by_id.values() if context.trace_flags.sampled]
        if not contexts:
            return
        parent = format_traceparent(contexts[0]) if len(contexts) == 1 else ""
        failed = sum(job.error is not None for job in jobs)
        self._telemetry.emit_span(
            f"COMMIT {self._telemetry.service_name}",
            parent_traceparent=parent,
            start_ns=started_ns,
            kind=SpanKind.CLIENT,
            attributes={
                attributes.DB_SYSTEM: self.dialect,
                attributes.DB_OPERATION: "COMMIT",
                attributes.DB_BATCH_SIZE: len(jobs),
                "yinqi.db.failed": failed,
            },
            links=[] if parent else [Link(context) for context in contexts[:_LINKS_MAX]],
        )
