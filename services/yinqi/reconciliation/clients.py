"""Calls to sister services, as implementations of ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta

import grpc

from yinqi.api.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.kernel.errors import NotFound
from yinqi.reconciliation.mapping import money_from_proto
from yinqi.reconciliation.model import DayBalances
from yinqi.runtime.errors import typed_error


class AccountClient:
    """The account service over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = account_service_pb2_grpc.AccountServiceStub(channel)

    async def day_balances(self, account: str, on: date) -> DayBalances:
        balance, before = await asyncio.gather(
            self._balance(account, on), self._balance(account, on - timedelta(days=1))
        )
        has_statement = balance.HasField("statement_closing_balance")
        has_opening = balance.HasField("statement_opening_balance")
        return DayBalances(
            bank=money_from_proto(balance.statement_closing_balance) if has_statement else None,
            book=money_from_proto(balance.ledger_balance),
            bank_opening=money_from_proto(balance.statement_opening_balance) if has_opening else None,
            book_opening=money_from_proto(before.ledger_balance),
        )

    async def _balance(self, account: str, on: date) -> account_pb2.Balance:
        request = account_service_pb2.GetBalancesRequest(accounts=[account], date=on.isoformat())
        try:
            response = await self._stub.GetBalances(request)
        except grpc.aio.AioRpcError as error:
            raise typed_error(error) from None
        if not response.balances:
            raise NotFound(
                "ACCOUNT_NOT_FOUND", f"the account service does not know account …{account[-4:]}", "账户不存在"
            )
        return response.balances[0]

    async def follow_entries(self, after: int) -> AsyncIterator[Sequence[account_pb2.StatementEntry]]:
        """Yield batches of statement entries after a sequence."""
        request = account_service_pb2.FollowEntriesRequest(after_sequence=after)
        async for response in self._stub.FollowEntries(request):
            yield response.entries


class PaymentClient:
    """The payment service over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = payment_service_pb2_grpc.PaymentServiceStub(channel)

    async def follow_payments(self, after: int) -> AsyncIterator[Sequence[payment_pb2.PaymentEvent]]:
        """Yield batches of payment events after a sequence."""
        request = payment_service_pb2.FollowPaymentsRequest(after_sequence=after)
        async for response in self._stub.FollowPayments(request):
            yield response.events
