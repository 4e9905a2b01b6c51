"""The loops that move payments at their own pace: screen, submit, ask, look for returns, recover."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from opentelemetry.context import Context
from sqlalchemy import Connection

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.kernel.clock import Clock, epoch_ns
from yinqi.kernel.errors import Unavailable, YinqiError
from yinqi.payment import mapping, use_cases
from yinqi.payment.approval_desk import ApprovalDesk
from yinqi.payment.approvals import expire_unapproved
from yinqi.payment.model import Pacing, Payment, Screening, StatusReport, Submission
from yinqi.payment.ports import BankGateway, Screener
from yinqi.payment.repository import SqlPaymentStore
from yinqi.payment.status import RELEASABLE, PaymentStatus
from yinqi.payment.tracing import write_roots, write_steps
from yinqi.payment.use_cases import RecordedReports
from yinqi.runtime import attributes
from yinqi.runtime.database import Database
from yinqi.runtime.telemetry import Telemetry, current_traceparent, untraced
from yinqi.runtime.worker import every

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_RECOVERY_LIMIT = 1_000
_STOP_LIFTED = "STOP_LIFTED"  # the gateway's word
_CALLS_PER_ACCOUNT_MAX = 2
_RETURN_ACCOUNTS_MAX = 1_000
_RETURN_DAYS_BACK = 5
_RETURN_DAYS_AHEAD = 1  # The bank's day may be ahead of ours.


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How much the loops do at once, and how often they look.

    Attributes:
        batch_max: payments per call to a sister service, at most 1,000 by its contract.
        calls_max: calls to the gateway in flight, for submissions and again for questions.
        poll_interval_s: how often to look for work that nobody announced.
        returns_interval_s: how often to ask for returns.
        bank_timeout_s: deadline of a call behind which a bank is asked; a submission that could not end before its
            lease does is not begun.
        drain_grace_s: how long an orderly end waits for calls in flight.
    """

    batch_max: int = 1_000
    calls_max: int = 8
    poll_interval_s: float = 0.2
    returns_interval_s: float = 30.0
    bank_timeout_s: float = 45.0
    drain_grace_s: float = 10.0


