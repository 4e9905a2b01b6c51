"""What the pages read from the services, over gRPC only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import grpc

from yinqi.api.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from yinqi.api.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc, stop_pb2
from yinqi.api.monitoring.v1 import monitoring_pb2, monitoring_service_pb2, monitoring_service_pb2_grpc
from yinqi.api.payment.v1 import doubt_pb2, order_pb2, payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.api.reconciliation.v1 import (
    reconciliation_pb2,
    reconciliation_service_pb2,
    reconciliation_service_pb2_grpc,
)
from yinqi.client.shown import ShownOrder, shown_order
from yinqi.kernel.errors import FailedPrecondition, YinqiError
from yinqi.monitoring.console.fresh import Fresh
from yinqi.runtime import attributes
from yinqi.runtime.errors import typed_error

T = TypeVar("T")
SERVICES = ("payment", "account", "reconciliation", "gateway", "monitoring")
# What pages show in clear the console decides itself; to prove an order it needs the bytes that were signed.
VIEWER_ROLES = "payment_viewer,account_viewer,alert_viewer,personal_viewer"

# The console looks every second or two; its looking belongs to no story, so it asks not to be traced.
_UNTRACED = ((attributes.TRACEPARENT_KEY, f"00-{'1' * 32}-{'1' * 16}-00"),)
_SECOND_TRY_AFTER_S = 0.25
_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class SisterAway(Exception):
    """A service does not answer; `service` names it, `code` is the gRPC code's name."""

    def __init__(self, service: str, code: str) -> None:
        super().__init__(f"{service}: {code}")
        self.service = service
        self.code = code


