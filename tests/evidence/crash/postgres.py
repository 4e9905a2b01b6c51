"""Evidence 7 and 8: PostgreSQL killed under load, and a synchronous standby promoted; the service recovers by itself.

A real payment service, started once, serves callers that repeat what they have no answer to, with the same key. A
follower reads its feed all the while: each event once, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psycopg
from tests.evidence import commit
from tests.evidence.crash.house import order, until

from yinqi.api.payment.v1 import payment_service_pb2 as api
from yinqi.api.payment.v1 import payment_service_pb2_grpc
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.listening import free_port
from yinqi.runtime.postgres_cluster import PostgresCluster
from yinqi.runtime.settings import Settings, child_environment

KILLS, KILLS_SHORT = 50, 3
FAILOVERS, FAILOVERS_SHORT = 20, 2
_SERVICES = str(Path(__file__).parents[3] / "services")
ROLES = "payment_initiator,payment_viewer,service"
_CALLERS = 6
_RECOVERED_S = 180.0
_BUSY_S = (0.3, 1.5)


@dataclass(slots=True)
class Seen:
    """What the callers were answered and what the follower read."""

    accepted: dict[str, str] = field(default_factory=dict)
    differently: list[str] = field(default_factory=list)
    repeats: int = 0
    sequences: list[int] = field(default_factory=list)
    outages_s: list[float] = field(default_factory=list)
    last_error: str = ""


def kills(short: bool) -> None:
    """Kill PostgreSQL under load and start it again; AssertionError if a promise was broken."""
    asyncio.run(_drill("PostgreSQL killed under load", KILLS_SHORT if short else KILLS, _Restarted))


def failovers(short: bool) -> None:
    """Kill the primary under load and promote its synchronous standby; AssertionError if a promise was broken."""
    asyncio.run(_drill("primary killed, standby promoted", FAILOVERS_SHORT if short else FAILOVERS, _Promoted))


class _Restarted:
    """One server that comes back."""

    def __init__(self) -> None:
        self.server = PostgresCluster.start()
        self.server.create_database("payment")
        self.url = self.server.url("payment")

    def strike(self) -> None:
        self.server.kill_server()
        self.server.start_server()

    def restore(self) -> None:
        """Nothing is missing."""

    def remove(self) -> None:
        self.server.remove()


class _Promoted:
    """A primary and its standby; both ports stay those of the URL by which the service finds whoever writes."""

    def __init__(self) -> None:
        self.server = PostgresCluster.start()
        self.server.create_database("payment")
        self._standby = self.server.start_standby()
        hosts = "&".join(f"host=127.0.0.1:{one.port}" for one in (self.server, self._standby))
        self.url = f"postgresql://postgres@/payment?{hosts}&target_session_attrs=read-write"

    def strike(self) -> None:
        self.server.kill_server()
        self._standby.promote()

    def restore(self) -> None:
        """Make a new standby where the old primary was."""
        port = self.server.port
        self.server.remove()
        self.server, self._standby = self._standby, self._standby.start_standby(port=port)

    def remove(self) -> None:
        self.server.remove()
        self._standby.remove()


async def _drill(what: str, rounds: int, make: Callable[[], Any], *, seed: int = 1) -> None:
    chance, seen = random.Random(seed), Seen()
    began, servers = time.monotonic(), await asyncio.to_thread(make)
    try:
        async with _payment_service(servers.url) as channel, _load(channel, seen):
            for _ in range(rounds):
                await _answered(seen)
                await asyncio.sleep(chance.uniform(*_BUSY_S))
                struck_at = time.monotonic()
                await asyncio.to_thread(servers.strike)
                await _answered(seen)
                seen.outages_s.append(time.monotonic() - struck_at)
                await asyncio.to_thread(servers.restore)
            await asyncio.sleep(0.5)
        lost, twice, half = _compare(seen, servers.server.url("payment"))
    finally:
        await asyncio.to_thread(servers.remove)
    outages = sorted(seen.outages_s)
    print(f"{what}; seed {seed}, commit {commit()}")
    print(
        f"{'rounds':>8}{'acknowledged':>14}{'repeats':>9}{'lost':>6}{'twice':>7}{'half':>6}{'outage p50':>12}{'p95':>7}{'s':>8}"
    )
    print(
        f"{rounds:>8}{len(seen.accepted):>14,}{seen.repeats:>9}{len(lost):>6}{len(twice):>7}{len(half):>6}"
        f"{outages[len(outages) // 2]:>10.1f} s{outages[int(len(outages) * 0.95)]:>6.1f}s{time.monotonic() - began:>8.1f}"
    )
    for fault in (found := [*lost, *twice, *half])[:20]:
        print(f"  {fault}")
    assert not found, f"{what}: {found[0]}"


@asynccontextmanager
async def _payment_service(url: str) -> AsyncIterator[grpc.aio.Channel]:
    """The real process. Its sisters are away: payments are accepted and wait."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="yinqi-postgres-drill-") as folder:
        variables = {
            "PYTHONPATH": _SERVICES,
            "YINQI_DATABASE_URL": url,
            "YINQI_PAYMENT_PORT": str(port),
            "YINQI_VAR_DIR": folder,
            "YINQI_TLS_MODE": "off",
            "YINQI_DEV_IDENTITY_ENABLED": "true",
            "YINQI_MONITORING_PORT": str(free_port()),
            "YINQI_GATEWAY_PORT": str(free_port()),
        }
        with Path(folder, "log").open("wb") as log:  # noqa: ASYNC230
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "yinqi.payment.main", env=child_environment(variables), stdout=log, stderr=log
            )
        try:
            async with open_channel(
                f"127.0.0.1:{port}", service_name="erp", roles=ROLES, settings=Settings(tls_mode="off")
            ) as channel:
                await asyncio.wait_for(channel.channel_ready(), 120)
                yield channel
            assert process.returncode is None, f"the service ended with {process.returncode}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 30)