class PaymentWorker:
    """Owns the loops of one replica. n replicas share the work through row claims."""

    def __init__(
        self,
        database: Database,
        screener: Screener,
        gateway: BankGateway,
        *,
        clock: Clock,
        telemetry: Telemetry,
        pacing: Pacing,
        limits: WorkerLimits,
        desk: ApprovalDesk | None = None,
    ) -> None:
        self._desk = desk
        self._database = database
        self._screener = screener
        self._gateway = gateway
        self._clock = clock
        self._telemetry = telemetry
        self._pacing = pacing
        self._limits = limits
        self._screen_wake = asyncio.Event()
        self._submit_wake = asyncio.Event()
        self._sending: dict[asyncio.Task[None], str] = {}  # to the debtor account it sends from
        self._asking: set[asyncio.Task[None]] = set()
        self._questions = asyncio.Semaphore(limits.calls_max)

    def wake(self) -> None:
        """Say that payments were recorded just now."""
        self._screen_wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Run all loops until `stop` is set, then wait for the calls in flight: their answers must be recorded."""
        await self.recover_after_start()
        poll_s = self._limits.poll_interval_s
        async with asyncio.TaskGroup() as loops:
            for interval_s, action, name, wake in (
                (poll_s, self.screen, "screen", self._screen_wake),
                (poll_s, self.submit, "submit", self._submit_wake),
                (poll_s, self.query, "query", None),
                (poll_s * 5, self.recover, "recover", None),
                (poll_s * 50, self.expire, "expire", None),
                (self._limits.returns_interval_s, self.look_for_returns, "returns", None),
            ):
                loops.create_task(every(interval_s, action, stop=stop, name=f"payment.{name}", wake=wake))
        await self._end_calls()

    async def _end_calls(self) -> None:
        """Wait for the calls in flight; what a hanging bank does not answer in time stays in doubt and is recovered."""
        end_at = time.monotonic() + self._limits.drain_grace_s
        while running := {*self._sending, *self._asking}:
            await asyncio.wait(running, timeout=max(0.0, end_at - time.monotonic()))
            if time.monotonic() >= end_at:
                for task in running:
                    task.cancel()

    # --- screening ---

    async def screen(self) -> bool:
        """Screen due payments; if monitoring is away they wait. Return whether there may be more."""
        if not await self._is_due((PaymentStatus.RECEIVED,)):
            return False
        if not await self._screener.is_reachable():
            raise Unavailable("MONITORING_AWAY", "Monitoring cannot be reached; payments wait to be screened.")
        payments = await self._run(
            lambda store, now: use_cases.claim_for_screening(
                store, now=now, limit=self._limits.batch_max, pacing=self._pacing
            )
        )
        if not payments:
            return False
        write_roots(self._telemetry, (payment for payment in payments if payment.step_tries == 0))
        with self._batch_span("screen payments", len(payments)) as (batch, start_ns):
            try:
                screenings = await self._screener.screen(payments)
            except YinqiError:
                await self._release(payments)
                raise
            moved = await self._record_screenings(screenings)
            answered = {screening.instruction_id for screening in screenings}
            await self._release([payment for payment in payments if payment.instruction_id not in answered])
        write_steps(self._telemetry, "screen", moved, start_ns=start_ns, batch_traceparent=batch)
        self._submit_wake.set()
        return True

    async def _record_screenings(self, screenings: Sequence[Screening]) -> list[Payment]:
        def record(connection: Connection) -> list[Payment]:
            return use_cases.record_screenings(
                screenings,
                SqlPaymentStore(connection),
                now=now,
                actor="payment.screen",
                approver=self._desk.approver(connection) if self._desk is not None else None,
                pacing=self._pacing,
            )

        now = self._clock.now()
        return await self._database.run(record)

    async def _release(self, payments: Sequence[Payment]) -> None:
        if payments:
            await self._run(lambda store, now: use_cases.release_claims(payments, store, now=now, pacing=self._pacing))

    # --- submission ---

    async def submit(self) -> bool:
        """Claim what is due and send it, several calls at once; return whether there may be more."""
        free = self._limits.calls_max - len(self._sending)
        if free <= 0:
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            return True
        if not await self._is_due(RELEASABLE) or not await self._gateway.is_reachable():
            return False
        today, calls = self._clock.today(), Counter(self._sending.values())
        # A bank that answers slowly must not take all calls from the others.
        busy = [account for account, count in calls.items() if count >= _CALLS_PER_ACCOUNT_MAX]
        submissions = await self._run(
            lambda store, now: use_cases.claim_for_submission(
                store,
                now=now,
                today=today,
                limit=self._limits.batch_max,
                accounts_max=free,
                busy_accounts=busy,
                pacing=self._pacing,
                actor="payment.submit",
            )
        )
        for group in _by_account(submissions, lambda submission: submission.payment):
            self._send_soon(group)
        return bool(submissions)

    def _send_soon(self, group: Sequence[Submission]) -> None:
        task = asyncio.create_task(self._send(group))
        self._sending[task] = group[0].payment.debtor_account
        task.add_done_callback(self._sending.pop)

    async def _send(self, submissions: Sequence[Submission]) -> None:
        """Send claimed payments and record the answers. Never raises: what is not recorded is recovered as UNKNOWN."""
        latest = min(s.expires_at for s in submissions) - timedelta(seconds=self._limits.bank_timeout_s)
        if self._clock.now() > latest:
            # We were held up; the lease may end while the call runs, and the payments be asked for meanwhile.
            _log.warning("claim too old to send; the payments will be queried", payments=len(submissions))
            return
        try:
            with self._batch_span("submit payments", len(submissions)) as (batch, start_ns):
                if self._desk is not None:
                    submissions = await self._desk.with_evidence(submissions)
                reports = await self._gateway.submit(submissions)
                recorded = await self._record(reports, "payment.submit")
            self._write_moves("submit", recorded, start_ns, batch)
        except YinqiError as error:
            _log.warning("submission not recorded", reason=error.reason, payments=len(submissions))
        except Exception as error:  # noqa: BLE001 (a task nobody awaits; recovery takes the payments)
            _log.error("submission failed", exc_info=error, payments=len(submissions))

    # --- questions ---

    async def query(self) -> bool:
        """Ask the banks about open payments that are due; return whether there may be more."""
        if len(self._asking) >= self._limits.calls_max:
            await asyncio.wait(self._asking, return_when=asyncio.FIRST_COMPLETED)
            return True
        open_statuses = (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN)
        if not await self._is_due(open_statuses) or not await self._gateway.is_reachable():
            return False
        payments = await self._run(
            lambda store, now: use_cases.claim_for_query(
                store, now=now, limit=self._limits.batch_max, pacing=self._pacing
            )
        )
        for group in _by_account(payments, lambda payment: payment):
            task = asyncio.create_task(self._ask(group))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return len(payments) == self._limits.batch_max

    async def _ask(self, payments: Sequence[Payment]) -> None:
        """Ask about payments of one account. Never raises: a question without an end is free again after its lease."""
        async with self._questions:
            try:
                with self._batch_span("query payments", len(payments)) as (batch, start_ns):
                    reports = await self._questioned(payments)
                    recorded = await self._record(reports, "payment.query", asked=payments)
                self._write_moves("status", recorded, start_ns, batch)
                if recorded.permits:
                    await self._resend(recorded)
            except Exception as error:  # noqa: BLE001 (a task nobody awaits)
                _log.error("query failed", exc_info=error, payments=len(payments))

    async def _questioned(self, payments: Sequence[Payment]) -> list[StatusReport]:
        try:
            return await self._gateway.query(payments)
        except YinqiError as error:  # Says nothing about the payments.
            _log.warning("query failed", reason=error.reason, payments=len(payments))
            return []

    async def _resend(self, recorded: RecordedReports) -> None:
        submissions = await self._run(
            lambda store, now: use_cases.resend_payments(
                recorded.permits, store, now=now, pacing=self._pacing, actor="payment.resend"
            )
        )
        _log.info("resending under permits", payments=len(submissions))
        for group in _by_account(submissions, lambda submission: submission.payment):
            self._send_soon(group)

    # --- returns and recovery ---

    async def look_for_returns(self) -> None:
        """Ask for payments that came back, for every account with payments settled in the last days."""
        today = self._clock.today()
        since = today - timedelta(days=_RETURN_DAYS_BACK)
        accounts = await self._database.read(lambda connection: SqlPaymentStore(connection).settled_accounts(since))
        if not accounts or not await self._gateway.is_reachable():
            return
        for start in range(0, len(accounts), _RETURN_ACCOUNTS_MAX):
            asked = accounts[start : start + _RETURN_ACCOUNTS_MAX]
            try:
                with untraced():
                    reports, failed = await self._gateway.list_returns(
                        asked, since, today + timedelta(days=_RETURN_DAYS_AHEAD)
                    )
            except YinqiError as error:
                _log.warning("returns not listed", reason=error.reason, accounts=len(asked))
                continue
            if failed:
                _log.warning("returns not listed", accounts=len(failed), of=len(asked))
            if not reports:
                continue
            with self._batch_span("record returns", len(reports)) as (batch, start_ns):
                recorded = await self._run(
                    lambda store, now: use_cases.record_returns(
                        reports,  # noqa: B023 (awaited before the next round)
                        store,
                        now=now,
                        pacing=self._pacing,
                        actor="payment.returns",
                    )
                )
            self._write_moves("status", recorded, start_ns, batch)

    async def expire(self) -> bool:
        """End payments that nobody approved in their window; return whether there may be more."""
        if not await self._is_due((PaymentStatus.AWAITING_APPROVAL,)):
            return False
        expired = await self._run(
            lambda store, now: expire_unapproved(store, now=now, limit=_RECOVERY_LIMIT, actor="payment.expire")
        )
        return len(expired) == _RECOVERY_LIMIT

    async def recover(self) -> bool:
        """Take submissions without an answer to UNKNOWN once their lease is over; return whether there may be more."""
        return await self._recover(self._clock.now())

    async def recover_after_start(self) -> None:
        """Take over at once what a process that died here has held.

        Only on SQLite, whose file belongs to one process: what it held nobody sends any more. Elsewhere other
        replicas may be sending, so the leases decide.
        """
        if self._database.dialect != "sqlite":
            return
        while await self._recover(self._clock.now() + timedelta(days=1)):
            pass
        await self._run(lambda store, now: store.free_claims(now, now + self._pacing.first_query_delay))

    async def _recover(self, stale_at: datetime) -> bool:
        if not await self._is_due((PaymentStatus.SUBMITTING,), stale_at):
            return False
        start_ns = epoch_ns()
        recovered = await self._run(
            lambda store, now: use_cases.recover_submitting(
                store,
                now=now,
                stale_at=stale_at,
                limit=_RECOVERY_LIMIT,
                pacing=self._pacing,
                actor="payment.recover",
            )
        )
        _log.warning("submissions in doubt after a crash or lost answer", payments=len(recovered))
        write_steps(self._telemetry, "recover", recovered, start_ns=start_ns, batch_traceparent="")
        return len(recovered) == _RECOVERY_LIMIT

    # --- small parts ---

    async def _is_due(self, statuses: Sequence[PaymentStatus], at: datetime | None = None) -> bool:
        """Look with a reader first: an idle worker must not write."""
        now = at or self._clock.now()
        return await self._database.read(lambda connection: SqlPaymentStore(connection).is_due(statuses, now))

    async def _run(self, use_case: Callable[[SqlPaymentStore, datetime], T]) -> T:
        def in_transaction(connection: Connection) -> T:
            return use_case(SqlPaymentStore(connection), now)

        now = self._clock.now()  # Taken before the queue, so that leases end early rather than late.
        return await self._database.run(in_transaction)

    async def _record(
        self, reports: Sequence[StatusReport], actor: str, asked: Sequence[Payment] = ()
    ) -> RecordedReports:
        return await self._run(
            lambda store, now: use_cases.record_status_reports(
                reports, store, now=now, pacing=self._pacing, actor=actor, asked=asked
            )
        )

    def _write_moves(self, name: str, recorded: RecordedReports, start_ns: int, batch: str) -> None:
        moved = (move.payment for move in recorded.moves)
        write_steps(self._telemetry, name, moved, start_ns=start_ns, batch_traceparent=batch)
        for move in recorded.moves:
            if move.type == "payment.contradicted":
                _log.error(
                    "the bank contradicts itself", instruction_id=move.payment.instruction_id, text=move.reason.text
                )
        if recorded.unknown_ids:
            _log.debug("reports about payments that are not ours", count=len(recorded.unknown_ids))

    @contextmanager
    def _batch_span(self, name: str, size: int) -> Iterator[tuple[str, int]]:
        """Run a batch step in a trace of its own; yield its traceparent and its start."""
        start_ns = epoch_ns()
        with self._telemetry.tracer.start_as_current_span(
            name, context=Context(), attributes={attributes.BATCH_SIZE: size}, record_exception=False
        ):
            yield current_traceparent(), start_ns


class NoticeEffects:
    """What the banks' notices do to payments; runs in the transaction that stores the cursor."""

    def __init__(self, clock: Clock, pacing: Pacing) -> None:
        self._clock = clock
        self._pacing = pacing

    def take(self, connection: Connection, events: Sequence[gateway_pb2.NoticeEvent]) -> None:
        """Write down what verified notices say; send what a lifted stop held. Refused ones change nothing."""
        reports = [mapping.report_from(event.report, 0) for event in events if event.HasField("report")]
        store, now = SqlPaymentStore(connection), self._clock.now()
        if any(event.refusal == _STOP_LIFTED for event in events):
            store.wake_stopped(now)
        if reports:
            use_cases.record_status_reports(reports, store, now=now, pacing=self._pacing, actor="payment.notice")


def _by_account(items: Sequence[T], payment_of: Callable[[T], Payment]) -> list[list[T]]:
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(payment_of(item).debtor_account, []).append(item)
    return list(groups.values())
