"""Fixtures of the payment tests: a migrated store, and the builders importable by their plain name."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate
from yinqi.runtime.settings import Settings

sys.path[:0] = [str(Path(__file__).parents[2] / "unit" / "payment"), str(Path(__file__).parent)]

from running import House, run_house  # noqa: E402 (found through the line above)


@pytest.fixture
def payment_database(
    database_url: str, open_database: Callable[..., Database], tmp_path: Path, seal_database: Callable[..., object]
) -> Database:
    """The payment service's own store, sealed; runs the test on SQLite and on PostgreSQL."""
    migrate(database_url, "payment")
    database = open_database(database_url)
    seal_database(database, tmp_path / "kek")
    return database


@pytest.fixture
async def house(database_url: str, settings: Settings) -> AsyncIterator[House]:
    """The running payment service between a fake gateway and a fake monitoring; on SQLite and on PostgreSQL."""
    async with run_house(database_url, settings) as running:
        yield running


@pytest.fixture
async def sqlite_house(sqlite_url: str, settings: Settings) -> AsyncIterator[House]:
    """The same on SQLite alone, for what does not depend on the store."""
    async with run_house(sqlite_url, settings) as running:
        yield running
