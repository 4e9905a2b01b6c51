"""The payment API: one short method per RPC."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection

from yinqi.api.payment.v1 import doubt_pb2, payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import AlreadyExists, FailedPrecondition, FieldViolation, InvalidRequest, NotFound
from yinqi.kernel.ids import IdSource
from yinqi.payment import doubt_mapping, mapping, use_cases
from yinqi.payment.approval_desk import ApprovalDesk, no_policy
from yinqi.payment.doubt_use_cases import DoubtDecided, resolve_doubt
from yinqi.payment.model import (
    CANCEL_REASON_MAX,
    Cancellation,
    CancellationRefused,
    EndToEndIdReused,
    NewPayment,
    Outcome,
    Pacing,
    PaymentFilter,
    PaymentInstruction,
    PaymentMissing,
    Position,
    RefusedLine,
)
from yinqi.payment.order_store import SqlOrderStore
from yinqi.payment.orders_in import ProvenOrder, placed, require_new_or_same
from yinqi.payment.ports import CheckDigits
from yinqi.payment.repository import SqlPaymentStore
from yinqi.payment.rules import find_faults
from yinqi.payment.status import PaymentStatus
from yinqi.payment.tracing import write_roots
from yinqi.runtime.coalescer import Coalescer
from yinqi.runtime.database import Database
from yinqi.runtime.feed import Feed
from yinqi.runtime.identity import current_principal
from yinqi.runtime.telemetry import Telemetry, current_traceparent

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000
_FOLLOW_BATCH_MAX = 500
_SHARED_BATCHES = 8
# Lines mapped and checked before the event loop serves others again.
_CHUNK = 500
_FILTER_TEXT_MAX = 140
_ID_MAX = 35
_DIGEST_MAX = 64
_APPROVALS = "approvals"  # names the list that a page token is of


class _Incoming(NamedTuple):
    """One unary payment on its way into a batch."""

    instruction: PaymentInstruction
    order_bytes: bytes
    initiator: str
    traceparent: str


class PaymentServicer(payment_service_pb2_grpc.PaymentServiceServicer):
    """Serves `PaymentService`.

    Args:
        wake: called after payments were recorded, so that a worker begins at once.
        pacing: says how long evidence holds.
        lines_max: most lines in one call.
        desk: the policy in force; None: there is none.
        coalesced_max: most unary calls in one use-case call.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        ids: IdSource,
        check_digits: CheckDigits,
        telemetry: Telemetry,
        wake: Callable[[], None],
        pacing: Pacing,
        lines_max: int = 10_000,
        coalesced_max: int = 256,
        queue_max: int = 10_000,
        desk: ApprovalDesk | None = None,
    ) -> None:
        self._desk = desk
        self._database = database
        self._clock = clock
        self._ids = ids
        self._check_digits = check_digits
        self._telemetry = telemetry
        self._wake = wake
        self._pacing = pacing
        self._lines_max = lines_max
        self._coalescer: Coalescer[_Incoming, Outcome] = Coalescer(
            self._initiate_coalesced, batch_max=coalesced_max, queue_max=queue_max
        )
        # Three sisters follow, and an event never changes: it is read and written out as a message once for all.
        self._feed: Feed[payment_pb2.PaymentEvent] = Feed(
            database, _read_messages, lambda message: message.sequence, shared_batches=_SHARED_BATCHES
        )

    # --- initiation ---

    async def InitiatePayments(
        self, request: payment_service_pb2.InitiatePaymentsRequest, context: Any
    ) -> payment_service_pb2.InitiatePaymentsResponse:
        messages = request.instructions
        if not 1 <= len(messages) <= self._lines_max:
            raise _lines_wrong(len(messages), self._lines_max)
        initiator, call = current_principal().name, current_traceparent()
        lines: list[NewPayment | RefusedLine] = []
        for start in range(0, len(messages), _CHUNK):
            lines += self._read_chunk(messages[start : start + _CHUNK], initiator, call)
            await asyncio.sleep(0)
        outcomes = await self._initiate(lines)
        response = payment_service_pb2.InitiatePaymentsResponse()
        for start in range(0, len(messages), _CHUNK):
            response.outcomes.extend(
                mapping.outcome_to(messages[i].end_to_end_id, outcomes[i])
                for i in range(start, min(start + _CHUNK, len(messages)))
            )
            await asyncio.sleep(0)
        return response

    def _read_chunk(
        self,
        messages: Sequence[payment_pb2.PaymentInstruction],
        initiator: str,
        call: str,
        contents: Sequence[bytes] = (),
    ) -> list[NewPayment | RefusedLine]:
        """Read and check lines. `contents`: their bytes as they were signed; empty: nobody signed them."""
        instructions = mapping.instructions_from(messages)
        faults = find_faults(instructions, self._check_digits, self._clock.today())
        traceparents = self._telemetry.new_traceparents(len(messages))
        return [
            RefusedLine(instruction.end_to_end_id, violations)
            if violations
            else NewPayment(
                instruction,
                content,
                mapping.request_hash(instruction),
                initiator,
                traceparent,
                call,
            )
            for content, instruction, violations, traceparent in zip(
                contents or [message.SerializeToString() for message in messages],
                instructions,
                faults,
                traceparents,
                strict=True,
            )
        ]

    async def InitiatePayment(
        self, request: payment_service_pb2.InitiatePaymentRequest, context: Any
    ) -> payment_service_pb2.InitiatePaymentResponse:
        message = request.instruction
        outcome = await self._coalescer.submit(
            _Incoming(
                mapping.instruction_from(message),
                message.SerializeToString(),
                current_principal().name,
                current_traceparent() or self._telemetry.new_traceparent(),
            )
        )
        if isinstance(outcome, RefusedLine):
            raise _fields_invalid(outcome.violations)
        if isinstance(outcome, EndToEndIdReused):
            raise AlreadyExists("END_TO_END_ID_REUSED", mapping.REUSED_MESSAGE, mapping.REUSED_MESSAGE_ZH)
        return payment_service_pb2.InitiatePaymentResponse(outcome=mapping.outcome_to(message.end_to_end_id, outcome))

    async def _initiate_coalesced(self, incoming: Sequence[_Incoming]) -> Sequence[Outcome]:
        faults = find_faults([one.instruction for one in incoming], self._check_digits, self._clock.today())
        return await self._initiate(
            [
                RefusedLine(one.instruction.end_to_end_id, violations)
                if violations
                else NewPayment(
                    one.instruction,
                    one.order_bytes,
                    mapping.request_hash(one.instruction),
                    one.initiator,
                    one.traceparent,
                )
                for one, violations in zip(incoming, faults, strict=True)
            ]
        )

    async def _initiate(
        self, lines: Sequence[NewPayment | RefusedLine], proven: ProvenOrder | None = None
    ) -> list[Outcome]:
        if all(isinstance(line, RefusedLine) for line in lines):
            return list(lines)  # type: ignore[arg-type]
        now = self._clock.now()
        if self._desk is not None:
            lines = self._desk.refuse(lines, now)

        def initiate(connection: Connection) -> list[Outcome]:
            if proven is not None:
                require_new_or_same(proven, SqlOrderStore(connection), now)
            vouch = partial(self._desk.vouch, now=now) if self._desk is not None else None
            store = SqlPaymentStore(connection)
            return use_cases.initiate_payments(lines, store, ids=self._ids, now=now, vouch=vouch)

        outcomes = await self._database.run(initiate)
        self._wake()
        return outcomes

    async def InitiateSignedPayments(
        self, request: payment_service_pb2.InitiateSignedPaymentsRequest, context: Any
    ) -> payment_service_pb2.InitiateSignedPaymentsResponse:
        desk = self._require_desk()
        if not 1 <= len(request.lines) <= self._lines_max:
            raise _lines_wrong(len(request.lines), self._lines_max)
        proven = await asyncio.to_thread(desk.prove, request)
        initiator, call = current_principal().name, current_traceparent()
        lines: list[NewPayment | RefusedLine] = []
        for start in range(0, len(request.lines), _CHUNK):
            part = request.lines[start : start + _CHUNK]
            messages = [payment_pb2.PaymentInstruction.FromString(line) for line in part]
            lines += self._read_chunk(messages, initiator, call, part)
            await asyncio.sleep(0)
        lines = placed(lines, proven, desk.signed, self._clock.now())
        outcomes = await self._initiate(lines, proven)
        response = payment_service_pb2.InitiateSignedPaymentsResponse(order_digest=proven.record.digest)
        for line, outcome in zip(lines, outcomes, strict=True):
            key = line.end_to_end_id if isinstance(line, RefusedLine) else line.instruction.end_to_end_id
            response.outcomes.append(mapping.outcome_to(key, outcome))
        return response

    # --- approval ---

    async def ListApprovals(
        self, request: payment_service_pb2.ListApprovalsRequest, context: Any
    ) -> payment_service_pb2.ListApprovalsResponse:
        desk, page_size = self._require_desk(), _checked_page_size(request.page_size)
        after = _position_from(request.page_token, _APPROVALS) if request.page_token else None
        approvals, last = await desk.waiting(after, page_size)
        token = _token_of(last, _APPROVALS) if last is not None else ""
        return payment_service_pb2.ListApprovalsResponse(approvals=approvals, next_page_token=token)

    async def GetApproval(
        self, request: payment_service_pb2.GetApprovalRequest, context: Any
    ) -> payment_service_pb2.GetApprovalResponse:
        return await self._require_desk().get(_checked_order(request.order))

    async def DecideOrder(
        self, request: payment_service_pb2.DecideOrderRequest, context: Any
    ) -> payment_service_pb2.DecideOrderResponse:
        _checked_order(request.order)
        response, moves = await self._require_desk().decide(request)
        if moves:
            self._wake()
        return response

    def _require_desk(self) -> ApprovalDesk:
        if self._desk is None:
            raise no_policy()
        return self._desk

    # --- reading ---

    async def GetPayment(
        self, request: payment_service_pb2.GetPaymentRequest, context: Any
    ) -> payment_service_pb2.GetPaymentResponse:
        _require_id("id", request.end_to_end_id or request.instruction_id)

        def read(connection: Connection) -> payment_service_pb2.GetPaymentResponse | None:
            store = SqlPaymentStore(connection)
            payment = store.get(instruction_id=request.instruction_id, end_to_end_id=request.end_to_end_id)
            if payment is None:
                return None
            journal = store.journal(payment.instruction_id)
            return payment_service_pb2.GetPaymentResponse(
                payment=mapping.payment_to(payment),
                journal=[mapping.journal_entry_to(entry) for entry in journal],
                # Only a payment with a second attempt ever had a permit.
                resend_permits=[doubt_mapping.permit_to(one) for one in store.permits_of(payment.instruction_id)]
                if any(entry.submission_attempts > 1 for entry in journal)
                else [],
            )

        response = await self._database.read(read)
        if response is None:
            raise _payment_missing()
        return response

    async def ListPayments(
        self, request: payment_service_pb2.ListPaymentsRequest, context: Any
    ) -> payment_service_pb2.ListPaymentsResponse:
        filter_ = _checked_filter(request.filter)
        page_size = _checked_page_size(request.page_size)
        position = _position_from(request.page_token, filter_) if request.page_token else None
        # One more than asked for tells whether there is a next page.
        found = await self._database.read(
            lambda connection: SqlPaymentStore(connection).search(filter_, position, page_size + 1)
        )
        page = found[:page_size]
        token = ""
        if len(found) > page_size:
            token = _token_of(Position(page[-1].received_at, page[-1].instruction_id), filter_)
        return payment_service_pb2.ListPaymentsResponse(
            payments=[mapping.payment_to(payment) for payment in page], next_page_token=token
        )

    async def CountPayments(
        self, request: payment_service_pb2.CountPaymentsRequest, context: Any
    ) -> payment_service_pb2.CountPaymentsResponse:
        filter_ = _checked_filter(request.filter)
        counts = await self._database.read(lambda connection: SqlPaymentStore(connection).count(filter_))
        return payment_service_pb2.CountPaymentsResponse(counts=[mapping.count_to(count) for count in counts])

    # --- cancellation ---

    async def CancelPayment(
        self, request: payment_service_pb2.CancelPaymentRequest, context: Any
    ) -> payment_service_pb2.CancelPaymentResponse:
        _require_id("end_to_end_id", request.end_to_end_id)
        if len(request.reason) > CANCEL_REASON_MAX or not request.reason.isprintable():
            raise _field_invalid(
                "reason",
                "TEXT_INVALID",
                f"reason must be at most {CANCEL_REASON_MAX} printable characters.",
                f"原因最多 {CANCEL_REASON_MAX} 个可打印字符。",
            )
        cancellation = Cancellation(request.end_to_end_id, request.reason)
        actor, now = current_principal().name, self._clock.now()

        def cancel(connection: Connection) -> use_cases.CancellationOutcome:
            return use_cases.cancel_payments([cancellation], SqlPaymentStore(connection), now=now, actor=actor)[0]

        outcome = await self._database.run(cancel)
        if isinstance(outcome, PaymentMissing):
            raise _payment_missing()
        if isinstance(outcome, CancellationRefused):
            raise _released_already(outcome.payment.status)
        if outcome.previous is PaymentStatus.RECEIVED and outcome.payment.step_tries == 0:
            write_roots(self._telemetry, [outcome.payment])  # No worker will pick it up any more.
        return payment_service_pb2.CancelPaymentResponse(payment=mapping.payment_to(outcome.payment))

    # --- the people's queue ---

    async def ListDoubts(
        self, request: payment_service_pb2.ListDoubtsRequest, context: Any
    ) -> payment_service_pb2.ListDoubtsResponse:
        page_size = _checked_page_size(request.page_size)
        listed = ("doubts", request.include_closed)
        after = _position_from(request.page_token, listed) if request.page_token else None
        found = await self._database.read(
            lambda connection: SqlPaymentStore(connection).list_doubts(
                after, page_size + 1, with_closed=request.include_closed
            )
        )
        page, now = found[:page_size], self._clock.now()
        token = ""
        if len(found) > page_size:
            last = page[-1][1]
            token = _token_of(Position(last.opened_at, last.instruction_id), listed)
        doubts = [doubt_mapping.doubt_to(payment, doubt, now, self._pacing) for payment, doubt in page]
        return payment_service_pb2.ListDoubtsResponse(doubts=doubts, next_page_token=token)

    async def GetDoubt(
        self, request: payment_service_pb2.GetDoubtRequest, context: Any
    ) -> payment_service_pb2.GetDoubtResponse:
        _require_id("id", request.end_to_end_id or request.instruction_id)

        def read(connection: Connection) -> doubt_pb2.Doubt | None:
            store = SqlPaymentStore(connection)
            payment = store.get(instruction_id=request.instruction_id, end_to_end_id=request.end_to_end_id)
            doubt = store.find_doubts([payment.instruction_id]).get(payment.instruction_id) if payment else None
            if payment is None or doubt is None:
                return None
            return doubt_mapping.doubt_to(payment, doubt, self._clock.now(), self._pacing)

        found = await self._database.read(read)
        if found is None:
            raise NotFound("DOUBT_NOT_FOUND", "That payment never was in the queue.", "该付款未曾进入待处理队列。")
        return payment_service_pb2.GetDoubtResponse(doubt=found)

    async def ResolveDoubt(
        self, request: payment_service_pb2.ResolveDoubtRequest, context: Any
    ) -> payment_service_pb2.ResolveDoubtResponse:
        _require_id("end_to_end_id", request.end_to_end_id)
        now = self._clock.now()
        proposal = doubt_mapping.proposal_from(request, current_principal().name, now)

        def resolve(connection: Connection) -> DoubtDecided:
            return resolve_doubt(request.end_to_end_id, proposal, SqlPaymentStore(connection), pacing=self._pacing)

        decided = await self._database.run(resolve)
        doubt = doubt_mapping.doubt_to(decided.payment, decided.doubt, now, self._pacing)
        return payment_service_pb2.ResolveDoubtResponse(doubt=doubt, has_effect=decided.has_effect)

    # --- feed ---

    async def FollowPayments(
        self, request: payment_service_pb2.FollowPaymentsRequest, context: Any
    ) -> AsyncIterator[payment_service_pb2.FollowPaymentsResponse]:
        if request.after_sequence < 0:
            raise _field_invalid(
                "after_sequence", "OUT_OF_RANGE", "after_sequence must be 0 or a sequence seen before."
            )
        async for batch in self._feed.follow(request.after_sequence, batch_max=_FOLLOW_BATCH_MAX):
            yield payment_service_pb2.FollowPaymentsResponse(events=batch)


