"""The feeds of the sister services over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc

from yinqi.api.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from yinqi.api.gateway.v1 import gateway_pb2, gateway_service_pb2, gateway_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.api.reconciliation.v1 import (
    reconciliation_pb2,
    reconciliation_service_pb2,
    reconciliation_service_pb2_grpc,
)


class PaymentFeed:
    """Events of the payment service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = payment_service_pb2_grpc.PaymentServiceStub(channel)

    async def follow(self, after: int) -> AsyncIterator[Sequence[payment_pb2.PaymentEvent]]:
        """Yield batches after a sequence; raises the call's error when the stream breaks."""
        request = payment_service_pb2.FollowPaymentsRequest(after_sequence=after)
        async for response in self._stub.FollowPayments(request):
            yield response.events


class ReconciliationFeed:
    """Events of the reconciliation service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = reconciliation_service_pb2_grpc.ReconciliationServiceStub(channel)

    async def follow(self, after: int) -> AsyncIterator[Sequence[reconciliation_pb2.ReconciliationEvent]]:
        """Yield batches after a sequence; raises the call's error when the stream breaks."""
        request = reconciliation_service_pb2.FollowReconciliationsRequest(after_sequence=after)
        async for response in self._stub.FollowReconciliations(request):
            yield response.events


class EntryFeed:
    """Statement entries of the account service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = account_service_pb2_grpc.AccountServiceStub(channel)

    async def follow(self, after: int) -> AsyncIterator[Sequence[account_pb2.StatementEntry]]:
        """Yield batches after a sequence; raises the call's error when the stream breaks."""
        request = account_service_pb2.FollowEntriesRequest(after_sequence=after)
        async for response in self._stub.FollowEntries(request):
            yield response.entries


class NoticeFeed:
    """Notices of banks, by the gateway."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)

    async def follow(self, after: int) -> AsyncIterator[Sequence[gateway_pb2.NoticeEvent]]:
        """Yield batches after a sequence; raises the call's error when the stream breaks."""
        request = gateway_service_pb2.FollowNoticesRequest(after_sequence=after)
        async for response in self._stub.FollowNotices(request):
            yield response.events
