"""Payment and gateway in one process, on stores of their own, connected as their `main.py` connects them, without gRPC.

gRPC does not survive a fork, and it keeps nothing: what a crash can lose is below it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import grpc
from tests.evidence.crash.bank import LineBeside

from yinqi import crypto
from yinqi import gateway as gateway_package
from yinqi.api.gateway.v1 import gateway_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2
from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.calendar import BusinessCalendar, load_calendar
from yinqi.gateway.exchange import Bank, BankCaller
from yinqi.gateway.keystore import BankKeys
from yinqi.gateway.limits import Limits
from yinqi.gateway.notice_server import NoticeTaker
from yinqi.gateway.profile import Profile, Profiles
from yinqi.gateway.querying import Querier
from yinqi.gateway.reading import AccountReader
from yinqi.gateway.servicer import GatewayServicer
from yinqi.gateway.stop_desk import StopDesk
from yinqi.gateway.submitting import Submitter
from yinqi.kernel.clock import SystemClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.payment.clients import GrpcBankGateway, NoticeFeed
from yinqi.payment.model import Pacing, Payment, Screening
from yinqi.payment.servicer import PaymentServicer
from yinqi.payment.worker import NoticeEffects, PaymentWorker, WorkerLimits
from yinqi.runtime.database import Database
from yinqi.runtime.feed import Follower
from yinqi.runtime.identity import Principal, set_current_principal
from yinqi.runtime.telemetry import Telemetry
from yinqi.simulation.bank import TagKeys
from yinqi.simulation.house import demo_profile
from yinqi.simulation.network import HandlersOf

SAFE_WINDOW_MS = 300
"""Sound here: a message of a killed gateway reaches the bank beside at once or never."""
_PACING = Pacing(
    lease=timedelta(seconds=6),  # what a full disk kept from being recorded is asked for again after it
    first_query_delay=timedelta(milliseconds=5),
    query_interval=timedelta(milliseconds=40),
    query_interval_max=timedelta(milliseconds=100),
    retry_delay=timedelta(milliseconds=20),
    submission_retry_max=timedelta(milliseconds=100),
    # Here nobody sits at the people's queue, and a payment may meet more crashes than in all its life elsewhere.
    doubt_queries=1_000,
    resends_max=900,
)


class House:
    """The two services of one life; `sends`: whether there is a gateway, else it only accepts."""

    def __init__(self, folder: Path, *, sends: bool = True) -> None:
        clock, telemetry = SystemClock(), Telemetry.off()
        self.payments = Database.open(f"sqlite:///{folder}/payment.db")
        self.gateways = Database.open(f"sqlite:///{folder}/gateway.db") if sends else None
        self.line = LineBeside(str(folder / "bank.sock"))
        channel = cast(
            "Any", self._gateway(self.gateways, clock, telemetry) if self.gateways else DirectChannel(HandlersOf())
        )
        self.worker = PaymentWorker(
            self.payments,
            PassingScreener(),
            GrpcBankGateway(channel, 10.0),
            clock=clock,
            telemetry=telemetry,
            pacing=_PACING,
            limits=WorkerLimits(batch_max=200, calls_max=4, bank_timeout_s=2.0),
        )
        self.servicer = PaymentServicer(
            self.payments,
            clock=clock,
            ids=TimeOrderedIds(clock),
            check_digits=crypto,
            telemetry=telemetry,
            wake=self.worker.wake,
            pacing=_PACING,
        )
        self.notices = Follower(
            "gateway.notices",
            self.payments,
            NoticeFeed(channel).follow,
            lambda event: int(event.sequence),
            NoticeEffects(clock, _PACING).take,
        )
        set_current_principal(Principal("erp", all_roles=True))

    def _gateway(self, database: Database, clock: SystemClock, telemetry: Telemetry) -> DirectChannel:
        ids, profile = TimeOrderedIds(clock), quick_profile()
        self.bank = Bank(
            profile,
            CdcDialect(profile, cast("BankKeys", TagKeys()), clock, ids),
            self.line,
            Limits(profile.name, profile.concurrency, database, clock, ids, holder=ids.new_ids("GW", 1)[0]),
            profile.business_days(_calendar(profile.calendar.name)),
        )
        self.taker = NoticeTaker(database, clock, ids)
        banks, profiles, caller = (
            {profile.name: self.bank},
            Profiles([profile]),
            BankCaller(database, clock, ids, telemetry),
        )
        submitter = Submitter(banks, profiles, database, caller, clock)
        querier = Querier(banks, profiles, database, caller, clock)
        reader = AccountReader(banks, profiles, database, caller, clock)
        servicer = GatewayServicer(
            submitter, querier, reader, StopDesk(profiles, database, clock, ids), profiles, database
        )
        handlers = HandlersOf()
        gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, cast("Any", handlers))
        return DirectChannel(handlers)

    async def settle_calls(self) -> None:
        """Wait for the worker's calls in flight."""
        while running := {*self.worker._sending, *self.worker._asking}:
            await asyncio.wait(running)

    def close(self) -> None:
        """Close the stores in order."""
        self.payments.close()
        if self.gateways is not None:
            self.gateways.close()


