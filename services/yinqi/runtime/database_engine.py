"""SQLAlchemy engines set up for each store: one for writers, one for readers."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from yinqi.kernel.errors import FailedPrecondition, Unavailable
from yinqi.runtime.database_errors import CommitOutcomeUnknown, Fault, fault_of
from yinqi.runtime.statements import keep_plans

_BUSY_TIMEOUT_MS = 5_000
# A server that vanished without a word (its machine is gone, and a standby was promoted) is noticed in about 15 s; the
# system's own defaults wait for hours.
_VANISHED_SERVER = {
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
# A plan that the server keeps for a prepared statement may be made while its table is still empty, and then reads the
# whole table, a thousand keys against each row, until statistics come in a minute or more. Every look-up of ours has an index.
# jit would answer to the price that the first setting puts on the few small tables that are read whole.
_PLANS_BY_INDEX = "-c enable_seqscan=off -c jit=off"


def driver_of(connection: Connection) -> Any:
    """Return the driver's own connection, for statements that run so often that SQLAlchemy's part would cost the most."""
    return connection.connection.driver_connection


def with_password_hidden(url: str) -> str:
    """Return the URL as it may be shown."""
    return make_url(url).render_as_string(hide_password=True)


def parse_url(url: str) -> URL:
    """Return the parsed URL with the driver we use.

    Raises:
        FailedPrecondition: not a URL, another store, or SQLite without a file.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise FailedPrecondition(
            "DATABASE_URL_INVALID",
            "YINQI_DATABASE_URL must look like sqlite:///path/file.db or postgresql://user@host:5432/name.",
        ) from None
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise FailedPrecondition(
                "DATABASE_URL_INVALID", "SQLite needs a file: readers have connections of their own."
            )
        return parsed.set(drivername="sqlite+pysqlite")
    if kind == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise FailedPrecondition("DATABASE_URL_INVALID", f"{kind} is not supported; use sqlite or postgresql.")


def open_engines(url: str, *, writers: int, readers: int) -> tuple[Engine, Engine]:
    """Return (write engine, read engine), having connected once.

    Raises:
        FailedPrecondition, Unavailable: see `Database.open`.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        write_engine, read_engine = _open_sqlite(parsed, readers)
    else:
        write_engine, read_engine = _open_postgresql(parsed, writers, readers)
    try:
        for engine in (write_engine, read_engine):
            with engine.connect():
                pass
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0] if error.orig else type(error).__name__
        raise Unavailable(
            "DATABASE_UNAVAILABLE", f"Cannot open {with_password_hidden(url)}: {reason}. Check YINQI_DATABASE_URL."
        ) from error
    return write_engine, read_engine


def _open_sqlite(url: URL, readers: int) -> tuple[Engine, Engine]:
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            "DATABASE_UNAVAILABLE", f"Cannot make the folder of {url.database}: {error.strerror}."
        ) from error
    arguments: dict[str, Any] = {"check_same_thread": False, "timeout": _BUSY_TIMEOUT_MS / 1000}
    # isolation_level None: the driver begins nothing by itself; `_begin_with` does.
    arguments["isolation_level"] = None
    arguments["cached_statements"] = 512  # bulk_insert prepares one per table and number of rows
    write_engine = create_engine(url, connect_args=arguments, poolclass=QueuePool, pool_size=1, max_overflow=3)
    read_engine = create_engine(
        url, connect_args=arguments, poolclass=QueuePool, pool_size=readers, max_overflow=readers
    )

    @event.listens_for(write_engine, "connect")
    def _prepare_writer(connection: sqlite3.Connection, _record: object) -> None:
        _pragmas(connection, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY")
        # `checkpoint` moves the log long before SQLite would.
        _pragmas(connection, "wal_autocheckpoint=16000", "journal_size_limit=67108864", "cache_size=-16384")

    @event.listens_for(read_engine, "connect")
    def _prepare_reader(connection: sqlite3.Connection, _record: object) -> None:
        _pragmas(connection, "query_only=ON", "temp_store=MEMORY", "cache_size=-16384")

    keep_plans(write_engine)
    keep_plans(read_engine)
    _begin_with(write_engine, "BEGIN IMMEDIATE")
    _begin_with(read_engine, "BEGIN")
    return write_engine, read_engine


def _begin_with(engine: Engine, statement: str) -> None:
    """Let the engine's transactions begin with this statement (an event and SQLAlchemy's cursor cost ten times as much)."""

    def begin(dbapi_connection: Any) -> None:
        dbapi_connection.execute(statement)

    engine.dialect.do_begin = begin  # type: ignore[method-assign]


def _pragmas(connection: sqlite3.Connection, *settings: str) -> None:
    for setting in settings:
        connection.execute(f"PRAGMA {setting}")


def _open_postgresql(url: URL, writers: int, readers: int) -> tuple[Engine, Engine]:
    # What the URL says of its own comes last and wins.
    options = f"{_PLANS_BY_INDEX} {url.query.get('options', '')}".rstrip()
    arguments: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": "yinqi",
        **_VANISHED_SERVER,
        "options": options,
    }
    write_engine = create_engine(
        url, connect_args=arguments, pool_size=writers, max_overflow=2, isolation_level="READ COMMITTED"
    )
    read_engine = create_engine(
        url, connect_args=arguments, pool_size=readers, max_overflow=readers, isolation_level="REPEATABLE READ"
    ).execution_options(postgresql_readonly=True)

    original_commit = write_engine.dialect.do_commit

    def commit(dbapi_connection: Any) -> None:
        try:
            original_commit(dbapi_connection)
        except write_engine.dialect.loaded_dbapi.Error as error:
            wrapped = DBAPIError.instance("COMMIT", None, error, write_engine.dialect.loaded_dbapi.Error)
            if isinstance(wrapped, DBAPIError) and (
                dbapi_connection.closed or dbapi_connection.broken or fault_of(wrapped) is Fault.DISCONNECTED
            ):
                raise CommitOutcomeUnknown from error
            raise

    write_engine.dialect.do_commit = commit  # type: ignore[method-assign]
    return write_engine, read_engine
