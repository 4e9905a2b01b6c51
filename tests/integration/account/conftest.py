"""Named fakes of the sisters over real gRPC, and the account service built by its own main."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from yinqi.account.main import main
from yinqi.account.settings import AccountSettings
from yinqi.api.account.v1 import account_pb2, account_service_pb2_grpc
from yinqi.api.common.v1 import money_pb2
from yinqi.api.gateway.v1 import gateway_pb2, gateway_service_pb2, gateway_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.kernel.errors import NotFound, Unavailable
from yinqi.runtime.grpc_server import GrpcServer
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry

ACCOUNT = "755900000000001"
BANK_DATE = "2026-11-22"


def cny(minor_units: int) -> money_pb2.Money:
    return money_pb2.Money(currency="CNY", minor_units=minor_units)


@dataclass
class BankDay:
    """One account's day at the fake bank: an opening balance and signed amounts in order."""

    opening: int
    lines: list[tuple[str, int, str]] = field(default_factory=list)  # reference, signed amount, instruction_id
    is_final: bool = False
    hidden: set[str] = field(default_factory=set)  # references left out of the pages, though they count

    @property
    def closing(self) -> int:
        return self.opening + sum(amount for _, amount, _ in self.lines)


class PagingBank(gateway_service_pb2_grpc.GatewayServiceServicer):
    """A gateway whose bank pages its statements; the cursor is the number of lines already given.

    `cut_after` pages it answers UNAVAILABLE; `is_away` makes all of it answer so.
    """

    def __init__(self, page_size: int = 3) -> None:
        self.page_size = page_size
        self.bank_date = BANK_DATE
        self.previous_day = {ACCOUNT: 100_000}
        self.days: dict[tuple[str, str], BankDay] = {}
        self.cursors: list[str] = []  # as asked for, in order
        self.cut_after: int | None = None
        self.is_away = False

    def day(self, date: str = BANK_DATE, account: str = ACCOUNT) -> BankDay:
        return self.days.setdefault((account, date), BankDay(self.previous_day[account]))

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("BANK_UNAVAILABLE", "the bank is away")

    async def ListAccounts(self, request, context):  # type: ignore[no-untyped-def]
        self._answer()
        accounts = [
            account_pb2.Account(identification=a, currency="CNY", name="基本户", bank_profile="cdc-demo")
            for a in self.previous_day
        ]
        return gateway_service_pb2.ListAccountsResponse(accounts=accounts)

    async def GetBalances(self, request, context):  # type: ignore[no-untyped-def]
        self._answer()
        return gateway_service_pb2.GetBalancesResponse(balances=[self._balance(a) for a in request.accounts])

    def _balance(self, account: str) -> gateway_pb2.BankBalance:
        booked = self.day(self.bank_date, account).closing
        balance = gateway_pb2.BankBalance(
            account=account,
            booked_balance=cny(booked),
            available_balance=cny(booked),
            previous_day_balance=cny(self.previous_day[account]),
            bank_date=self.bank_date,
        )
        balance.as_of.FromJsonString("2026-11-22T04:00:00Z")
        return balance

    async def ListEntries(self, request, context):  # type: ignore[no-untyped-def]
        self._answer()
        if request.account not in self.previous_day:
            raise NotFound("ACCOUNT_UNKNOWN", "no profile reaches it")
        self.cursors.append(request.cursor)
        if self.cut_after is not None:
            self.cut_after -= 1
            if self.cut_after < 0:
                raise Unavailable("BANK_UNAVAILABLE", "cut in the middle")
        day = self.day(request.date, request.account)
        return gateway_service_pb2.ListEntriesResponse(page=self._page(day, request))

    def _page(self, day: BankDay, request: gateway_service_pb2.ListEntriesRequest) -> gateway_pb2.EntryPage:
        start = int(request.cursor or 0)
        end = min(start + self.page_size, len(day.lines))
        entries, balance = [], day.opening + sum(amount for _, amount, _ in day.lines[:start])
        for reference, amount, instruction_id in day.lines[start:end]:
            balance += amount
            if reference in day.hidden:
                continue
            entries.append(
                account_pb2.StatementEntry(
                    account=request.account,
                    account_servicer_reference=reference,
                    instruction_id=instruction_id,
                    amount=cny(abs(amount)),
                    credit_debit_indicator=(
                        account_pb2.CREDIT_DEBIT_INDICATOR_CRDT
                        if amount > 0
                        else account_pb2.CREDIT_DEBIT_INDICATOR_DBIT
                    ),
                    booking_date=request.date,
                    value_date=request.date,
                    counterparty_name="杭州某某供应商",
                    balance_after=cny(balance),
                )
            )
        return gateway_pb2.EntryPage(
            entries=entries,
            next_cursor=str(end),
            has_more=end < len(day.lines),
            opening_balance=cny(day.opening),
            closing_balance=cny(day.closing),
            is_final=day.is_final,
        )


