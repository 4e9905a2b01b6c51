"""The services as the demo's company uses them, over the same gRPC API as everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import grpc

from yinqi.api.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from yinqi.api.monitoring.v1 import monitoring_pb2, monitoring_service_pb2, monitoring_service_pb2_grpc
from yinqi.api.payment.v1 import order_pb2, payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.api.reconciliation.v1 import (
    reconciliation_pb2,
    reconciliation_service_pb2,
    reconciliation_service_pb2_grpc,
)
from yinqi.demo.words import FINAL
from yinqi.intake.handover import Handover, Initiate, hand_over
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry

T = TypeVar("T")
# What a person of the company may do in a development installation.
COMPANY_ROLES = (
    "payment_initiator,payment_approver,payment_viewer,payment_resolver,account_viewer,account_operator,reconciler,"
    "alert_viewer,alert_handler,auditor,key_officer,stop_puller,stop_lifter"
)
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
_TRIES_MAX = 10


async def patiently(action: Callable[[], Awaitable[T]]) -> T:
    """Repeat an idempotent call while a service is away (it may just have been killed); give up after a while."""
    for _ in range(_TRIES_MAX - 1):
        try:
            return await action()
        except grpc.aio.AioRpcError as error:
            if error.code() not in _AWAY:
                raise
            await asyncio.sleep(1.0)
    return await action()


class Sisters:
    """Stubs of the four services a company calls; every call here may be repeated."""

    def __init__(self, settings: Settings, telemetry: Telemetry, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._stack = stack

    async def open(self) -> None:
        """Open the channels; they are closed with the stack."""
        self.payment = payment_service_pb2_grpc.PaymentServiceStub(await self._channel("payment"))
        self.account = account_service_pb2_grpc.AccountServiceStub(await self._channel("account"))
        self.reconciliation = reconciliation_service_pb2_grpc.ReconciliationServiceStub(
            await self._channel("reconciliation")
        )
        self.monitoring = monitoring_service_pb2_grpc.MonitoringServiceStub(await self._channel("monitoring"))

    async def as_payment(self, service: str) -> grpc.aio.Channel:
        """Open a channel on which one says to be the payment service, as a thief would who has its machine."""
        return await self._channel(service, name="payment", roles="")

    async def _channel(self, service: str, name: str = "demo", roles: str = COMPANY_ROLES) -> grpc.aio.Channel:
        channel = open_channel(
            self._settings.address_of(service),
            service_name=name,
            settings=self._settings,
            telemetry=self._telemetry,
            roles=roles,
        )
        return await self._stack.enter_async_context(channel)

    async def hand_over(self, handover: Handover, initiate: Initiate, on_progress: Callable[[int], None]) -> None:
        """Hand a file in; after a break-off the whole file again, as its lines keep their ids."""

        async def once() -> None:
            handover.recorded = handover.already_recorded = 0
            handover.end_to_end_ids.clear()
            del handover.refused[len(handover.file.refused) :]
            await hand_over(handover, initiate, on_progress)

        await patiently(once)

    async def counts(self) -> list[payment_service_pb2.PaymentCount]:
        """Return payments by status."""
        response = await patiently(lambda: self.payment.CountPayments(payment_service_pb2.CountPaymentsRequest()))
        return list(response.counts)

    async def approvals(self) -> list[order_pb2.Approval]:
        """Return the orders that wait for people."""
        request = payment_service_pb2.ListApprovalsRequest(page_size=1000)
        return list((await patiently(lambda: self.payment.ListApprovals(request))).approvals)

    async def open_count(self) -> tuple[int, int]:
        """Return how many payments are final and how many there are."""
        counts = await self.counts()
        return sum(c.count for c in counts if c.status in FINAL), sum(c.count for c in counts)

    async def payments(self) -> list[payment_pb2.Payment]:
        """Return all payments."""
        found: list[payment_pb2.Payment] = []
        token = ""
        while True:
            request = payment_service_pb2.ListPaymentsRequest(page_size=1000, page_token=token)
            page = await patiently(lambda: self.payment.ListPayments(request))  # noqa: B023 (awaited at once)
            found += page.payments
            token = page.next_page_token
            if not token:
                return found

    async def fetch_statement(self, account: str, date: str) -> account_service_pb2.FetchStatementResponse:
        """Fetch a day's statement now."""
        request = account_service_pb2.FetchStatementRequest(account=account, date=date)
        return await patiently(lambda: self.account.FetchStatement(request, timeout=60))

    async def import_statement(self, content: bytes, file_name: str) -> int:
        """Import a statement file; return the number of its entries."""
        request = account_service_pb2.ImportStatementRequest(content=content, file_name=file_name)
        response = await patiently(lambda: self.account.ImportStatement(request, timeout=60))
        return sum(statement.entry_count for statement in response.statements)

    async def balances(self) -> list[account_pb2.Balance]:
        """Return all balances."""
        return list(
            (await patiently(lambda: self.account.GetBalances(account_service_pb2.GetBalancesRequest()))).balances
        )

    async def reconcile(self, account: str, date: str) -> reconciliation_pb2.Reconciliation:
        """Reconcile a day."""
        request = reconciliation_service_pb2.ReconcileDayRequest(account=account, date=date)
        return (await patiently(lambda: self.reconciliation.ReconcileDay(request, timeout=60))).reconciliation

    async def breaks(self) -> list[reconciliation_pb2.Break]:
        """Return open breaks."""
        request = reconciliation_service_pb2.ListBreaksRequest(
            status=reconciliation_pb2.BREAK_STATUS_OPEN, page_size=1000
        )
        return list((await patiently(lambda: self.reconciliation.ListBreaks(request))).breaks)

    async def alerts(self) -> list[monitoring_pb2.Alert]:
        """Return all alerts."""
        request = monitoring_service_pb2.ListAlertsRequest(page_size=1000)
        return list((await patiently(lambda: self.monitoring.ListAlerts(request))).alerts)
