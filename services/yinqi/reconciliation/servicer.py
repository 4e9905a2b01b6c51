"""The RPCs: map in, run the use case, map out."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date
from typing import Any

import grpc
from sqlalchemy import Connection

from yinqi.api.reconciliation.v1 import reconciliation_service_pb2 as pb
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2_grpc
from yinqi.kernel.clock import Clock, epoch_ns
from yinqi.kernel.errors import FieldViolation, InvalidRequest, NotFound
from yinqi.kernel.ids import IdSource
from yinqi.reconciliation import mapping, use_cases
from yinqi.reconciliation.model import DayBalances, Match, Reconciliation
from yinqi.reconciliation.ports import AccountPort
from yinqi.reconciliation.repository import SqlUnitOfWork, read_events
from yinqi.runtime import attributes
from yinqi.runtime.database import Database
from yinqi.runtime.feed import Feed
from yinqi.runtime.identity import current_principal
from yinqi.runtime.telemetry import Telemetry, current_traceparent

_PAGE_DEFAULT, _PAGE_MAX = 100, 1_000
_LAG_RETRIES_MAX, _LAG_PAUSE_S = 10, 0.3


class ReconciliationServicer(reconciliation_service_pb2_grpc.ReconciliationServiceServicer):
    """Serves ReconciliationService."""

    def __init__(
        self, database: Database, accounts: AccountPort, clock: Clock, ids: IdSource, telemetry: Telemetry
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._clock = clock
        self._ids = ids
        self._telemetry = telemetry
        self._feed: Feed[Any] = Feed(database, read_events, lambda event: event[0].sequence)

    async def ReconcileDay(
        self, request: pb.ReconcileDayRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ReconcileDayResponse:
        account, on = _account(request.account), _date(request.date)
        run = await self._reconcile(account, on, await self._balances_once_caught_up(account, on))
        breaks = await self._read(lambda work: work.breaks.list(account, on, None, _PAGE_MAX, None))
        return pb.ReconcileDayResponse(reconciliation=mapping.reconciliation_to_proto(run, breaks))

    async def _balances_once_caught_up(self, account: str, on: date) -> DayBalances:
        """Return the day's balances, after the feeds brought what they are made of, or after a short while."""
        for _ in range(_LAG_RETRIES_MAX):
            balances = await self._accounts.day_balances(account, on)
            booked, entered = await self._read(lambda work: work.books.sum_day(account, on))
            if balances.are_explained_by(booked, entered):
                return balances
            await asyncio.sleep(_LAG_PAUSE_S)
        return await self._accounts.day_balances(account, on)

    async def _reconcile(self, account: str, on: date, balances: DayBalances) -> Reconciliation:
        start_ns, now, actor = epoch_ns(), self._clock.now(), current_principal().name
        run, matches = await self._database.run(
            lambda connection: use_cases.reconcile_day(
                account,
                on,
                balances,
                now=now,
                ids=self._ids,
                unit_of_work=SqlUnitOfWork(connection, now, actor),
            )
        )
        self._tell_stories(run, matches, start_ns)
        return run

    def _tell_stories(self, run: Reconciliation, matches: Sequence[Match], start_ns: int) -> None:
        link = current_traceparent()
        for match in matches:
            self._telemetry.emit_span(
                "reconciliation.match",
                parent_traceparent=match.booking.traceparent,
                start_ns=start_ns,
                links=[link] if link else [],
                attributes={
                    attributes.INSTRUCTION_ID: match.booking.instruction_id,
                    attributes.RUN_ID: run.run_id,
                    attributes.RULE: match.rule.value,
                },
            )

    async def GetReconciliation(
        self, request: pb.GetReconciliationRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetReconciliationResponse:
        account, on = _account(request.account), _date(request.date)
        run = await self._read(lambda work: work.runs.latest(account, on))
        if run is None:
            raise NotFound(
                "DAY_NOT_RECONCILED", f"{on} of this account was not reconciled yet; call ReconcileDay", "该日尚未对账"
            )
        breaks = await self._read(lambda work: work.breaks.list(account, on, None, _PAGE_MAX, None))
        pairs = await self._read(lambda work: work.books.pairs(account, on)) if request.include_matches else []
        return pb.GetReconciliationResponse(reconciliation=mapping.reconciliation_to_proto(run, breaks, pairs))

    async def ListReconciliations(
        self, request: pb.ListReconciliationsRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListReconciliationsResponse:
        size, after = _page(request.page_size, request.page_token)
        runs = list(await self._read(lambda work: work.runs.list_latest(size, after)))
        token = _token(runs[-1].date.isoformat(), runs[-1].account) if len(runs) == size else ""
        return pb.ListReconciliationsResponse(
            reconciliations=[mapping.reconciliation_to_proto(run) for run in runs], next_page_token=token
        )

    async def ListBreaks(
        self, request: pb.ListBreaksRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListBreaksResponse:
        size, after = _page(request.page_size, request.page_token)
        on = _date(request.date) if request.date else None
        status = mapping.break_status_from_proto(request.status)
        found = await self._read(lambda work: work.breaks.list(request.account, on, status, size, after))
        token = _token(found[-1].date.isoformat(), found[-1].break_id) if len(found) == size else ""
        return pb.ListBreaksResponse(breaks=[mapping.break_to_proto(item) for item in found], next_page_token=token)

    async def ResolveBreak(
        self, request: pb.ResolveBreakRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ResolveBreakResponse:
        now, actor = self._clock.now(), current_principal().name
        resolved = await self._database.run(
            lambda connection: use_cases.resolve_break(
                request.break_id,
                request.resolution,
                actor,
                now=now,
                unit_of_work=SqlUnitOfWork(connection, now, actor),
            )
        )
        return pb.ResolveBreakResponse(reconciliation_break=mapping.break_to_proto(resolved))

    async def FollowReconciliations(
        self, request: pb.FollowReconciliationsRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.FollowReconciliationsResponse]:
        async for batch in self._feed.follow(request.after_sequence):
            yield pb.FollowReconciliationsResponse(events=[mapping.event_to_proto(*event) for event in batch])

    async def _read(self, query: Callable[[SqlUnitOfWork], Any]) -> Any:
        now = self._clock.now()

        def run(connection: Connection) -> Any:
            return query(SqlUnitOfWork(connection, now, ""))

        return await self._database.read(run)


def _invalid(field: str, reason: str, description: str, description_zh: str) -> InvalidRequest:
    violation = FieldViolation(field, reason, description, description_zh)
    return InvalidRequest("FIELD_INVALID", f"{field}: {description}", f"{field}：{description_zh}", (violation,))


def _account(text: str) -> str:
    if not 1 <= len(text) <= 34:
        raise _invalid("account", "LENGTH", "must have 1 to 34 characters", "账号须为 1 至 34 位")
    return text


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _invalid(
            "date", "FORMAT", "must be an ISO 8601 date such as 2026-11-22", "日期格式应为 2026-11-22"
        ) from None


def _page(size: int, token: str) -> tuple[int, tuple[str, str] | None]:
    if not 0 <= size <= _PAGE_MAX:
        raise _invalid("page_size", "RANGE", f"must be 0 to {_PAGE_MAX}", f"须为 0 至 {_PAGE_MAX}")
    return size or _PAGE_DEFAULT, _key_of(token) if token else None


def _token(first: str, second: str) -> str:
    return base64.urlsafe_b64encode(f"{first}\n{second}".encode()).decode()


def _key_of(token: str) -> tuple[str, str]:
    try:
        first, second = base64.urlsafe_b64decode(token.encode()).decode().split("\n")
    except (binascii.Error, UnicodeError, ValueError):
        raise _invalid(
            "page_token", "FORMAT", "is not a token of ours; start from the first page", "翻页标记无效"
        ) from None
    return first, second
