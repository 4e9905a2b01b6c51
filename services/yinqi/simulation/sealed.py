"""Stories whose services seal what they keep: a small share of them, for it costs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import Connection

from yinqi.crypto import EnvelopeKey
from yinqi.kernel.clock import Clock
from yinqi.runtime.data_keys import DataKeys
from yinqi.runtime.sealing import OPTION, Sealing
from yinqi.simulation.store import Disk, SimulatedDatabase

SEALED_EVERY = 16
_SEALS = ("payment", "gateway", "account", "reconciliation")


def start_sealing(database: SimulatedDatabase, disk: Disk, service: str, seed: int, starts: int, clock: Clock) -> None:
    """Let a service of every sixteenth story seal its fields; see `runtime.sealing.start_sealing`."""
    database.write_engine.update_execution_options(**{OPTION: None})
    if seed % SEALED_EVERY or service not in _SEALS:
        return
    keys = DataKeys(
        _Key(random.Random(f"{seed}/seals/{service}").randbytes(16)),  # noqa: S311 (the story's own)
        _Committed(disk),
        clock=clock,
        random_bytes=random.Random(f"{seed}/data keys/{service}/{starts}").randbytes,  # noqa: S311 (no key is made twice)
        algorithm="sm4-gcm",
        refresh=timedelta(seconds=30),
    )
    sealing = Sealing(keys)
    sealing.start(database.read_sync)
    database.write_engine.update_execution_options(**{OPTION: sealing})


class _Key:
    def __init__(self, key: bytes) -> None:
        self._key = EnvelopeKey("sm4-gcm", b"simulate", key)

    def read(self) -> list[EnvelopeKey]:
        return [self._key]


class _Committed:
    """There is one connection. While it is in a transaction nothing committed is seen: the keys' owner asks the transaction then."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def connect(self) -> AbstractContextManager[Connection]:
        return self._connected()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        if self._disk.raw.in_transaction:
            yield cast("Connection", _Nothing())
            return
        self._disk.is_reading = True
        try:
            connection = self._disk.held.get()
            with connection.begin():
                yield connection
        finally:
            self._disk.is_reading = False


class _Nothing:
    def execute(self, *_given: Any) -> _Nothing:
        return self

    def all(self) -> list[Any]:
        return []
