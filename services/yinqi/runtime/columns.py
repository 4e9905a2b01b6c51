"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Dialect, Integer, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def big_integer() -> TypeEngine[int]:
    """64-bit integer that SQLite can also use as an auto-incremented key."""
    return BigInteger().with_variant(Integer(), "sqlite")


def sealed_text(longest: int) -> TypeEngine[str]:
    """Text of so many characters before it is sealed (runtime/sealing.py); SQLite looks at no length."""
    return Text().with_variant(String(longest), "sqlite")


def utc_instant(microseconds: int) -> datetime:
    """Return the instant that `UtcTimestamp` stores as this number."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds_of(instant: datetime) -> int:
    """Return the number that `UtcTimestamp` stores for an instant."""
    return (instant - _EPOCH) // _MICROSECOND


class UtcTimestamp(TypeDecorator[datetime]):
    """An instant with time zone in Python, microseconds since 1970 (64-bit integer) in the store.

    An integer sorts, compares and indexes the same everywhere, and no driver can lose its zone.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else microseconds_of(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else utc_instant(value)