class ScriptedPayments(payment_service_pb2_grpc.PaymentServiceServicer):
    """A payment service whose feed is a list; followers get what is there, then wait for more."""

    def __init__(self, batch_size: int = 500) -> None:
        self.batch_size = batch_size
        self.events: list[payment_pb2.PaymentEvent] = []
        self.served_after: list[int] = []
        self._more = asyncio.Condition()

    async def tell(self, events: Iterable[payment_pb2.PaymentEvent]) -> None:
        async with self._more:
            for event in events:
                event.sequence = len(self.events) + 1
                self.events.append(event)
            self._more.notify_all()

    async def FollowPayments(self, request, context):  # type: ignore[no-untyped-def]
        self.served_after.append(request.after_sequence)
        at = request.after_sequence
        while True:
            async with self._more:
                await self._more.wait_for(lambda: len(self.events) > at)  # noqa: B023
            batch = self.events[at : at + self.batch_size]
            at += len(batch)
            yield payment_service_pb2.FollowPaymentsResponse(events=batch)


def payment_events(
    instruction_id: str,
    statuses: Sequence[str],
    *,
    amount: int = 1_000,
    account: str = ACCOUNT,
    settlement_date: str = BANK_DATE,
    return_date: str = "2026-11-23",
    traceparent: str = "",
) -> list[payment_pb2.PaymentEvent]:
    """Return one payment's events, by the names of the statuses it reaches."""
    events = []
    for status in statuses:
        event = payment_pb2.PaymentEvent(to_status=payment_pb2.PaymentStatus.Value(f"PAYMENT_STATUS_{status}"))
        event.occurred_at.FromJsonString(f"{BANK_DATE}T02:00:00Z")
        payment = event.payment
        payment.instruction_id = instruction_id
        payment.traceparent = traceparent
        payment.instruction.debtor_account.identification = account
        payment.instruction.instructed_amount.CopyFrom(cny(amount))
        payment.settlement_date = settlement_date if status in ("SETTLED", "RETURNED") else ""
        payment.return_date = return_date if status == "RETURNED" else ""
        events.append(event)
    return events


@dataclass
class Sisters:
    """The faked sister services and where they listen."""

    bank: PagingBank
    payments: ScriptedPayments
    gateway_address: str
    payment_address: str

    def settings(self, database_url: str, var_dir: Path, **more: object) -> AccountSettings:
        """Return settings with a fast pace and the loops' questions kept apart from the tests'."""
        values: dict[str, object] = {
            "database_url": database_url,
            "var_dir": var_dir,
            "account_port": 0,
            "gateway_address": self.gateway_address,
            "payment_address": self.payment_address,
            "account_list_interval_s": 0.05,
            "account_balance_interval_s": 0.05,
            "account_statement_interval_s": 3_600.0,
            "drain_grace_s": 1.0,
        }
        return AccountSettings(**(values | more))  # type: ignore[arg-type]


@pytest.fixture
async def sisters(settings: Settings) -> AsyncIterator[Sisters]:
    """A gateway and a payment service, both fakes, on free ports."""
    bank, payments = PagingBank(), ScriptedPayments()
    servers = [
        GrpcServer(name, "127.0.0.1:0", [(add, fake)], settings=settings, telemetry=Telemetry.off(name))
        for name, add, fake in (
            ("gateway", gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server, bank),
            ("payment", payment_service_pb2_grpc.add_PaymentServiceServicer_to_server, payments),
        )
    ]
    for server in servers:
        await server.start()
    gateway_address, payment_address = (f"127.0.0.1:{server.port}" for server in servers)
    yield Sisters(bank, payments, gateway_address, payment_address)
    for server in servers:
        await server.drain(0)


@dataclass
class House:
    """A running account service and its client."""

    stub: account_service_pb2_grpc.AccountServiceStub
    stop: asyncio.Event
    task: asyncio.Task[None]


OpenHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def open_house(sisters: Sisters, tmp_path: Path) -> AsyncIterator[OpenHouse]:
    """A function that starts the account service on a database URL; all are stopped at the end."""
    async with AsyncExitStack() as stack:

        async def open_one(database_url: str, telemetry: Telemetry | None = None, **more: object) -> House:
            stop = asyncio.Event()
            started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(
                main(
                    sisters.settings(database_url, tmp_path, **more),
                    stop,
                    telemetry=telemetry,
                    on_started=started.set_result,
                )
            )
            await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{started.result()}"))
            house = House(account_service_pb2_grpc.AccountServiceStub(channel), stop, task)
            stack.push_async_callback(close, house)
            return house

        async def close(house: House) -> None:
            house.stop.set()
            await house.task

        yield open_one


@pytest.fixture
async def house(open_house: OpenHouse, sqlite_url: str) -> House:
    """An account service on SQLite whose accounts are known and opened."""
    opened = await open_house(sqlite_url)
    await eventually(lambda: has_balance(opened))
    return opened


async def has_balance(house: House) -> bool:
    from yinqi.api.account.v1 import account_service_pb2

    try:
        response = await house.stub.GetBalances(account_service_pb2.GetBalancesRequest(accounts=[ACCOUNT]))
    except grpc.aio.AioRpcError:
        return False
    return response.balances[0].HasField("bank_booked_balance")


async def eventually(condition: Callable[[], Awaitable[object]], timeout_s: float = 60.0) -> None:
    """Wait until the condition holds; fails after the timeout."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 (asked over the wire)
            await asyncio.sleep(0.02)


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """`await until(async condition)`."""
    return eventually


@pytest.fixture
def payment_story() -> Callable[..., list[payment_pb2.PaymentEvent]]:
    """Events of one payment by status names; see payment_events."""
    return payment_events
