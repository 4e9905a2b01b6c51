"""Traps 8 and 9: many callers do not wait for locks, and slow work does not fill the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import text

from yinqi.runtime.database import Database

Serve = Callable[..., Awaitable["EchoHouse"]]  # noqa: F821 (a fixture of conftest.py)


async def test_trap_8_sixteen_callers_do_not_wait_for_each_others_locks(
    sqlite_url: str, open_database: Callable[..., Database]
) -> None:
    store = open_database(sqlite_url)
    await store.run(lambda c: c.execute(text("CREATE TABLE n (v INTEGER PRIMARY KEY, w TEXT)")) and None)
    waits: list[float] = []

    async def caller(number: int) -> None:
        for step in range(40):
            began = time.perf_counter()
            value = {"v": number * 1000 + step, "w": "x" * 200}
            await store.run(lambda c, v=value: c.execute(text("INSERT INTO n VALUES (:v, :w)"), v) and None)  # type: ignore[misc]
            waits.append(time.perf_counter() - began)

    await asyncio.gather(*(caller(number) for number in range(16)))
    waits.sort()
    assert len(waits) == 640
    # One connection per caller showed 233 ms at 8 callers; a loaded test machine gets some room.
    assert waits[len(waits) // 2] < 0.1


async def test_trap_9_a_hundred_slow_calls_do_not_keep_a_quick_one_waiting(serve_echo: Serve) -> None:
    house = await serve_echo()
    slow = [asyncio.ensure_future(_echo(house, "wait")) for _ in range(100)]
    await house.servicer.entered.wait()
    assert await asyncio.wait_for(_echo(house, "quick"), 5) == "quick"
    assert not any(call.done() for call in slow)
    house.servicer.go_on.set()
    assert set(await asyncio.gather(*slow)) == {"wait"}


async def test_trap_9_a_long_transaction_does_not_keep_readers_waiting(
    sqlite_url: str, open_database: Callable[..., Database]
) -> None:
    import threading

    store = open_database(sqlite_url)
    await store.run(lambda c: c.execute(text("CREATE TABLE n (v INTEGER)")) and None)
    go = threading.Event()

    def long_transaction(connection: object) -> None:
        connection.execute(text("INSERT INTO n VALUES (1)"))  # type: ignore[attr-defined]
        go.wait(10)

    writing = asyncio.ensure_future(store.run(long_transaction))
    await asyncio.sleep(0.02)
    counted = await asyncio.wait_for(store.read(lambda c: c.execute(text("SELECT count(*) FROM n")).scalar_one()), 5)
    assert counted == 0  # and nothing uncommitted is seen
    go.set()
    await writing


async def _echo(house: object, value: str) -> str:
    return str((await house.stub.Echo(StringValue(value=value))).value)  # type: ignore[attr-defined]