def _read_messages(connection: Connection, after: int, limit: int) -> list[payment_pb2.PaymentEvent]:
    return [mapping.feed_event_to(event) for event in SqlPaymentStore(connection).events_after(after, limit)]


# --- errors ---------------------------------------------------------------------------------------------------------


def _fields_invalid(violations: Sequence[FieldViolation]) -> InvalidRequest:
    return InvalidRequest(
        "FIELD_INVALID",
        f"The payment was not recorded: {violations[0].description}",
        f"该笔付款未受理：{violations[0].description_zh}",
        violations,
    )


def _field_invalid(field: str, reason: str, description: str, description_zh: str = "") -> InvalidRequest:
    violation = FieldViolation(field, reason, description, description_zh)
    return InvalidRequest("FIELD_INVALID", description, description_zh, [violation])


def _lines_wrong(count: int, lines_max: int) -> InvalidRequest:
    reason = "LINES_MISSING" if not count else "LINES_TOO_MANY"
    return InvalidRequest(
        reason,
        f"A call takes 1 to {lines_max} lines; this one has {count}. Nothing was recorded: split it into several calls.",
        f"每次调用可含 1 至 {lines_max} 笔，本次有 {count} 笔，均未受理，请拆分后重新提交。",
        [FieldViolation("instructions", reason, f"1 to {lines_max} lines are allowed.", f"允许 1 至 {lines_max} 笔。")],
    )


