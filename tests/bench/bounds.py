"""What this machine can do at best, measured in the same run: figures mean little without it (rates swing by half)."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import grpc
import uvloop
from tests.bench.load import drive
from tests.bench.orders import unary_requests

from yinqi.runtime.listening import free_port

_LOOP_STEPS = 10_000_000


def loop_seconds() -> float:
    """Seconds of a 10-million-step Python loop, median of 3: the machine's speed today."""

    def once() -> float:
        started = time.perf_counter()
        total = 0
        for step in range(_LOOP_STEPS):
            total += step
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(3))


def raw_sqlite_lines_per_second(lines: int = 1_000, commits: int = 20) -> float:
    """Rows of a payment's size with key and journal row, by the bare driver, 1,000 a commit, WAL and FULL."""
    with tempfile.TemporaryDirectory() as folder:
        store = sqlite3.connect(Path(folder) / "bound.db", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "CREATE TABLE p (id TEXT PRIMARY KEY, key TEXT UNIQUE, body BLOB, a TEXT, b TEXT, c TEXT, amount INTEGER, at INTEGER)",
            "CREATE TABLE e (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, type TEXT, at INTEGER)",
        ):
            store.execute(statement)
        started = time.perf_counter()
        for commit in range(commits):
            ids = [f"PI{commit:06}{line:018}" for line in range(lines)]
            store.execute("BEGIN IMMEDIATE")
            store.executemany(
                "INSERT INTO p VALUES (?,?,?,?,?,?,?,?)",
                [(i, "K" + i, b"x" * 250, "755915678910001", "name", "6225", 100, 1) for i in ids],
            )
            store.executemany("INSERT INTO e (id, type, at) VALUES (?,?,?)", [(i, "payment.received", 1) for i in ids])
            store.execute("COMMIT")
        seconds = time.perf_counter() - started
        store.close()
    return lines * commits / seconds


async def bare_grpc_calls_per_second(callers: int = 16, calls: int = 3_000) -> float:
    """Calls answered by a grpc.aio server that does nothing at all, same requests, same client."""
    port = free_port()
    server = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.bounds", str(port))
    try:
        requests = unary_requests(calls)
        await drive(f"127.0.0.1:{port}", "InitiatePayment", requests[:300], callers)
        return (await drive(f"127.0.0.1:{port}", "InitiatePayment", requests, callers)).per_second
    finally:
        server.terminate()
        await server.wait()


async def _serve_nothing(port: int) -> None:
    async def answer(_request: bytes, _context: object) -> bytes:
        return b""

    class Anything(grpc.GenericRpcHandler):
        def service(self, _details: object) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Anything(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve_nothing(int(sys.argv[1])))
