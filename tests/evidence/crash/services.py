"""Evidence 3, 11 and 13 on whole services: processes killed, lines cut, clocks that jump, in the middle of paying.

payment, gateway and the sandbox bank run as in production, over gRPC and HTTP, with real keys; monitoring is a stand-in that
passes everybody. Whatever is done to them, in the end every payment is settled, once in the bank's book.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from tests.evidence import commit
from tests.evidence.crash import places
from tests.evidence.crash.audit import Verdict, judge
from tests.evidence.crash.child import Fact
from tests.evidence.crash.house import order
from tests.evidence.crash.places import Network, Place
from tests.evidence.crash.postgres import ROLES

from yinqi import gateway as gateway_package
from yinqi.api.monitoring.v1 import monitoring_pb2, monitoring_service_pb2, monitoring_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2_grpc
from yinqi.api.payment.v1 import payment_service_pb2 as api
from yinqi.kernel.clock import FixedClock, SystemClock
from yinqi.payment.status import FINAL
from yinqi.runtime.certificates import make_certificates
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.listening import free_port
from yinqi.runtime.settings import GRPC_SERVICES, Settings, child_environment

_SERVICES = str(Path(__file__).parents[3] / "services")
_CERTIFIED_BEFORE = timedelta(days=2)  # clocks are turned back by less
_FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_BATCH = 15
_CUT_S = 3.0
_FINAL_S = 180.0
_FINALS = frozenset(str(status) for status in FINAL)
_CUTS = [(line, direction) for line in ("payment", "bank") for direction in ("in", "out", "both")]
_JUMPS_S = (3_600, 0, -3_600, 0)
_LATER_S = 3_700
_KILLED = ("payment", "gateway", "sandbox_bank")
# The demo bank's patience, in a drill's: longer than a cut would only be waiting.
_PROFILE = {
    "connect_ms = 2000": "connect_ms = 500",
    "submit_ms = 30000": "submit_ms = 4000",
    "query_ms = 20000": "query_ms = 4000",
    "safe_window_ms = 30000": "safe_window_ms = 8000",
    "first_query_delay_ms = 2000": "first_query_delay_ms = 300",
    "query_interval_ms = 2000": "query_interval_ms = 500",
}
_PACE = {
    "YINQI_POLL_INTERVAL_MS": "50",
    "YINQI_FIRST_QUERY_DELAY_S": "0.2",
    "YINQI_QUERY_INTERVAL_S": "0.5",
    "YINQI_QUERY_INTERVAL_MAX_S": "1",
    "YINQI_CALL_TIMEOUT_S": "5",
    "YINQI_PAYMENT_BANK_TIMEOUT_S": "8",
    "YINQI_PAYMENT_LEASE_S": "12",
    "YINQI_PAYMENT_RETRY_DELAY_S": "0.2",
    "YINQI_PAYMENT_RETRY_MAX_S": "1",
    "YINQI_PAYMENT_BATCH_MAX": "5",
    "YINQI_PAYMENT_DOUBT_QUERIES": "1000",
    "YINQI_PAYMENT_RESENDS_MAX": "900",
    "YINQI_LOG_LEVEL": "WARNING",
}


def processes(short: bool) -> None:
    """Kill one service after the other, with SIGKILL, in the middle of paying."""
    asyncio.run(_drill("services killed", len(_KILLED) if short else 100, _kill, Network()))


def cuts(short: bool) -> None:
    """Cut the lines of the gateway one way and both ways, in the middle of sending."""
    if missing := places.is_missing():
        print(f"left out: {missing}")
        return
    with places.namespaces() as network:
        asyncio.run(_drill("lines cut for 3 s", len(_CUTS) if short else 100, _cut, network))


def clocks(short: bool) -> None:
    """Let the clocks of payment and gateway jump an hour on and back, in the middle of paying."""
    if missing := clock_is_missing():
        print(f"left out: {missing}")
        return
    asyncio.run(_drill("clocks jump ±1 h", len(_JUMPS_S) * (1 if short else 20), _jump, Network(), fakes_time=True))


def clock_is_missing() -> str:
    """Return why clocks cannot be made to jump here, "" if they can."""
    return "" if _FAKETIME else "libfaketime is not installed (Debian package libfaketime)"


# --- what is done to them -------------------------------------------------------------------------------------------


async def _kill(suite: Suite, number: int, chance: random.Random) -> str:
    await asyncio.sleep(chance.uniform(0, 1.0))
    name = _KILLED[number % len(_KILLED)]
    await suite.kill(name)
    await suite.start(name)
    return name


async def _cut(suite: Suite, number: int, chance: random.Random) -> str:
    await asyncio.sleep(chance.uniform(0, 0.5))
    line, direction = _CUTS[number % len(_CUTS)]
    await asyncio.to_thread(suite.network.cut, line, direction)
    await asyncio.sleep(_CUT_S)
    await asyncio.to_thread(suite.network.heal)
    return f"gateway – {line}, {direction}"


async def _jump(suite: Suite, number: int, chance: random.Random) -> str:
    await asyncio.sleep(chance.uniform(0, 1.0))
    jump_s, name = _JUMPS_S[number % len(_JUMPS_S)], ("payment", "gateway")[number // len(_JUMPS_S) % 2]
    for each in ("payment", "gateway") if jump_s == 0 else (name,):
        suite.set_clock(each, jump_s)
    await asyncio.sleep(2.0)  # libfaketime looks once a second
    return f"{name} {jump_s:+} s"


# --- the drill ------------------------------------------------------------------------------------------------------


async def _drill(
    what: str,
    rounds: int,
    strike: Callable[[Suite, int, random.Random], Awaitable[str]],
    network: Network,
    *,
    fakes_time: bool = False,
    seed: int = 1,
) -> None:
    chance, facts, began = random.Random(seed), list[Fact](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="yinqi-services-") as name:
        async with _running(Suite(Path(name), network, fakes_time=fakes_time)) as suite:
            for number in range(rounds):
                # As an ERP does: repeated until answered, while they are being struck.
                paying = asyncio.create_task(suite.pay([f"R{number}-{line}" for line in range(_BATCH)], facts))
                done = await strike(suite, number, chance)
                await paying
                print(f"  {number + 1}: {done}", flush=True)
            struck_at = time.monotonic()
            if fakes_time:
                # What was put off by a clock that was ahead waits until time has caught up; so let an hour pass.
                suite.set_clock("payment", _LATER_S)
            ended = await suite.all_final()
            settled_s = time.monotonic() - struck_at
        found = judge(suite.folder, facts, at_end=True)
    if not ended:
        found.broken.append(f"not final after {_FINAL_S:g} s")
    _tell(what, rounds, found, settled_s, time.monotonic() - began, seed)


def _tell(what: str, rounds: int, found: Verdict, settled_s: float, seconds: float, seed: int) -> None:
    print(f"{what}; seed {seed}, commit {commit()}")
    print(f"{'rounds':>8}{'acknowledged':>14}{'lost':>6}{'twice':>7}{'half':>6}{'all final':>11}{'s':>8}")
    print(
        f"{rounds:>8}{found.acknowledged:>14,}{len(found.lost):>6}{len(found.twice):>7}{len(found.broken):>6}"
        f"{settled_s:>9.1f} s{seconds:>8.1f}"
    )
    for fault in found.faults[:20]:
        print(f"  {fault}")
    assert not found.faults, f"{what}: {found.faults[0]}"


class _Monitoring(monitoring_service_pb2_grpc.MonitoringServiceServicer):
    """Has nothing against anybody."""

    async def ScreenPayments(self, request: Any, context: Any) -> monitoring_service_pb2.ScreenPaymentsResponse:
        passed = monitoring_pb2.VERDICT_PASS
        return monitoring_service_pb2.ScreenPaymentsResponse(
            screenings=[
                monitoring_pb2.Screening(instruction_id=subject.instruction_id, verdict=passed)
                for subject in request.subjects
            ]
        )


@asynccontextmanager
async def _running(suite: Suite) -> AsyncIterator[Suite]:
    monitoring = grpc.aio.server()
    monitoring_service_pb2_grpc.add_MonitoringServiceServicer_to_server(_Monitoring(), monitoring)
    suite.ports["monitoring"] = monitoring.add_secure_port("127.0.0.1:0", _credentials(suite.folder / "tls"))
    await monitoring.start()
    try:
        for name in _KILLED:
            await suite.start(name)
        async with open_channel(
            suite.address("payment"), service_name="erp", roles=ROLES, settings=suite.settings
        ) as channel:
            await asyncio.wait_for(channel.channel_ready(), 300)
            suite.stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
            yield suite
    finally:
        for name in _KILLED:
            await suite.kill(name)
        await monitoring.stop(None)


def _credentials(folder: Path) -> grpc.ServerCredentials:
    pair = ((folder / "monitoring.key").read_bytes(), (folder / "monitoring.crt").read_bytes())
    return grpc.ssl_server_credentials([pair], (folder / "ca.crt").read_bytes(), require_client_auth=True)


class Suite:
    """The four processes, each where the network has its place, on one folder."""

    def __init__(self, folder: Path, network: Network, *, fakes_time: bool) -> None:
        self.folder = folder
        self.network = network
        self.stub: Any = None
        self._fakes_time = fakes_time
        self.ports = {name: free_port() for name in _KILLED}
        self._places = {"gateway": network.gateway, "sandbox_bank": network.bank}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self.settings = Settings(var_dir=folder, tls_mode="mutual")
        make_certificates(
            folder / "tls",
            services=GRPC_SERVICES,
            clients={"client": "payment_initiator,payment_viewer"},
            trust_domain=self.settings.tls_trust_domain,
            clock=FixedClock(SystemClock().now() - _CERTIFIED_BEFORE),
            hosts=[network.gateway.host],
        )
        (folder / "gateway").mkdir()
        (folder / "exchange").mkdir()
        (folder / "profiles").mkdir()
        shipped = Path(str(gateway_package.__file__)).parent / "profiles" / "demo_bank.toml"
        text = shipped.read_text("utf-8")
        for given, drilled in _PROFILE.items():
            text = text.replace(given, drilled)
        (folder / "profiles" / "demo_bank.toml").write_text(text, "utf-8")
        for name in ("payment", "gateway"):
            self.set_clock(name, 0)

    def address(self, name: str) -> str:
        """Return host:port of a process."""
        return f"{self._places.get(name, Place()).host}:{self.ports[name]}"

    def set_clock(self, name: str, wrong_by_s: int) -> None:
        """Let the wall clock of a process be wrong by so much; its monotonic clock never is."""
        (self.folder / f"{name}.clock").write_text(f"{wrong_by_s:+}\n", "ascii")

    async def start(self, name: str) -> None:
        """Start a process; callers wait for it themselves."""
        place = self._places.get(name, Place())
        command = [*place.prefix, sys.executable, "-m", f"yinqi.{name}.main"]
        if name == "sandbox_bank":
            command += ["--listen", self.address(name), "--database", str(self.folder / "bank.db")]
            command += ["--keys-dir", str(self.folder / "exchange")]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                *command, env=child_environment(self._environment(name, place)), stdout=log, stderr=log
            )

    async def kill(self, name: str) -> None:
        """Kill a process with SIGKILL."""
        process = self._processes.get(name)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()

    async def pay(self, keys: list[str], facts: list[Fact]) -> None:
        """Have payments accepted, repeated until answered."""
        request = api.InitiatePaymentsRequest(instructions=[order(key, 100 + len(key)) for key in keys])
        end_at = time.monotonic() + _FINAL_S
        while True:
            try:
                response = await self.stub.InitiatePayments(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                if time.monotonic() > end_at:
                    raise AssertionError(f"payments are not accepted: {error.code()} {error.details()}") from None
                await asyncio.sleep(0.1)
                continue
            facts += [("accepted", outcome.end_to_end_id, outcome.instruction_id) for outcome in response.outcomes]
            return

    async def all_final(self) -> bool:
        """Wait until every payment is; return whether they are."""
        end_at = time.monotonic() + _FINAL_S
        while time.monotonic() < end_at:
            with contextlib.suppress(grpc.aio.AioRpcError):
                counts = (await self.stub.CountPayments(api.CountPaymentsRequest(), timeout=10)).counts
                names = [payment_pb2.PaymentStatus.Name(one.status) for one in counts if one.count]
                if all(name.removeprefix("PAYMENT_STATUS_") in _FINALS for name in names):
                    return True
            await asyncio.sleep(0.2)
        return False

    def _environment(self, name: str, place: Place) -> Mapping[str, str]:
        own = {
            "PYTHONPATH": _SERVICES,
            "YINQI_VAR_DIR": str(self.folder),
            "YINQI_EXCHANGE_DIR": str(self.folder / "exchange"),
            "YINQI_GATEWAY_PROFILES_DIR": str(self.folder / "profiles"),
            "YINQI_CONSOLE_PORT": "0",
            "YINQI_HOST": place.host,
            "YINQI_TLS_MODE": "mutual",
            **{f"YINQI_{each.upper()}_PORT": str(port) for each, port in self.ports.items()},
            **{f"YINQI_{each.upper()}_ADDRESS": self.address(each) for each in self.ports},
            **_PACE,
        }
        if self._fakes_time and name in ("payment", "gateway"):
            own |= {
                "LD_PRELOAD": str(_FAKETIME[-1]),
                "FAKETIME_TIMESTAMP_FILE": str(self.folder / f"{name}.clock"),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        return own
