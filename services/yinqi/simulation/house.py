"""The services as processes of a simulated world: the real objects, connected as each `main.py` connects them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

from yinqi import crypto
from yinqi import gateway as gateway_package
from yinqi.account import use_cases as account_use_cases
from yinqi.account.clients import GatewayClient, PaymentFeed
from yinqi.account.repository import SqlBooks, read_entries_after
from yinqi.account.servicer import AccountServicer
from yinqi.account.settings import AccountSettings
from yinqi.account.worker import AccountRefresher, PaymentBooker, StatementFetcher
from yinqi.api.account.v1 import account_service_pb2_grpc
from yinqi.api.gateway.v1 import gateway_service_pb2_grpc
from yinqi.api.monitoring.v1 import monitoring_service_pb2_grpc
from yinqi.api.payment.v1 import payment_service_pb2_grpc
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2_grpc
from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.calendar import BusinessCalendar, load_calendar
from yinqi.gateway.exchange import Bank, BankCaller
from yinqi.gateway.keystore import BankKeys
from yinqi.gateway.limits import Limits
from yinqi.gateway.notice_server import NoticeTaker
from yinqi.gateway.profile import Profile, Profiles, load_profile
from yinqi.gateway.querying import Querier
from yinqi.gateway.reading import AccountReader
from yinqi.gateway.servicer import GatewayServicer
from yinqi.gateway.stop_desk import StopDesk
from yinqi.gateway.submitting import Submitter
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.monitoring.rules_file import load_rules
from yinqi.monitoring.servicer import MonitoringServicer
from yinqi.payment.clients import GrpcBankGateway, GrpcScreener, NoticeFeed
from yinqi.payment.model import Pacing
from yinqi.payment.servicer import PaymentServicer
from yinqi.payment.worker import NoticeEffects, PaymentWorker, WorkerLimits
from yinqi.reconciliation.clients import AccountClient, PaymentClient
from yinqi.reconciliation.main import record_bookings, record_entries
from yinqi.reconciliation.servicer import ReconciliationServicer
from yinqi.runtime.feed import Feed, Follower
from yinqi.runtime.settings import load_settings
from yinqi.runtime.telemetry import Telemetry
from yinqi.runtime.worker import every
from yinqi.simulation.bank import BankSide, Door, SimulatedLine, TagKeys
from yinqi.simulation.clock import ServiceClock, WorldTime
from yinqi.simulation.loop import Owner, spawn
from yinqi.simulation.network import HandlersOf, Network
from yinqi.simulation.sealed import start_sealing
from yinqi.simulation.store import Disk, SimulatedDatabase

# Slower than in production: a poll finds nothing more in 20 simulated seconds than in 100 of 0.2, and costs as much.
_POLL_S = 30.0
_FEED_POLL_S = 120.0
_GATHER_S = 2.0
_NOTICES_GATHER_S = 15.0  # every commit of the gateway wakes this feed, few of them bring a notice
_IDLE_S = 600.0
_RETURNS_S = 80.0
_BALANCES_S = 160.0
_STATEMENTS_S = 170.0
_BANK_TIMEOUT_S = 45.0
PACING = Pacing(
    lease=timedelta(seconds=60),
    first_query_delay=timedelta(seconds=2),
    query_interval=timedelta(seconds=8),
    query_interval_max=timedelta(seconds=40),
    submission_retry_max=timedelta(seconds=30),
    stopped_retry_max=timedelta(seconds=400),
)
Work = Coroutine[Any, Any, Any]


class Process:
    """One service: it starts, dies at any moment, and starts again on what was durable.

    Args:
        build: connects the service's objects on its store; returns its gRPC handlers and its loops.
    """

    def __init__(
        self,
        name: str,
        world: Surroundings,
        build: Callable[[Process, SimulatedDatabase], tuple[HandlersOf, list[Work]]],
    ) -> None:
        self.name = name
        self.world = world
        self.clock = ServiceClock(world.time)
        self.ids = TimeOrderedIds(self.clock, random.Random(f"{world.seed}/ids/{name}").randbytes)  # noqa: S311
        self.telemetry = _telemetry(name)
        self.disk = Disk(name, self._on_disk_crash, world.network.tally)
        self.owner: Owner | None = None
        self.handlers: Mapping[str, Any] = {}
        self.starts = 0
        self._build = build
        world.network.serve(name, self)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.owner is not None and self.owner.is_alive

    def start(self) -> None:
        """Run it; whatever it held in memory before is gone."""
        if self.is_alive:
            return
        self.starts += 1
        self.owner = Owner(f"{self.name}#{self.starts}")
        spawn(self.owner, self._run())

    def crash(self, why: str, down_s: float) -> None:
        """End it as kill -9 does, and start it again later."""
        if not self.is_alive:
            return
        self.world.network.tell(self.name, "dies: {}", why)
        self.world.network.tally["process: died"] += 1
        if self.owner is not None:
            self.owner.kill()
        self.world.later(down_s, self._start_again)

    def _start_again(self) -> None:
        if not self.is_alive:
            self.world.network.tell(self.name, "starts again on what was durable")
            self.start()

    def _on_disk_crash(self, why: str) -> None:
        self.crash(why, self.world.restart_s)

    async def _run(self) -> None:
        """Do what a `main.py` does: the first loop that fails ends the process, and its keeper starts it again."""
        owner = self.owner
        try:
            database = SimulatedDatabase(self.disk, self.telemetry)
            start_sealing(database, self.disk, self.name, self.world.seed, self.starts, self.clock)
            handlers, loops = self._build(self, database)
            self.handlers = handlers.handlers
            await asyncio.gather(*loops)
        except Exception as error:  # noqa: BLE001 (whatever it is, the process is gone)
            if self.owner is owner:
                self.crash(f"ends by itself: {error}", self.world.restart_s)


class Surroundings:
    """What a process finds around it."""

    restart_s = 3.0

    def __init__(self, seed: int, time: WorldTime, network: Network, side: BankSide, profile: Profile) -> None:
        self.seed = seed
        self.profile = profile
        self.time = time
        self.network = network
        self.side = side

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a while, whoever dies meanwhile."""
        asyncio.get_running_loop().call_later(seconds, action)


