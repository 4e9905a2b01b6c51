"""The RPCs of GatewayService: map in, call, map out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any, TypeVar

import grpc

from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.api.gateway.v1 import gateway_service_pb2_grpc, key_pb2, stop_pb2
from yinqi.gateway import key_mapping, mapping, stop_mapping
from yinqi.gateway.key_ring import KeyRing
from yinqi.gateway.model import CALL_LINES_MAX
from yinqi.gateway.profile import Profiles
from yinqi.gateway.querying import Querier
from yinqi.gateway.reading import AccountReader
from yinqi.gateway.receipts import ReceiptFetcher
from yinqi.gateway.repository import SqlStore, read_notice_events
from yinqi.gateway.stop_desk import StopDesk
from yinqi.gateway.submitting import Submitter
from yinqi.kernel.errors import InvalidRequest, NotFound
from yinqi.orders.evidence import evidence_from
from yinqi.runtime.database import Database
from yinqi.runtime.feed import Feed
from yinqi.runtime.identity import current_principal

Context = grpc.aio.ServicerContext[Any, Any]
M = TypeVar("M")
T = TypeVar("T")
_STOPS_MAX, _STOPS_DEFAULT = 1_000, 100
_SECONDS_MAX = 2**31  # more than any overlap that is taken
_NO_RINGS: Mapping[str, KeyRing] = MappingProxyType({})


class GatewayServicer(gateway_service_pb2_grpc.GatewayServiceServicer):
    """Serves GatewayService."""

    def __init__(
        self,
        submitter: Submitter,
        querier: Querier,
        reader: AccountReader,
        stops: StopDesk,
        profiles: Profiles,
        database: Database,
        rings: Mapping[str, KeyRing] = _NO_RINGS,
        receipts: ReceiptFetcher | None = None,
    ) -> None:
        self._receipts = receipts or ReceiptFetcher({}, profiles, database, reader)
        self._stops = stops
        self._rings = rings
        self._submitter = submitter
        self._querier = querier
        self._reader = reader
        self._profiles = profiles
        self._database = database
        self._notices = Feed(database, read_notice_events, lambda event: event.sequence)

    async def SubmitPayments(self, request: pb.SubmitPaymentsRequest, _context: Context) -> pb.SubmitPaymentsResponse:
        submissions = _each("submissions", request.submissions, mapping.submission_from)
        totals = [mapping.control_total_from(one) for one in request.control_totals]
        orders = [evidence_from(one) for one in request.orders[:CALL_LINES_MAX]]
        reports = await self._submitter.submit(submissions, totals, orders)
        return pb.SubmitPaymentsResponse(reports=[mapping.report_to(report) for report in reports])

    async def QueryPayments(self, request: pb.QueryPaymentsRequest, _context: Context) -> pb.QueryPaymentsResponse:
        references = _each("references", request.references, mapping.reference_from)
        reports = await self._querier.query(references)
        return pb.QueryPaymentsResponse(reports=[mapping.report_to(report) for report in reports])

    async def ListReturns(self, request: pb.ListReturnsRequest, _context: Context) -> pb.ListReturnsResponse:
        first = mapping.required_date(request.from_date, "from_date")
        last = mapping.required_date(request.to_date, "to_date")
        accounts = list(dict.fromkeys([*filter(None, [request.debtor_account]), *request.debtor_accounts]))
        reports, failed = await self._reader.returns(_each("debtor_accounts", accounts, str), first, last)
        return pb.ListReturnsResponse(reports=[mapping.report_to(report) for report in reports], failed_accounts=failed)

    async def GetBalances(self, request: pb.GetBalancesRequest, _context: Context) -> pb.GetBalancesResponse:
        accounts = _each("accounts", request.accounts, str)
        balances = await self._reader.balances(accounts)
        return pb.GetBalancesResponse(balances=[mapping.balance_to(balance) for balance in balances])

    async def ListEntries(self, request: pb.ListEntriesRequest, _context: Context) -> pb.ListEntriesResponse:
        day = mapping.optional_date(request.date, "date")
        page = await self._reader.entries(request.account, day, request.cursor)
        return pb.ListEntriesResponse(page=mapping.page_to(page))

    async def ListAccounts(self, _request: pb.ListAccountsRequest, _context: Context) -> pb.ListAccountsResponse:
        return pb.ListAccountsResponse(accounts=[mapping.account_to(one) for one in self._profiles.accounts()])

    async def ListMessages(self, request: pb.ListMessagesRequest, _context: Context) -> pb.ListMessagesResponse:
        messages = await self._database.read(
            lambda connection: SqlStore(connection).archive.messages_of(request.instruction_id)
        )
        return pb.ListMessagesResponse(messages=[mapping.message_to(message) for message in messages])

    async def FetchReceipts(self, request: pb.FetchReceiptsRequest, _context: Context) -> pb.FetchReceiptsResponse:
        asked = list(dict.fromkeys(_each("instruction_ids", request.instruction_ids, str)))
        found = await self._receipts.fetch(asked)
        payments = [mapping.receipts_to(one, found.of(one), is_answered=one not in found.unanswered) for one in asked]
        return pb.FetchReceiptsResponse(payments=payments)

    async def FollowNotices(
        self, request: pb.FollowNoticesRequest, _context: Context
    ) -> AsyncIterator[pb.FollowNoticesResponse]:
        async for batch in self._notices.follow(request.after_sequence):
            yield pb.FollowNoticesResponse(events=[mapping.notice_event_to(event) for event in batch])

    async def PullStop(self, request: stop_pb2.PullStopRequest, _context: Context) -> stop_pb2.PullStopResponse:
        scope, person = stop_mapping.scope_from(request.scope), current_principal().name
        change = await self._stops.pull(scope, person, request.reason)
        return stop_pb2.PullStopResponse(stop=stop_mapping.stop_to(change.stop), is_news=change.type is not None)

    async def LiftStop(self, request: stop_pb2.LiftStopRequest, _context: Context) -> stop_pb2.LiftStopResponse:
        change = await self._stops.lift(request.stop_id, current_principal().name, request.reason)
        return stop_pb2.LiftStopResponse(stop=stop_mapping.stop_to(change.stop), is_lifted=not change.stop.is_active)

    async def ListStops(self, request: stop_pb2.ListStopsRequest, _context: Context) -> stop_pb2.ListStopsResponse:
        if not 0 <= request.page_size <= _STOPS_MAX:
            allowed = f"1 to {_STOPS_MAX:,}, or 0 for {_STOPS_DEFAULT}"
            raise mapping.invalid_field("page_size", "PAGE_SIZE_INVALID", allowed, f"须为 1 至 {_STOPS_MAX}")
        limit = request.page_size or _STOPS_DEFAULT
        stops = await self._stops.listed(include_lifted=request.include_lifted, limit=limit)
        return stop_pb2.ListStopsResponse(stops=[stop_mapping.stop_to(stop) for stop in stops])

    async def ListKeys(self, request: key_pb2.ListKeysRequest, _context: Context) -> key_pb2.ListKeysResponse:
        rings = [self._ring(request.bank_profile)] if request.bank_profile else list(self._rings.values())
        keys = [key_mapping.key_to(*one) for ring in rings for one in await ring.list()]
        return key_pb2.ListKeysResponse(keys=keys)

    async def StageKey(self, request: key_pb2.StageKeyRequest, _context: Context) -> key_pb2.StageKeyResponse:
        ring, actor = self._ring(request.bank_profile), current_principal().name
        staged = await ring.stage(key_mapping.new_key_from(request), actor)
        return key_pb2.StageKeyResponse(key=key_mapping.key_to(*staged))

    async def AskKeyActivation(
        self, request: key_pb2.AskKeyActivationRequest, _context: Context
    ) -> key_pb2.AskKeyActivationResponse:
        ring, word = self._ring(request.bank_profile), key_mapping.word_from(request, current_principal().name)
        overlap = timedelta(seconds=max(-1, min(request.overlap_seconds, _SECONDS_MAX)))
        found = await ring.ask(request.key_id, overlap, word)
        return key_pb2.AskKeyActivationResponse(key=key_mapping.key_to(*found))

    async def ConfirmKeyActivation(
        self, request: key_pb2.ConfirmKeyActivationRequest, _context: Context
    ) -> key_pb2.ConfirmKeyActivationResponse:
        ring, word = self._ring(request.bank_profile), key_mapping.word_from(request, current_principal().name)
        return key_pb2.ConfirmKeyActivationResponse(key=key_mapping.key_to(*await ring.confirm(request.key_id, word)))

    async def RetireKey(self, request: key_pb2.RetireKeyRequest, _context: Context) -> key_pb2.RetireKeyResponse:
        ring, actor = self._ring(request.bank_profile), current_principal().name
        return key_pb2.RetireKeyResponse(key=key_mapping.key_to(*await ring.retire(request.key_id, actor)))

    def _ring(self, profile: str) -> KeyRing:
        ring = self._rings.get(profile)
        if ring is None:
            raise NotFound(
                "PROFILE_UNKNOWN",
                f"bank_profile: there is no profile {profile[:31]!r}; there are: {', '.join(sorted(self._rings))}.",
                "没有该银行配置。",
            )
        return ring


def _each(field: str, messages: Sequence[M], read: Callable[[M], T]) -> list[T]:
    """Read 1 to CALL_LINES_MAX items; an error names the item's index."""
    if not 1 <= len(messages) <= CALL_LINES_MAX:
        raise mapping.invalid_field(
            field,
            "COUNT_INVALID",
            f"1 to {CALL_LINES_MAX:,} items, got {len(messages):,}",
            f"须为 1 至 {CALL_LINES_MAX} 条",
        )
    items = []
    for index, message in enumerate(messages):
        try:
            items.append(read(message))
        except InvalidRequest as error:
            raise InvalidRequest(
                error.reason, f"{field}[{index}]: {error.message}", error.message_zh, error.violations
            ) from None
    return items
