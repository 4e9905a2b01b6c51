"""The sister services over gRPC, as implementations of the ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date

import grpc
import structlog

from yinqi.api.gateway.v1 import gateway_pb2, gateway_service_pb2, gateway_service_pb2_grpc
from yinqi.api.monitoring.v1 import monitoring_service_pb2, monitoring_service_pb2_grpc
from yinqi.api.payment.v1 import order_pb2
from yinqi.orders.evidence import evidence_to
from yinqi.payment import mapping
from yinqi.payment.model import BankWord, Payment, Screening, StatusReason, StatusReport, Submission
from yinqi.runtime.errors import ErrorReason, error_reason, typed_error

_log = structlog.get_logger(__name__)
_CONNECT_WAIT_S = 0.2

# With these codes and a reason of ours the gateway says that it took nothing (kernel/errors.py); a code without a
# reason may come from anywhere on the way, after the bytes have left.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
_RESEND_REFUSED = "RESEND_PROOF_INSUFFICIENT"


async def _is_ready(channel: grpc.aio.Channel) -> bool:
    state = channel.get_state(try_to_connect=True)
    if state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
        try:
            async with asyncio.timeout(_CONNECT_WAIT_S):
                await channel.wait_for_state_change(state)
        except TimeoutError:
            return False
        state = channel.get_state()
        if state is grpc.ChannelConnectivity.CONNECTING:
            return False  # The next look will find it connected.
    return state is grpc.ChannelConnectivity.READY


class GrpcScreener:
    """The `Screener` port over monitoring's API."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._channel = channel
        self._stub = monitoring_service_pb2_grpc.MonitoringServiceStub(channel)
        self._timeout_s = timeout_s

    async def is_reachable(self) -> bool:
        return await _is_ready(self._channel)

    async def screen(self, payments: Sequence[Payment]) -> list[Screening]:
        request = monitoring_service_pb2.ScreenPaymentsRequest(subjects=[mapping.subject_to(p) for p in payments])
        try:
            response = await self._stub.ScreenPayments(request, timeout=self._timeout_s, wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            raise typed_error(error) from error
        asked = {payment.instruction_id for payment in payments}
        screenings = (mapping.screening_from(screening) for screening in response.screenings)
        return [screening for screening in screenings if screening and screening.instruction_id in asked]


class GrpcBankGateway:
    """The `BankGateway` port over the gateway's API."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._channel = channel
        self._stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)
        self._timeout_s = timeout_s

    async def is_reachable(self) -> bool:
        return await _is_ready(self._channel)

    async def submit(self, submissions: Sequence[Submission]) -> list[StatusReport]:
        return await self._submit_until(submissions, asyncio.get_running_loop().time() + self._timeout_s)

    async def _submit_until(self, submissions: Sequence[Submission], end_at: float) -> list[StatusReport]:
        request = gateway_service_pb2.SubmitPaymentsRequest(
            submissions=[mapping.submission_to(submission) for submission in submissions],
            control_totals=mapping.control_totals_to([submission.payment for submission in submissions]),
            orders=_orders_of(submissions),
        )
        remaining_s = max(0.0, end_at - asyncio.get_running_loop().time())
        try:
            response = await self._stub.SubmitPayments(request, timeout=remaining_s, wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            found = error_reason(error)
            if found.code is grpc.StatusCode.INVALID_ARGUMENT and found.reason and len(submissions) > 1:
                # Nothing was taken because of one line; halving finds it, and the others go.
                half = len(submissions) // 2
                parts = (submissions[:half], submissions[half:])
                reports = await asyncio.gather(*(self._submit_until(part, end_at) for part in parts))
                return [report for part in reports for report in part]
            return _all_failed(submissions, found)
        by_id = {report.instruction_id: report for report in response.reports}
        return [_report_of(submission, by_id.get(submission.payment.instruction_id)) for submission in submissions]

    async def query(self, payments: Sequence[Payment]) -> list[StatusReport]:
        request = gateway_service_pb2.QueryPaymentsRequest(references=[mapping.reference_to(p) for p in payments])
        try:
            response = await self._stub.QueryPayments(request, timeout=self._timeout_s, wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            raise typed_error(error) from error
        asked = {payment.instruction_id: payment for payment in payments}
        return [
            mapping.report_from(report, payment.submission_attempts, payment.releases)
            for report in response.reports
            if (payment := asked.get(report.instruction_id)) is not None
        ]

    async def list_returns(
        self, debtor_accounts: Sequence[str], from_date: date, to_date: date
    ) -> tuple[list[StatusReport], list[str]]:
        request = gateway_service_pb2.ListReturnsRequest(
            debtor_accounts=debtor_accounts, from_date=from_date.isoformat(), to_date=to_date.isoformat()
        )
        try:
            response = await self._stub.ListReturns(request, timeout=self._timeout_s, wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            raise typed_error(error) from error
        reports = [
            mapping.report_from(report, 0)
            for report in response.reports
            if report.instruction_id.isascii() and report.instruction_id.isalnum()  # as all of ours are
        ]
        return reports, list(response.failed_accounts)


class NoticeFeed:
    """What the banks' notices meant, over the gateway's API."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)

    async def follow(self, after: int) -> AsyncIterator[Sequence[gateway_pb2.NoticeEvent]]:
        """Yield batches after a sequence; raises the call's error when the stream breaks."""
        request = gateway_service_pb2.FollowNoticesRequest(after_sequence=after)
        async for response in self._stub.FollowNotices(request):
            yield response.events


def _orders_of(submissions: Sequence[Submission]) -> list[order_pb2.OrderEvidence]:
    """Return each order once; without a policy there are none."""
    orders = {one.line.order_digest: one.evidence for one in submissions if one.line and one.evidence}
    return [evidence_to(evidence) for evidence in orders.values()]


def _report_of(submission: Submission, report: gateway_pb2.PaymentStatusReport | None) -> StatusReport:
    if report is None:
        return _no_answer(submission, "The gateway's answer lacks this payment.")
    return mapping.report_from(report, submission.attempt, submission.payment.releases)


def _no_answer(submission: Submission, text: str) -> StatusReport:
    return _report_about(submission, BankWord.UNKNOWN, StatusReason("NO_ANSWER", "", text))


def _report_about(submission: Submission, word: BankWord, reason: StatusReason) -> StatusReport:
    payment = submission.payment
    return StatusReport(payment.instruction_id, word, submission.attempt, reason, release=payment.releases)


def _all_failed(submissions: Sequence[Submission], found: ErrorReason) -> list[StatusReport]:
    """The call itself failed: in doubt for all, unless the gateway says that it took nothing."""
    _log.warning("submission call failed", code=found.code.name, reason=found.reason, payments=len(submissions))
    nothing_left = found.reason and (found.code in _REFUSALS or found.reason == _RESEND_REFUSED)
    if not nothing_left:
        text = f"The call to the gateway ended with {found.code.name}."
        return [_no_answer(submission, text) for submission in submissions]
    reason = StatusReason(found.reason, "", found.message).bounded()
    return [_report_about(submission, BankWord.NOT_SENT, reason) for submission in submissions]