def build_house(world: Surroundings) -> dict[str, Process]:
    """Return all processes, none of them started."""
    return {
        name: Process(name, world, build)
        for name, build in (
            ("monitoring", _monitoring),
            ("gateway", _gateway),
            ("payment", _payment),
            ("account", _account),
            ("reconciliation", _reconciliation),
        )
    }


def _payment(process: Process, database: SimulatedDatabase) -> tuple[HandlersOf, list[Work]]:
    network, clock, telemetry = process.world.network, process.clock, process.telemetry
    worker = PaymentWorker(
        database,
        GrpcScreener(cast("Any", network.channel("payment", "monitoring")), 10.0),
        GrpcBankGateway(cast("Any", network.channel("payment", "gateway")), _BANK_TIMEOUT_S),
        clock=clock,
        telemetry=telemetry,
        pacing=PACING,
        limits=WorkerLimits(
            poll_interval_s=_POLL_S, returns_interval_s=_RETURNS_S, bank_timeout_s=_BANK_TIMEOUT_S, calls_max=4
        ),
    )
    servicer = PaymentServicer(
        database,
        clock=clock,
        ids=process.ids,
        check_digits=crypto,
        telemetry=telemetry,
        wake=worker.wake,
        pacing=PACING,
    )
    notices = Follower(
        "gateway.notices",
        database,
        NoticeFeed(cast("Any", network.channel("payment", "gateway"))).follow,
        lambda event: int(event.sequence),
        NoticeEffects(clock, PACING).take,
        idle_timeout_s=_IDLE_S,
    )
    _slow_down(servicer._feed)
    handlers = HandlersOf()
    payment_service_pb2_grpc.add_PaymentServiceServicer_to_server(servicer, cast("Any", handlers))
    stop = asyncio.Event()
    return handlers, [worker.run(stop), notices.run(stop)]


def _gateway(process: Process, database: SimulatedDatabase) -> tuple[HandlersOf, list[Work]]:
    world, clock, ids, owner = process.world, process.clock, process.ids, process.owner
    profiles = Profiles([world.profile])
    link = world.network.link("gateway>bank")
    line = SimulatedLine(world.side, link, world.network.tell, lambda: owner is not None and owner.is_alive)
    holder = ids.new_ids("GW", 1)[0]
    banks = {
        profile.name: Bank(
            profile,
            CdcDialect(profile, cast("BankKeys", TagKeys()), clock, ids),
            line,
            Limits(profile.name, profile.concurrency, database, clock, ids, holder=holder),
            profile.business_days(_calendar(profile.calendar.name)),
        )
        for profile in profiles
    }
    caller = BankCaller(database, clock, ids, process.telemetry)
    submitter, querier, reader = (
        made(banks, profiles, database, caller, clock) for made in (Submitter, Querier, AccountReader)
    )
    servicer = GatewayServicer(
        cast("Submitter", submitter),
        cast("Querier", querier),
        cast("AccountReader", reader),
        StopDesk(profiles, database, clock, ids),
        profiles,
        database,
    )
    _slow_down(servicer._notices, _NOTICES_GATHER_S)
    if owner is not None:
        world.side.door = _door(owner, NoticeTaker(database, clock, ids), banks[world.profile.name])
    handlers = HandlersOf()
    gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, cast("Any", handlers))
    return handlers, []