class DirectChannel:
    """Stands for a channel: messages are written and read as on the wire, and served by the same loop."""

    def __init__(self, handlers: HandlersOf) -> None:
        self._handlers = handlers.handlers

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY

    def unary_unary(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        def call(request: Any, **_: Any) -> Awaitable[Any]:
            return self._call(method, request_serializer(request), response_deserializer)

        return call

    def unary_stream(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        def call(request: Any, **_: Any) -> AsyncIterator[Any]:
            return self._stream(method, request_serializer(request), response_deserializer)

        return call

    async def _call(self, method: str, request: bytes, read: Callable[[bytes], Any]) -> Any:
        handler = self._handlers[method]
        response = await handler.unary_unary(handler.request_deserializer(request), None)
        return read(handler.response_serializer(response))

    async def _stream(self, method: str, request: bytes, read: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        handler = self._handlers[method]
        async for response in handler.unary_stream(handler.request_deserializer(request), None):
            yield read(handler.response_serializer(response))


class PassingScreener:
    """Monitoring that has nothing against any payment."""

    async def is_reachable(self) -> bool:
        return True

    async def screen(self, payments: Sequence[Payment]) -> list[Screening]:
        return [Screening(payment.instruction_id, True, "", "", "") for payment in payments]


@cache
def quick_profile() -> Profile:
    """Return the demo bank's profile, asking at once."""
    profile = demo_profile()
    quick = {"first_query_delay_ms": 5, "query_interval_ms": 20, "safe_window_ms": SAFE_WINDOW_MS}
    return profile.model_copy(
        update={
            "in_doubt": profile.in_doubt.model_copy(update=quick),
            "notices": profile.notices.model_copy(update={"enabled": True}),
        }
    )


@cache
def _calendar(name: str) -> BusinessCalendar:
    return load_calendar(Path(str(gateway_package.__file__)).parent / "calendars", name)


def order(end_to_end_id: str, minor_units: int) -> payment_pb2.PaymentInstruction:
    """Return a payable line."""
    message = payment_pb2.PaymentInstruction(
        end_to_end_id=end_to_end_id,
        category_purpose=payment_pb2.CATEGORY_PURPOSE_SUPP,
        remittance_information="货款",
    )
    message.debtor.name = "银企示例制造有限公司"
    message.debtor_account.identification = "755915678910001"
    message.creditor.name = "苏州某供应商有限公司"
    message.creditor_account.identification = "6222020200112233445"
    message.creditor_agent.clearing_member_id = "102100099996"
    message.instructed_amount.currency = "CNY"
    message.instructed_amount.minor_units = minor_units
    return message


async def until(holds: Callable[[], bool], *, pause_s: float = 0.001, timeout_s: float = 60.0) -> None:
    """Wait until something holds; give up after a while, for the judge to find what is missing."""
    end_at = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < end_at:
        if holds():
            return
        await asyncio.sleep(pause_s)
