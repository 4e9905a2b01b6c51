"""Fixtures of the payment tests: a migrated store, and the builders importable by their plain name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate

sys.path[:0] = [str(Path(__file__).parents[2] / "unit" / "payment"), str(Path(__file__).parent)]


@pytest.fixture
def payment_database(database_url: str, open_database: Callable[..., Database]) -> Database:
    """The payment service's own store; runs the test on SQLite and on PostgreSQL."""
    migrate(database_url, "payment")
    return open_database(database_url)