def _checked_order(id_or_digest: str) -> str:
    if not 1 <= len(id_or_digest) <= _DIGEST_MAX or not id_or_digest.isprintable():
        raise _field_invalid(
            "order", "ID_INVALID", "Give the order's id or its digest in hexadecimal.", "请提供付款单号或其摘要。"
        )
    return id_or_digest


def _require_id(field: str, text: str) -> None:
    if not text or len(text) > _ID_MAX or not text.isprintable():
        raise _field_invalid(
            field,
            "ID_INVALID",
            "Give the payment's end_to_end_id or instruction_id: 1 to 35 characters.",
            "请提供付款的业务参考号或指令标识（1 至 35 个字符）。",
        )


def _payment_missing() -> NotFound:
    return NotFound("PAYMENT_NOT_FOUND", "No payment has that id.", "没有该标识的付款。")


def _released_already(status: PaymentStatus) -> FailedPrecondition:
    return FailedPrecondition(
        "PAYMENT_RELEASED",
        f"The payment is {status} and can no longer be cancelled. "
        "If the money has left, ask the creditor or the bank for a return.",
        f"付款状态为 {status}，已不能撤销；如款项已付出，请联系收款人或银行办理退汇。",
        metadata={"status": str(status)},
    )


# --- filters and pages ----------------------------------------------------------------------------------------------