class Sisters:
    """Reads for the pages. Every method raises `SisterAway`, or the typed error the service answered with.

    Args:
        channels: one per name in SERVICES, opened with VIEWER_ROLES.
        timeout_s: how long a page may wait for one answer.
    """

    def __init__(self, channels: Mapping[str, grpc.aio.Channel], timeout_s: float = 3.0) -> None:
        self._payment = payment_service_pb2_grpc.PaymentServiceStub(channels["payment"])
        self._account = account_service_pb2_grpc.AccountServiceStub(channels["account"])
        self._reconciliation = reconciliation_service_pb2_grpc.ReconciliationServiceStub(channels["reconciliation"])
        self._gateway = gateway_service_pb2_grpc.GatewayServiceStub(channels["gateway"])
        self._monitoring = monitoring_service_pb2_grpc.MonitoringServiceStub(channels["monitoring"])
        self._timeout_s = timeout_s
        self._live: Fresh[Any] = Fresh(1.0)
        self._slow: Fresh[Any] = Fresh(15.0)

    async def count_payments(
        self, wanted: payment_service_pb2.PaymentFilter
    ) -> Sequence[payment_service_pb2.PaymentCount]:
        """Return number and sum by status, account and currency."""
        request = payment_service_pb2.CountPaymentsRequest(filter=wanted)
        response = await self._read(self._live, "payment", self._payment.CountPayments, request)
        return list(response.counts)

    async def list_payments(
        self, wanted: payment_service_pb2.PaymentFilter, page_size: int, page_token: str
    ) -> tuple[Sequence[payment_pb2.Payment], str]:
        """Return one page, newest first, and the next page's token."""
        request = payment_service_pb2.ListPaymentsRequest(filter=wanted, page_size=page_size, page_token=page_token)
        response = await self._read(self._live, "payment", self._payment.ListPayments, request)
        return list(response.payments), response.next_page_token

    async def get_payment(
        self, *, instruction_id: str = "", end_to_end_id: str = ""
    ) -> payment_service_pb2.GetPaymentResponse:
        """Return a payment with its journal. Raises NotFound."""
        request = (
            payment_service_pb2.GetPaymentRequest(instruction_id=instruction_id)
            if instruction_id
            else payment_service_pb2.GetPaymentRequest(end_to_end_id=end_to_end_id)
        )
        response: payment_service_pb2.GetPaymentResponse = await self._read(
            self._live, "payment", self._payment.GetPayment, request
        )
        return response

    async def list_approvals(self, page_size: int, page_token: str) -> tuple[Sequence[order_pb2.Approval], str] | None:
        """Return one page of orders that wait for approval, oldest first, and the next page's token; None: no policy."""
        request = payment_service_pb2.ListApprovalsRequest(page_size=page_size, page_token=page_token)
        try:
            response = await self._read(self._live, "payment", self._payment.ListApprovals, request)
        except FailedPrecondition as error:
            if error.reason == "NO_POLICY":
                return None
            raise
        return list(response.approvals), response.next_page_token

    async def get_approval(self, order: str) -> ShownOrder:
        """Return an order whose lines were proven here to be those that were signed.

        Raises:
            NotFound: there is none. OrderInvalid: what the payment service shows is not what was signed.
        """
        request = payment_service_pb2.GetApprovalRequest(order=order)

        async def ask() -> ShownOrder:
            call = self._payment.GetApproval
            response = await _asked_twice(
                "payment", lambda: call(request, timeout=self._timeout_s, metadata=_UNTRACED, wait_for_ready=False)
            )
            return await asyncio.to_thread(shown_order, response)

        shown: ShownOrder = await self._live.get(("payment", "GetApproval", order), ask)
        return shown

    async def list_doubts(self, page_size: int, page_token: str) -> tuple[Sequence[doubt_pb2.Doubt], str]:
        """Return one page of what waits for people, longest waiting first, and the next page's token."""
        request = payment_service_pb2.ListDoubtsRequest(page_size=page_size, page_token=page_token)
        response = await self._read(self._live, "payment", self._payment.ListDoubts, request)
        return list(response.doubts), response.next_page_token

    async def get_doubt(self, instruction_id: str) -> doubt_pb2.Doubt:
        """Return a payment's place in the queue. Raises NotFound."""
        request = payment_service_pb2.GetDoubtRequest(instruction_id=instruction_id)
        doubt: doubt_pb2.Doubt = (await self._read(self._live, "payment", self._payment.GetDoubt, request)).doubt
        return doubt

    async def list_messages(self, instruction_id: str) -> Sequence[gateway_service_pb2.ArchivedMessage]:
        """Return what was said to the bank about a payment, and what it answered."""
        request = gateway_service_pb2.ListMessagesRequest(instruction_id=instruction_id)
        return list((await self._read(self._live, "gateway", self._gateway.ListMessages, request)).messages)

    async def list_stops(self, *, include_lifted: bool = False) -> Sequence[stop_pb2.Stop]:
        """Return the stops in force, oldest first; then, if wanted, those that were lifted."""
        request = stop_pb2.ListStopsRequest(include_lifted=include_lifted)
        return list((await self._read(self._live, "gateway", self._gateway.ListStops, request)).stops)

    async def list_postings(self, instruction_id: str) -> Sequence[account_pb2.LedgerPosting]:
        """Return the ledger's postings of a payment."""
        request = account_service_pb2.ListPostingsRequest(instruction_id=instruction_id, page_size=100)
        return list((await self._read(self._live, "account", self._account.ListPostings, request)).postings)

    async def list_entries_of(self, instruction_id: str) -> Sequence[account_pb2.StatementEntry]:
        """Return the bank's statement entries of a payment."""
        request = account_service_pb2.ListEntriesRequest(instruction_id=instruction_id, page_size=100)
        return list((await self._read(self._live, "account", self._account.ListEntries, request)).entries)

    async def list_entries(
        self, account: str, from_date: str, to_date: str, page_size: int, page_token: str
    ) -> tuple[Sequence[account_pb2.StatementEntry], str]:
        """Return one page of an account's statement entries, oldest first, and the next page's token."""
        request = account_service_pb2.ListEntriesRequest(
            account=account, from_date=from_date, to_date=to_date, page_size=page_size, page_token=page_token
        )
        response = await self._read(self._live, "account", self._account.ListEntries, request)
        return list(response.entries), response.next_page_token

    async def list_accounts(self) -> Sequence[account_pb2.Account]:
        """Return our accounts."""
        request = account_service_pb2.ListAccountsRequest()
        return list((await self._read(self._slow, "account", self._account.ListAccounts, request)).accounts)

    async def get_balances(self) -> Sequence[account_pb2.Balance]:
        """Return the balances of all accounts, of our books and of the bank."""
        request = account_service_pb2.GetBalancesRequest()
        return list((await self._read(self._live, "account", self._account.GetBalances, request)).balances)

    async def list_reconciliations(
        self, page_size: int, page_token: str = ""
    ) -> tuple[Sequence[reconciliation_pb2.Reconciliation], str]:
        """Return the latest run of each account and day, newest day first, and the next page's token."""
        request = reconciliation_service_pb2.ListReconciliationsRequest(page_size=page_size, page_token=page_token)
        response = await self._read(self._live, "reconciliation", self._reconciliation.ListReconciliations, request)
        return list(response.reconciliations), response.next_page_token

    async def get_reconciliation(
        self, account: str, date: str, *, include_matches: bool = False
    ) -> reconciliation_pb2.Reconciliation:
        """Return the latest run of a day; with its pairs it may be large, so that is shared for longer."""
        request = reconciliation_service_pb2.GetReconciliationRequest(
            account=account, date=date, include_matches=include_matches
        )
        shared = self._slow if include_matches else self._live
        response = await self._read(shared, "reconciliation", self._reconciliation.GetReconciliation, request)
        run: reconciliation_pb2.Reconciliation = response.reconciliation
        return run

    async def list_breaks(
        self, status: reconciliation_pb2.BreakStatus.ValueType, page_size: int
    ) -> Sequence[reconciliation_pb2.Break]:
        """Return breaks of all accounts and days, oldest first."""
        request = reconciliation_service_pb2.ListBreaksRequest(status=status, page_size=page_size)
        return list((await self._read(self._live, "reconciliation", self._reconciliation.ListBreaks, request)).breaks)

    async def list_alerts(
        self,
        status: monitoring_pb2.AlertStatus.ValueType,
        page_size: int,
        page_token: str = "",
        subject: str = "",
    ) -> tuple[Sequence[monitoring_pb2.Alert], str]:
        """Return one page of alerts, newest first, and the next page's token."""
        request = monitoring_service_pb2.ListAlertsRequest(
            status=status, page_size=page_size, page_token=page_token, subject=subject
        )
        response = await self._read(self._live, "monitoring", self._monitoring.ListAlerts, request)
        return list(response.alerts), response.next_page_token

    async def acknowledge_alert(self, alert_id: str, note: str, person: str) -> None:
        """Put a person in charge of an alert."""
        request = monitoring_service_pb2.AcknowledgeAlertRequest(alert_id=alert_id, note=note)
        await self._act("monitoring", self._monitoring.AcknowledgeAlert, request, person, "alert_handler")

    async def resolve_break(self, break_id: str, resolution: str, person: str) -> None:
        """Record a person's explanation of a break."""
        request = reconciliation_service_pb2.ResolveBreakRequest(break_id=break_id, resolution=resolution)
        await self._act("reconciliation", self._reconciliation.ResolveBreak, request, person, "reconciler")

    async def _read(self, shared: Fresh[Any], service: str, call: Any, request: Any) -> Any:
        key = (service, type(request).__name__, request.SerializeToString(deterministic=True))
        return await shared.get(
            key,
            lambda: _asked_twice(
                service,
                lambda: call(request, timeout=self._timeout_s, metadata=_UNTRACED, wait_for_ready=False),
            ),
        )

    async def _act(self, service: str, call: Any, request: Any, person: str, role: str) -> None:
        """Call in a person's name; what the pages show is asked anew afterwards."""
        metadata = ((attributes.IDENTITY_KEY, person), (attributes.ROLES_KEY, role))
        await _asked(service, lambda: call(request, timeout=self._timeout_s, metadata=metadata, wait_for_ready=False))
        self._live.forget()
        self._slow.forget()


async def _asked_twice(service: str, call: Callable[[], Awaitable[T]]) -> T:
    """Ask again after a moment if the connection was not up: it may just have been opened."""
    try:
        return await _asked(service, call)
    except SisterAway as away:
        if away.code != grpc.StatusCode.UNAVAILABLE.name:
            raise
    await asyncio.sleep(_SECOND_TRY_AFTER_S)
    return await _asked(service, call)


async def _asked(service: str, call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except grpc.aio.AioRpcError as error:
        raise _told(service, error) from None


def _told(service: str, error: grpc.aio.AioRpcError) -> SisterAway | YinqiError:
    return SisterAway(service, error.code().name) if error.code() in _AWAY else typed_error(error)
