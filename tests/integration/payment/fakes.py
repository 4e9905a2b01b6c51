"""A gateway and a monitoring service that do as they are told, over real gRPC."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from yinqi.api.gateway.v1 import gateway_pb2, gateway_service_pb2, gateway_service_pb2_grpc
from yinqi.api.monitoring.v1 import monitoring_pb2, monitoring_service_pb2, monitoring_service_pb2_grpc
from yinqi.kernel.errors import FailedPrecondition, InvalidRequest

Report = gateway_pb2.PaymentStatusReport


class FakeMonitoring(monitoring_service_pb2_grpc.MonitoringServiceServicer):
    """Passes everybody but creditors whose name holds 制裁."""

    def __init__(self) -> None:
        self.is_away = False
        self.screened: list[str] = []
        self.batches: list[int] = []

    async def ScreenPayments(self, request: Any, context: Any) -> Any:
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        self.batches.append(len(request.subjects))
        screenings = []
        for subject in request.subjects:
            self.screened.append(subject.instruction_id)
            blocked = "制裁" in subject.instruction.creditor.name
            screenings.append(
                monitoring_pb2.Screening(
                    instruction_id=subject.instruction_id,
                    verdict=monitoring_pb2.VERDICT_BLOCK if blocked else monitoring_pb2.VERDICT_PASS,
                    rule="blocked_creditor" if blocked else "",
                    description="The creditor is on the list." if blocked else "",
                )
            )
        return monitoring_service_pb2.ScreenPaymentsResponse(screenings=screenings)


class FakeGateway(gateway_service_pb2_grpc.GatewayServiceServicer):
    """A gateway with a bank behind it: the bank's book counts what was really paid.

    `script` says by end_to_end_id what happens to the n-th submission, e.g. {"A": ["lost_after", "ok"]}:
    ok: PROCESSING, settled at the first question. reject: refused. not_sent: nothing leaves. unheard: nothing leaves, and
    the call that says so breaks. lost_before: the call breaks, the bank has nothing. lost_after: the bank has it, the call breaks.
    """

    def __init__(self) -> None:
        self.script: dict[str, list[str]] = {}
        self.submitted: Counter[tuple[str, int]] = Counter()
        self.book: dict[str, str] = {}  # instruction_id → end_to_end_id, as the bank has booked
        self.paid: Counter[str] = Counter()
        self.written_off: dict[str, tuple[int, int]] = {}  # by instruction_id: attempt and release
        self.returns: list[str] = []
        self.returns_asked: list[tuple[list[str], str, str]] = []
        self.queried: Counter[str] = Counter()
        self.proofs: dict[str, gateway_pb2.NotFoundProof] = {}
        self.safe_window_ms = 1
        self.batches: list[tuple[str, int]] = []
        self.unreadable: set[str] = set()
        self.proofs_refused = 0
        self.text = "账户已销户"
        self.before_answer: Callable[[str], Any] | None = None

    async def FollowNotices(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """This bank never calls."""
        await asyncio.Event().wait()
        yield gateway_service_pb2.FollowNoticesResponse()

    async def SubmitPayments(self, request: Any, context: Any) -> Any:
        accounts = {s.instruction.debtor_account.identification for s in request.submissions}
        assert len(accounts) == 1, "one call, one account"
        account = accounts.pop()
        self.batches.append((account, len(request.submissions)))
        if self.unreadable & {s.instruction.end_to_end_id for s in request.submissions}:
            raise InvalidRequest("FIELD_INVALID", "A line cannot be read.")
        if self.proofs_refused and any(s.attempt > 1 for s in request.submissions):
            self.proofs_refused -= 1
            raise FailedPrecondition("RESEND_PROOF_INSUFFICIENT", "Not on record. Nothing was sent.")
        reports, breaks = [], False
        for submission in request.submissions:
            report, broken = self._take(submission)
            reports.append(report)
            breaks = breaks or broken
        if self.before_answer is not None:
            await self.before_answer(account)
        if breaks:
            await context.abort(grpc.StatusCode.INTERNAL, "line cut")
        return gateway_service_pb2.SubmitPaymentsResponse(reports=reports)

    def _take(self, submission: gateway_pb2.Submission) -> tuple[Report, bool]:
        key, reference = submission.instruction.end_to_end_id, submission.instruction_id
        self.submitted[reference, submission.attempt] += 1
        if submission.attempt > 1:
            self.proofs[reference] = submission.resend_proof
            assert submission.resend_proof.control_seen, "a resend without evidence"
        fate = (self.script.get(key) or ["ok"]).pop(0) if self.script.get(key) else "ok"
        report = Report(instruction_id=reference, status=gateway_pb2.BANK_STATUS_PROCESSING)
        if fate in ("ok", "lost_after"):
            # A bank of this kind does not dedupe: a second sending would pay twice.
            self.paid[key] += 1
            self.book[reference] = key
            report.account_servicer_reference = f"BANK-{len(self.book)}"
        if fate == "reject":
            report.status = gateway_pb2.BANK_STATUS_REJECTED
            report.reason_code, report.proprietary_code, report.reason_text = "AC04", "E123", self.text
        if fate == "not_sent":
            report.status = gateway_pb2.BANK_STATUS_NOT_SENT
            report.reason_code = "BANK_UNREACHABLE"
        if fate == "unheard":
            self.written_off[reference] = (submission.attempt, submission.release)
        return report, fate.startswith("lost") or fate == "unheard"

    async def QueryPayments(self, request: Any, context: Any) -> Any:
        reports = []
        for reference in request.references:
            self.queried[reference.instruction_id] += 1
            report = Report(instruction_id=reference.instruction_id)
            if self.written_off.get(reference.instruction_id) == (reference.attempt, reference.release):
                report.status, report.reason_code = gateway_pb2.BANK_STATUS_NOT_SENT, "NOT_SENT_ON_RECORD"
            elif reference.instruction_id in self.book:
                report.status = gateway_pb2.BANK_STATUS_SETTLED
                report.booking_date = "2026-11-22"
                report.account_servicer_reference = "BANK-Q"
            else:
                report.status = gateway_pb2.BANK_STATUS_NOT_FOUND
                proof = report.not_found_proof
                proof.queried_at.GetCurrentTime()
                proof.archive_id, proof.control_reference, proof.control_seen = "ARC-7", "PI-CONTROL", True
                proof.safe_window_ms = self.safe_window_ms
            reports.append(report)
        return gateway_service_pb2.QueryPaymentsResponse(reports=reports)

    async def ListMessages(self, request: Any, context: Any) -> Any:
        message = gateway_service_pb2.ArchivedMessage(archive_id="ARC-7", function="BB1PAYQR", is_verified=True)
        return gateway_service_pb2.ListMessagesResponse(messages=[message])

    async def ListReturns(self, request: Any, context: Any) -> Any:
        self.returns_asked.append((list(request.debtor_accounts), request.from_date, request.to_date))
        return gateway_service_pb2.ListReturnsResponse(
            reports=[
                Report(
                    instruction_id=reference,
                    status=gateway_pb2.BANK_STATUS_RETURNED,
                    booking_date="2026-11-23",
                    reason_code="AC01",
                )
                for reference in self.returns
            ]
        )


async def until(condition: Callable[[], Any], what: str = "it", seconds: float = 60.0) -> None:
    """Wait until the condition holds; fail with its name if it does not."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                result = condition()
                if asyncio.iscoroutine(result):
                    result = await result
                if result:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s for {what}") from None
