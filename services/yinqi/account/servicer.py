"""The RPCs: map in, run the use case, map out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

from yinqi.account import mapping, story, use_cases
from yinqi.account.camt053 import parse_camt053
from yinqi.account.camt053_mapping import statement_with_entries
from yinqi.account.model import ImportedStatement, RecordedEntry
from yinqi.account.repository import SqlBooks
from yinqi.account.worker import AccountRefresher, StatementFetcher, fetch_on_request
from yinqi.api.account.v1 import account_service_pb2 as pb
from yinqi.api.account.v1 import account_service_pb2_grpc
from yinqi.kernel.clock import Clock, epoch_ns
from yinqi.kernel.errors import InvalidRequest
from yinqi.runtime.database import Database
from yinqi.runtime.feed import Feed
from yinqi.runtime.telemetry import Telemetry, current_traceparent

Context = Any


class AccountServicer(account_service_pb2_grpc.AccountServiceServicer):
    """AccountService; what each RPC promises stands in account_service.proto."""

    def __init__(
        self,
        database: Database,
        feed: Feed[RecordedEntry],
        refresher: AccountRefresher,
        fetcher: StatementFetcher,
        clock: Clock,
        telemetry: Telemetry,
        *,
        feed_batch_max: int,
    ) -> None:
        self._database = database
        self._feed = feed
        self._refresher = refresher
        self._fetcher = fetcher
        self._clock = clock
        self._telemetry = telemetry
        self._feed_batch_max = feed_batch_max

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Context) -> pb.ListAccountsResponse:
        accounts = await self._database.read(lambda connection: use_cases.find_accounts([], SqlBooks(connection)))
        return pb.ListAccountsResponse(accounts=map(mapping.account_to_proto, accounts))

    async def GetBalances(self, request: pb.GetBalancesRequest, context: Context) -> pb.GetBalancesResponse:
        at = mapping.date_from_request(request.date, "date")
        names = mapping.accounts_from_request(request.accounts)
        balances = await self._database.read(lambda connection: use_cases.get_balances(names, at, SqlBooks(connection)))
        return pb.GetBalancesResponse(balances=map(mapping.balance_to_proto, balances))

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:
        wanted = mapping.entry_filter_from_proto(request)
        found = await self._database.read(lambda connection: use_cases.list_entries(wanted, SqlBooks(connection)))
        return mapping.entries_page(found, wanted.limit)

    async def ListPostings(self, request: pb.ListPostingsRequest, context: Context) -> pb.ListPostingsResponse:
        wanted = mapping.posting_filter_from_proto(request)
        found = await self._database.read(lambda connection: use_cases.list_postings(wanted, SqlBooks(connection)))
        return mapping.postings_page(found, wanted.limit)

    async def ImportStatement(self, request: pb.ImportStatementRequest, context: Context) -> pb.ImportStatementResponse:
        _check_format(request)
        start_ns, traceparent, now = epoch_ns(), current_traceparent(), self._clock.now()
        # Parsing takes seconds for a large file: not on the loop, and not while the writer waits.
        statements = await asyncio.to_thread(
            lambda: [statement_with_entries(parsed) for parsed in parse_camt053(request.content)]
        )
        imported = await self._database.run(
            lambda connection: use_cases.import_statements(statements, SqlBooks(connection), now, traceparent)
        )
        self._tell_imported(imported, traceparent, start_ns)
        return pb.ImportStatementResponse(statements=map(mapping.imported_to_proto, imported))

    async def FetchStatement(self, request: pb.FetchStatementRequest, context: Context) -> pb.FetchStatementResponse:
        day = mapping.date_from_request(request.date, "date")
        fetched = await fetch_on_request(
            request.account, day, self._database, self._refresher, self._fetcher, current_traceparent()
        )
        at: date = fetched.statement.to_date
        balances = await self._database.read(
            lambda connection: use_cases.get_balances([request.account], at, SqlBooks(connection))
        )
        return pb.FetchStatementResponse(
            entry_count=fetched.statement.entry_count,
            new_entry_count=fetched.new_entry_count,
            page_count=fetched.page_count,
            balance=mapping.balance_to_proto(balances[0]),
            fetched_at=mapping.timestamp(self._clock.now()),
        )

    async def FollowEntries(
        self, request: pb.FollowEntriesRequest, context: Context
    ) -> AsyncIterator[pb.FollowEntriesResponse]:
        async for batch in self._feed.follow(request.after_sequence, batch_max=self._feed_batch_max):
            yield pb.FollowEntriesResponse(entries=map(mapping.entry_to_proto, batch))

    def _tell_imported(self, imported: list[ImportedStatement], traceparent: str, start_ns: int) -> None:
        for one in imported:
            story.tell_entries(self._telemetry, one.new_entries, one.payment_traceparents, traceparent, start_ns)


def _check_format(request: pb.ImportStatementRequest) -> None:
    if request.format not in (pb.STATEMENT_FORMAT_UNSPECIFIED, pb.STATEMENT_FORMAT_CAMT_053):
        raise InvalidRequest(
            "FORMAT_UNSUPPORTED",
            "this statement format is not known; camt.053 is read",
            "不支持此格式，可导入 camt.053",
        )
    if not request.content:
        raise InvalidRequest("FILE_EMPTY", "the file is empty; nothing was imported", "文件为空，未导入")
