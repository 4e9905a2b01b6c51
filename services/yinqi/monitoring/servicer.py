"""The RPCs of MonitoringService: map in, run the use case, map out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from yinqi.api.monitoring.v1 import monitoring_service_pb2 as pb
from yinqi.api.monitoring.v1 import monitoring_service_pb2_grpc
from yinqi.kernel.clock import Clock, epoch_ns
from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.kernel.ids import IdSource
from yinqi.monitoring import mapping, use_cases
from yinqi.monitoring.model import AlertEvent, AlertFilter, ScreeningSubject, Verdict
from yinqi.monitoring.repository import SqlStore, read_alert_events
from yinqi.monitoring.rules import ScreeningRules
from yinqi.runtime import attributes
from yinqi.runtime.database import Database
from yinqi.runtime.feed import Feed
from yinqi.runtime.identity import current_principal
from yinqi.runtime.telemetry import Telemetry, current_traceparent

_PAGE_DEFAULT, _PAGE_MAX = 100, 1_000
Context = grpc.aio.ServicerContext[Any, Any]


class MonitoringServicer(monitoring_service_pb2_grpc.MonitoringServiceServicer):
    """Serves MonitoringService."""

    def __init__(
        self, database: Database, rules: ScreeningRules, clock: Clock, ids: IdSource, telemetry: Telemetry
    ) -> None:
        self._database = database
        self._rules = rules
        self._clock = clock
        self._ids = ids
        self._telemetry = telemetry
        self._feed: Feed[AlertEvent] = Feed(database, read_alert_events, lambda event: event.sequence)

    async def ScreenPayments(self, request: pb.ScreenPaymentsRequest, _context: Context) -> pb.ScreenPaymentsResponse:
        start_ns, now, today = epoch_ns(), self._clock.now(), self._clock.today().isoformat()
        subjects = [mapping.subject_from(message) for message in request.subjects]
        result = await self._database.run(
            lambda connection: use_cases.screen_payments(
                subjects, self._rules, SqlStore(connection), self._ids, now, today
            )
        )
        self._tell_stories(subjects, result, start_ns)
        return pb.ScreenPaymentsResponse(screenings=[mapping.screening_to(one) for one in result.screenings])

    def _tell_stories(
        self, subjects: Sequence[ScreeningSubject], result: use_cases.ScreeningResult, start_ns: int
    ) -> None:
        """Write a span into the trace of each payment that got its first verdict; a repeated answer is no new step."""
        if not self._telemetry.enabled:
            return
        end_ns, call = epoch_ns(), current_traceparent()
        for subject, screening in zip(subjects, result.screenings, strict=True):
            if subject.instruction_id not in result.new_instruction_ids or not subject.traceparent:
                continue
            self._telemetry.emit_span(
                "monitoring.screen",
                parent_traceparent=subject.traceparent,
                start_ns=start_ns,
                end_ns=end_ns,
                links=[call] if call else [],
                attributes={
                    attributes.INSTRUCTION_ID: subject.instruction_id,
                    attributes.END_TO_END_ID: subject.end_to_end_id,
                    attributes.RULE: screening.rule or "pass",
                    "yinqi.monitoring.verdict": Verdict(screening.verdict).name,
                },
            )

    async def ListAlerts(self, request: pb.ListAlertsRequest, _context: Context) -> pb.ListAlertsResponse:
        page_size = _page_size(request.page_size)
        wanted = AlertFilter(
            mapping.alert_status_from(request.status), request.subject, mapping.place_from(request.page_token)
        )
        page, has_more = await self._database.read(
            lambda connection: use_cases.list_alerts(wanted, page_size, SqlStore(connection).alerts)
        )
        return pb.ListAlertsResponse(
            alerts=[mapping.alert_to(alert) for alert in page],
            next_page_token=mapping.page_token(page[-1]) if has_more else "",
        )

    async def AcknowledgeAlert(
        self, request: pb.AcknowledgeAlertRequest, _context: Context
    ) -> pb.AcknowledgeAlertResponse:
        person, now = current_principal().name, self._clock.now()
        alert = await self._database.run(
            lambda connection: use_cases.acknowledge_alert(
                request.alert_id, request.note, person, SqlStore(connection).alerts, now
            )
        )
        return pb.AcknowledgeAlertResponse(alert=mapping.alert_to(alert))

    async def FollowAlerts(
        self, request: pb.FollowAlertsRequest, _context: Context
    ) -> AsyncIterator[pb.FollowAlertsResponse]:
        async for batch in self._feed.follow(request.after_sequence):
            yield pb.FollowAlertsResponse(events=[mapping.event_to(event) for event in batch])


def _page_size(size: int) -> int:
    if not 0 <= size <= _PAGE_MAX:
        raise InvalidRequest(
            "FIELD_INVALID",
            f"page_size is {size}; 1 to {_PAGE_MAX} are allowed, 0 means {_PAGE_DEFAULT}.",
            f"每页条数须为 1 至 {_PAGE_MAX}。",
            violations=[FieldViolation("page_size", "RANGE", f"0 to {_PAGE_MAX}", "超出范围")],
        )
    return size or _PAGE_DEFAULT