def _door(owner: Owner, taker: NoticeTaker, bank: Bank) -> Door:
    """Return where the bank posts notices: whether one was acknowledged; a dead process acknowledges nothing."""

    async def post(content: bytes) -> bool:
        if not owner.is_alive:
            return False
        taking = spawn(owner, taker.take(bank, content))
        await asyncio.wait([taking])
        return not taking.cancelled() and taking.exception() is None and not taking.result()

    return post


def _account(process: Process, database: SimulatedDatabase) -> tuple[HandlersOf, list[Work]]:
    network, clock, telemetry, settings = process.world.network, process.clock, process.telemetry, _account_settings()
    database.read_sync(lambda connection: account_use_cases.check_ledger(SqlBooks(connection)))
    bank = GatewayClient(cast("Any", network.channel("account", "gateway")))
    booker = PaymentBooker(database, PaymentFeed(cast("Any", network.channel("account", "payment"))), clock, telemetry)
    refresher = AccountRefresher(database, bank, clock, settings)
    fetcher = StatementFetcher(database, bank, clock, telemetry, settings)
    feed = Feed(database, read_entries_after, lambda recorded: recorded.sequence)
    _slow_down(feed)
    servicer = AccountServicer(
        database, feed, refresher, fetcher, clock, telemetry, feed_batch_max=settings.account_feed_batch_max
    )
    handlers, stop = HandlersOf(), asyncio.Event()
    account_service_pb2_grpc.add_AccountServiceServicer_to_server(servicer, cast("Any", handlers))
    return handlers, [
        booker.run(stop),
        every(_BALANCES_S, refresher.run_once, stop=stop, name="account-balances"),
        every(_STATEMENTS_S, fetcher.run_once, stop=stop, name="account-statements"),
    ]


def _reconciliation(process: Process, database: SimulatedDatabase) -> tuple[HandlersOf, list[Work]]:
    network = process.world.network
    accounts = AccountClient(cast("Any", network.channel("reconciliation", "account")))
    payments = PaymentClient(cast("Any", network.channel("reconciliation", "payment")))
    booked = Follower(
        "payment", database, payments.follow_payments, lambda e: e.sequence, record_bookings, idle_timeout_s=_IDLE_S
    )
    stated = Follower(
        "account", database, accounts.follow_entries, lambda e: e.sequence, record_entries, idle_timeout_s=_IDLE_S
    )
    servicer = ReconciliationServicer(database, accounts, process.clock, process.ids, process.telemetry)
    handlers, stop = HandlersOf(), asyncio.Event()
    reconciliation_service_pb2_grpc.add_ReconciliationServiceServicer_to_server(servicer, cast("Any", handlers))
    return handlers, [booked.run(stop), stated.run(stop)]


def _monitoring(process: Process, database: SimulatedDatabase) -> tuple[HandlersOf, list[Work]]:
    servicer = MonitoringServicer(database, _screening_rules(), process.clock, process.ids, process.telemetry)
    handlers = HandlersOf()
    monitoring_service_pb2_grpc.add_MonitoringServiceServicer_to_server(servicer, cast("Any", handlers))
    return handlers, []


def _slow_down(feed: Feed[Any], gather_s: float = _GATHER_S) -> None:
    """Let a feed gather more and poll less: commits of this very process wake it, and other replicas there are none."""
    feed._poll_interval_s, feed._gather_s = _FEED_POLL_S, gather_s


@cache
def demo_profile() -> Profile:
    """Return the shipped profile of the sandbox bank, with its two CNY accounts."""
    file = Path(str(gateway_package.__file__)).parent / "profiles" / "demo_bank.toml"
    names = ("var_dir", "keys_dir", "exchange_dir", "sandbox_bank_address")
    profile = load_profile(file, dict.fromkeys(names, "simulated"))
    # A bank that is asked every half second makes many steps and no story.
    in_doubt = profile.in_doubt.model_copy(update={"first_query_delay_ms": 2_000})
    return profile.model_copy(update={"accounts": profile.accounts[:2], "in_doubt": in_doubt})


@cache
def narrow_profile() -> Profile:
    """Return the same with one call at a time to the bank: payments wait for their turn."""
    profile = demo_profile()
    return profile.model_copy(update={"concurrency": profile.concurrency.model_copy(update={"submit": 1})})


def accounts_of_the_company() -> list[str]:
    """Return the debtor accounts of the simulated company."""
    return [account.identification for account in demo_profile().accounts]


@cache
def _calendar(name: str) -> BusinessCalendar:
    return load_calendar(Path(str(gateway_package.__file__)).parent / "calendars", name)


@cache
def _account_settings() -> AccountSettings:
    return load_settings(AccountSettings)


@cache
def _screening_rules() -> Any:
    return load_rules()


@cache
def _telemetry(name: str) -> Telemetry:
    return Telemetry.off(name)


def alive(processes: Iterable[Process]) -> bool:
    """Whether all of them run."""
    return all(process.is_alive for process in processes)