@asynccontextmanager
async def _load(channel: grpc.aio.Channel, seen: Seen) -> AsyncIterator[None]:
    """Callers and a follower, from here to the end of the block; then the follower catches up."""
    stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
    stop = asyncio.Event()
    callers = [asyncio.create_task(_call(stub, f"C{number}", seen, stop)) for number in range(_CALLERS)]
    follower = asyncio.create_task(_follow(stub, seen))
    try:
        yield
        stop.set()
        await asyncio.gather(*callers)
        await until(lambda: len(seen.sequences) >= len(seen.accepted), pause_s=0.1)
    finally:
        for task in (*callers, follower):
            task.cancel()


async def _call(stub: Any, name: str, seen: Seen, stop: asyncio.Event) -> None:
    """Pay, one payment after another; what is not answered is repeated under its key, an answered one now and then."""
    number = 0
    while not stop.is_set():
        number += 1
        key = f"{name}-{number // 10 * 10 if number % 10 == 9 else number}"
        await _pay(stub, key, seen)


async def _pay(stub: Any, key: str, seen: Seen) -> None:
    while True:
        try:
            request = api.InitiatePaymentRequest(instruction=order(key, 100))
            outcome = (await stub.InitiatePayment(request, timeout=10)).outcome
        except grpc.aio.AioRpcError as error:
            seen.repeats += 1
            seen.last_error = f"{error.code().name}: {error.details()}"
            await asyncio.sleep(0.05)
            continue
        if seen.accepted.setdefault(key, outcome.instruction_id) != outcome.instruction_id:
            seen.differently.append(f"{key} was accepted as {seen.accepted[key]} and as {outcome.instruction_id}")
        return


async def _follow(stub: Any, seen: Seen) -> None:
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):
            after = seen.sequences[-1] if seen.sequences else 0
            async for response in stub.FollowPayments(api.FollowPaymentsRequest(after_sequence=after)):
                seen.sequences += [event.sequence for event in response.events]
        await asyncio.sleep(0.05)


async def _answered(seen: Seen) -> None:
    """Wait until the service has accepted something new."""
    before = len(seen.accepted)
    await until(lambda: len(seen.accepted) > before, pause_s=0.01, timeout_s=_RECOVERED_S)
    assert len(seen.accepted) > before, f"nothing was accepted for {_RECOVERED_S:g} s: {seen.last_error}"


def _compare(seen: Seen, url: str) -> tuple[list[str], list[str], list[str]]:
    """Return what was lost, what is there twice, and what is there in part."""
    with psycopg.connect(url) as connection:
        keys = dict(connection.execute("SELECT end_to_end_id, instruction_id FROM payments").fetchall())
        journal = connection.execute(
            "SELECT sequence, instruction_id FROM payment_events WHERE from_status IS NULL ORDER BY sequence"
        ).fetchall()
        sequences = [row[0] for row in connection.execute("SELECT sequence FROM payment_events ORDER BY sequence")]
    received = [one for _, one in journal]
    lost = [f"{key} was accepted and is not stored" for key, one in seen.accepted.items() if keys.get(key) != one]
    if seen.sequences != sequences:
        lost.append(f"the follower read {len(seen.sequences)} events of {len(sequences)}, or in another order")
    twice = [*seen.differently]
    twice += [
        f"{one} was received twice"
        for one in set(received)
        if len(received) != len(set(received)) and received.count(one) > 1
    ]
    half = [f"{one} has only one of key and journal entry" for one in set(keys.values()) ^ set(received)]
    return lost, twice, half