def _checked_page_size(asked: int) -> int:
    page_size = asked or PAGE_SIZE_DEFAULT
    if not 1 <= page_size <= PAGE_SIZE_MAX:
        raise _field_invalid(
            "page_size", "OUT_OF_RANGE", f"page_size must be 1 to {PAGE_SIZE_MAX}, or 0 for {PAGE_SIZE_DEFAULT}."
        )
    return page_size


def _checked_filter(message: payment_service_pb2.PaymentFilter) -> PaymentFilter:
    for field in ("debtor_account", "payment_information_id", "creditor_name"):
        if len(getattr(message, field)) > _FILTER_TEXT_MAX or "\x00" in getattr(message, field):
            raise _field_invalid(f"filter.{field}", "TEXT_INVALID", f"At most {_FILTER_TEXT_MAX} printable characters.")
    filter_ = mapping.filter_from(message)
    if message.statuses and not filter_.statuses:
        raise _field_invalid("filter.statuses", "VALUE_UNKNOWN", "None of these statuses is known to this version.")
    return filter_


def _token_of(position: Position, filter_: object) -> str:
    text = f"{position.received_at.isoformat()}|{position.instruction_id}|{_digest(filter_)}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _position_from(token: str, filter_: object) -> Position:
    try:
        received_at, instruction_id, digest = base64.urlsafe_b64decode(token.encode()).decode().split("|")
        instant = datetime.fromisoformat(received_at).astimezone(UTC)
    except (ValueError, binascii.Error, OverflowError):
        raise _field_invalid("page_token", "TOKEN_INVALID", "page_token must be a next_page_token of ours.") from None
    if not instruction_id.isalnum():
        raise _field_invalid("page_token", "TOKEN_INVALID", "page_token must be a next_page_token of ours.")
    if digest != _digest(filter_):
        raise _field_invalid(
            "page_token", "TOKEN_INVALID", "page_token belongs to another filter; begin again without it."
        )
    return Position(instant, instruction_id)


def _digest(filter_: object) -> str:
    return sha256(repr(filter_).encode("utf-8", "surrogatepass")).hexdigest()[:16]
