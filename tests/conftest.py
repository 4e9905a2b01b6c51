"""Fixtures for everyone: both stores, a span receiver, free ports."""

from __future__ import annotations

import gc
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import structlog

from yinqi.kernel.clock import Clock, SystemClock
from yinqi.runtime import listening
from yinqi.runtime.database import Database
from yinqi.runtime.otlp_sink import OtlpSink
from yinqi.runtime.postgres_cluster import PostgresCluster
from yinqi.runtime.sealing import Sealing, start_sealing
from yinqi.runtime.settings import Settings
from yinqi.runtime.wrapping_keys import WrappingKeys

SealDatabase = Callable[..., Sealing]

# Test workers are told a width, and a console that was made then keeps it whatever a test says.
for _size in ("COLUMNS", "LINES"):
    os.environ.pop(_size, None)  # noqa: TID251


def pytest_collection_finish() -> None:
    """Look over the modules and the thousands of collected tests once, not at each collection: an eighth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


@pytest.fixture(autouse=True, scope="session")
def _plain_environment() -> Iterator[None]:
    """Keep the machine's own settings and proxies out of the tests; servers speak plain text unless a test says otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):  # noqa: TID251
            if name.startswith(("YINQI_", "OTEL_")) or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
                patch.delenv(name)
        patch.setenv("YINQI_TLS_MODE", "off")
        patch.setenv("YINQI_DEV_IDENTITY_ENABLED", "true")
        yield


@pytest.fixture(autouse=True)
def _logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo `configure_logging`: its handler would write to a stream that is closed with the test.

    A module's logger that was kept at its first use would go on as configured then.
    """
    root, level = logging.getLogger(), logging.getLogger().level
    configure = structlog.configure
    monkeypatch.setattr(
        structlog, "configure", lambda **options: configure(**{**options, "cache_logger_on_first_use": False})
    )
    yield
    if structlog.is_configured():
        root.handlers[:] = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]
        root.setLevel(level)
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """One PostgreSQL server for the whole session; made only if a test asks for it."""
    cluster = PostgresCluster.start(durable=False)
    try:
        cluster.create_database("yinqi_template")
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def postgresql_url(postgres_cluster: PostgresCluster) -> Iterator[str]:
    """A fresh PostgreSQL database."""
    url = postgres_cluster.create_database(template="yinqi_template")
    yield url
    postgres_cluster.drop_database(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite file (not yet made)."""
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database, once per store: a repository test that takes this runs on both."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def open_database() -> Iterator[Callable[..., Database]]:
    """`Database.open` whose databases are closed at the end of the test (ask for it after the URL fixture)."""
    opened: list[Database] = []

    def open_one(url: str, **options: object) -> Database:
        database = Database.open(url, **options)  # type: ignore[arg-type]
        opened.append(database)
        return database

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def seal_database() -> SealDatabase:
    """Let a database be sealed under the key-encryption keys of a folder; makes the first one if there is none."""

    def seal(database: Database, folder: Path, clock: Clock | None = None) -> Sealing:
        if not list(folder.glob("*.kek")):
            WrappingKeys(folder).create(secrets.token_bytes)
        sealing = start_sealing(
            database, str(folder), settings=Settings(), clock=clock or SystemClock(), random_bytes=secrets.token_bytes
        )
        assert sealing is not None
        return sealing

    return seal


@pytest.fixture
def database(database_url: str, open_database: Callable[..., Database]) -> Database:
    """An open, empty store; runs the test on SQLite and on PostgreSQL."""
    return open_database(database_url)


@pytest.fixture
async def otlp_sink() -> AsyncIterator[OtlpSink]:
    """A span receiver; give `otlp_sink.endpoint` to the settings (`otlp_endpoint=`)."""
    sink = OtlpSink()
    await sink.start()
    yield sink
    await sink.stop()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that returns a port nobody listens on."""
    return listening.free_port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a variable folder of their own and ports chosen by the system."""
    return Settings(
        var_dir=tmp_path,
        payment_port=0,
        account_port=0,
        reconciliation_port=0,
        monitoring_port=0,
        gateway_port=0,
        sandbox_bank_port=0,
        console_port=0,
        drain_grace_s=2.0,
    )
