"""Calls to sister services, as implementations of ports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date

import grpc

from yinqi.account import mapping
from yinqi.account.booking import PaymentMove
from yinqi.account.model import Account, BankBalance
from yinqi.account.statement import FETCHED, StatementPage
from yinqi.api.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from yinqi.api.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from yinqi.runtime.grpc_client import typed_error


class GatewayClient:
    """`Bank` over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)

    async def list_accounts(self) -> list[Account]:
        try:
            response = await self._stub.ListAccounts(gateway_service_pb2.ListAccountsRequest())
        except grpc.aio.AioRpcError as error:
            raise typed_error(error) from None
        return [mapping.account_from_proto(account) for account in response.accounts]

    async def get_balances(self, accounts: Sequence[str]) -> list[BankBalance]:
        try:
            response = await self._stub.GetBalances(gateway_service_pb2.GetBalancesRequest(accounts=accounts))
        except grpc.aio.AioRpcError as error:
            raise typed_error(error) from None
        return [mapping.bank_balance_from_proto(balance) for balance in response.balances]

    async def read_page(self, account: str, day: date, cursor: str) -> StatementPage:
        request = gateway_service_pb2.ListEntriesRequest(account=account, date=day.isoformat(), cursor=cursor)
        try:
            response = await self._stub.ListEntries(request)
        except grpc.aio.AioRpcError as error:
            raise typed_error(error) from None
        return mapping.page_from_proto(response.page, account, day, FETCHED)


class PaymentFeed:
    """`Payments` over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = payment_service_pb2_grpc.PaymentServiceStub(channel)

    async def follow(self, after: int) -> AsyncIterator[Sequence[PaymentMove]]:
        request = payment_service_pb2.FollowPaymentsRequest(after_sequence=after)
        async for response in self._stub.FollowPayments(request):
            yield mapping.moves_from_events(response.events)
