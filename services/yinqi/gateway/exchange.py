"""One exchange with a bank: written down, sent once, opened, verified, told in the payments' traces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

import structlog
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from yinqi.crypto import sm3
from yinqi.gateway.calendar import BusinessCalendar
from yinqi.gateway.limits import Limits
from yinqi.gateway.model import ArchivedMessage, Direction, Instruction
from yinqi.gateway.ports import (
    BANK_KEY_RETIRED,
    Answer,
    AnswerUnusable,
    BankDialect,
    BankLine,
    BankRefused,
    NotSent,
    Outgoing,
    Store,
    WireAnswer,
)
from yinqi.gateway.profile import Profile
from yinqi.gateway.repository import SqlStore
from yinqi.gateway.routing import Route, route
from yinqi.gateway.since_sent import SinceSent
from yinqi.gateway.use_cases import alarm_of_answer
from yinqi.kernel.clock import Clock, epoch_ns
from yinqi.kernel.errors import YinqiError
from yinqi.kernel.ids import IdSource
from yinqi.runtime import attributes
from yinqi.runtime.database import Database
from yinqi.runtime.telemetry import (
    Telemetry,
    context_from_traceparent,
    current_traceparent,
    format_traceparent,
    links_to,
    parse_traceparent,
)

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_LINKS_MAX = 128
_FRESH_S = 0.5


@dataclass(frozen=True, slots=True)
class Bank:
    """Everything that belongs to one profile."""

    profile: Profile
    dialect: BankDialect
    line: BankLine
    limits: Limits
    calendar: BusinessCalendar

    def route(self, instruction: Instruction, at: datetime) -> Route:
        """Return the channel that an order can take at a moment."""
        return route(self.profile, self.calendar, instruction.channel, instruction.amount, at)

    async def made(self, make: Callable[[], Outgoing]) -> Outgoing:
        """Return a message that is built and signed. A signing device is waited for aside, so that others go on meanwhile.

        Raises:
            Whatever `make` raises: nothing was sent.
        """
        return make() if self.profile.keys.device is None else await asyncio.to_thread(make)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no usable answer.

    Attributes:
        is_unsent: no byte left our side. is_refusal: a verified answer refused the whole message.
        code, text: the bank's own, if any.
    """

    reason: str
    code: str
    text: str
    is_unsent: bool = False
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class Exchange(Generic[T]):
    """What came of a message. Exactly one of `value` and `failure` is set. `received` is not stored yet."""

    value: T | None
    failure: Failure | None
    sent: ArchivedMessage
    received: ArchivedMessage
    received_at: datetime
    story: Story


@dataclass(frozen=True, slots=True)
class Story:
    """The span of a bank call and, if it concerns exactly one payment, that payment's own step around it.

    Attributes:
        call: traceparent of the call's span. own_step: traceparent the single payment's step must have, or "".
    """

    call: str
    own_step: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to one payment in an exchange, for its own trace."""

    instruction_id: str
    traceparent: str
    status: str
    reason: str = ""
    attempt: int = 0


class BankCaller:
    """Makes exchanges with all banks."""

    def __init__(self, database: Database, clock: Clock, ids: IdSource, telemetry: Telemetry) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._telemetry = telemetry
        self.since_sent = SinceSent(clock)

    async def call(
        self,
        bank: Bank,
        outgoing: Outgoing,
        call_class: str,
        record: Callable[[ArchivedMessage, Store], None],
        read: Callable[[Answer], T],
        traceparents: Sequence[str] = (),
        may_leave: Callable[[Store], None] | None = None,
    ) -> Exchange[T]:
        """Record a message, commit, send it once and read the answer.

        Args:
            record: stores the outgoing message with whatever belongs to it, in one transaction before the sending.
            read: reads a verified answer; may raise AnswerUnusable or BankRefused.
            traceparents: of the payments concerned.
            may_leave: asked again right before the first byte leaves, if that is late; its error means NotSent.
        Raises:
            Whatever `record` raises, and errors of the store: nothing was sent.
        """
        begun = time.monotonic()
        sent = self._sent(bank, outgoing)
        await self._database.run(lambda connection: record(sent, SqlStore(connection)))
        start_ns = epoch_ns()
        own_step = self._own_step(traceparents)
        with self._span(bank, outgoing, own_step, traceparents) as (span, traceparent):
            value, failure, received = await self._send_and_read(
                bank, outgoing, call_class, read, begun, traceparent, sent, may_leave
            )
            if failure is not None:
                span.set_status(Status(StatusCode.ERROR, failure.reason))
                span.set_attribute(attributes.ERROR_REASON, failure.reason)
        if failure is not None and failure.reason == BANK_KEY_RETIRED:
            await self._alarm(received)
        story = Story(traceparent, own_step, start_ns, epoch_ns())
        return Exchange(value, failure, sent, received, received.recorded_at, story)

    async def _alarm(self, received: ArchivedMessage) -> None:
        _log.error(
            "an answer came under a retired key of the bank", bank=received.profile, archive_id=received.archive_id
        )
        try:
            await self._database.run(lambda connection: alarm_of_answer(received, SqlStore(connection)))
        except YinqiError as error:  # The bytes have left: whatever is told or not, the answer must be recorded.
            _log.error("an alert could not be recorded", reason=error.reason)

    def tell(self, name: str, bank: Bank, story: Story, steps: Sequence[Step]) -> None:
        """Write each payment's step into its own trace, linked to the bank call."""
        if not self._telemetry.enabled:
            return
        for step in steps:
            if not step.traceparent:
                continue
            facts = {
                attributes.INSTRUCTION_ID: step.instruction_id,
                attributes.PAYMENT_STATUS: step.status,
                attributes.BANK: bank.profile.name,
            }
            if step.reason:
                facts[attributes.STATUS_REASON] = step.reason
            self._telemetry.emit_span(
                name,
                traceparent_of_span=story.own_step,
                parent_traceparent=step.traceparent,
                start_ns=story.start_ns,
                end_ns=story.end_ns,
                attributes={**facts, **({attributes.ATTEMPT: step.attempt} if step.attempt else {})},
                links=[story.call],
            )

    async def _send_and_read(
        self,
        bank: Bank,
        outgoing: Outgoing,
        call_class: str,
        read: Callable[[Answer], T],
        begun: float,
        traceparent: str,
        sent: ArchivedMessage,
        may_leave: Callable[[Store], None] | None,
    ) -> tuple[T | None, Failure | None, ArchivedMessage]:
        profile = bank.profile
        wire = WireAnswer(0, b"")
        try:
            wire = await bank.line.post(
                outgoing.wire,
                timeout_ms=profile.timeout_ms(call_class),
                send_before=begun + profile.timeouts.connect_ms / 1000,
                traceparent=traceparent,
                may_leave=None if may_leave is None else partial(self._look_again, may_leave, begun),
            )
            answer = _guarded(partial(bank.dialect.open, outgoing, wire), outgoing)
        except NotSent as error:
            failure = Failure(error.reason, "", error.text, is_unsent=True)
            return None, failure, self._received(sent, wire, b"", failure)
        except AnswerUnusable as error:
            failure = Failure(error.reason, error.code, error.text)
            return None, failure, self._received(sent, wire, error.plain, failure)
        except Exception as error:  # noqa: BLE001 (whatever broke: the bytes may have left, and that is all we know)
            _log.error("a bank call failed in an unforeseen way", function=outgoing.function, exc_info=error)
            failure = Failure("NO_ANSWER", "", f"the call failed ({type(error).__name__})")
            return None, failure, self._received(sent, wire, b"", failure)
        received = replace(
            self._received(sent, wire, answer.plain, None),
            is_verified=True,
            key_id=answer.key_id,
            cipher_key_id=answer.cipher_key_id,
        )
        try:
            return _guarded(partial(read, answer), outgoing), None, received
        except AnswerUnusable as error:
            return None, Failure(error.reason, error.code, error.text), replace(received, failure=error.reason)
        except BankRefused as error:
            # The message is usable: it says no. So no failure in the archive.
            return None, Failure("BANK_REFUSED", error.code, error.text, is_refusal=True), received

    async def _look_again(self, may_leave: Callable[[Store], None], begun: float) -> None:
        """Return if a message may still leave: what its record was decided on must not be older than _FRESH_S.

        Connecting may take seconds, and a stop holds within one.
        """
        if time.monotonic() - begun < _FRESH_S:
            return
        try:
            await self._database.read(lambda connection: may_leave(SqlStore(connection)))
        except YinqiError as error:  # What cannot be looked up may not leave either.
            raise NotSent(error.reason, error.message) from error

    def _sent(self, bank: Bank, outgoing: Outgoing) -> ArchivedMessage:
        exchange_id, archive_id = self._ids.new_ids("EX", 1)[0], self._ids.new_ids("AR", 1)[0]
        return ArchivedMessage(
            archive_id=archive_id,
            exchange_id=exchange_id,
            profile=bank.profile.name,
            direction=Direction.SENT,
            function=outgoing.function,
            message_id=outgoing.message_id,
            recorded_at=self._clock.now(),
            size_bytes=len(outgoing.wire),
            digest=sm3(outgoing.wire).hex(),
            content=outgoing.plain,
            key_id=outgoing.key_id,
            cipher_key_id=outgoing.cipher_key_id,
        )

    def _received(
        self, sent: ArchivedMessage, wire: WireAnswer, plain: bytes, failure: Failure | None
    ) -> ArchivedMessage:
        return replace(
            sent,
            archive_id=self._ids.new_ids("AR", 1)[0],
            direction=Direction.RECEIVED,
            recorded_at=self._clock.now(),
            size_bytes=len(wire.body),
            digest=sm3(wire.body).hex(),
            content=plain or wire.body,
            failure="" if failure is None else failure.reason,
            key_id="",
            cipher_key_id="",
        )

    def _own_step(self, traceparents: Sequence[str]) -> str:
        """With exactly one payment the call itself belongs into the payment's trace, below a step fixed here."""
        if len(traceparents) != 1 or not parse_traceparent(traceparents[0]).is_valid:
            return ""
        return self._telemetry.child_traceparent(traceparents[0])

    @contextmanager
    def _span(
        self, bank: Bank, outgoing: Outgoing, own_step: str, traceparents: Sequence[str]
    ) -> Iterator[tuple[Span, str]]:
        others = [current_traceparent()] if own_step else [one for one in traceparents if one][:_LINKS_MAX]
        with self._telemetry.tracer.start_as_current_span(
            f"bank {outgoing.function}",
            context=context_from_traceparent(own_step) if own_step else None,
            kind=SpanKind.CLIENT,
            attributes={
                attributes.BANK: bank.profile.name,
                attributes.BANK_OPERATION: outgoing.function,
                attributes.BANK_MESSAGE_ID: outgoing.message_id,
                attributes.BATCH_SIZE: outgoing.payments,
            },
            links=links_to(others),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span, format_traceparent(span.get_span_context())


def _guarded(step: Callable[[], T], outgoing: Outgoing) -> T:
    """Run a step of reading. A defect of ours must not lose the bytes, and proves nothing about the payment."""
    try:
        return step()
    except (AnswerUnusable, BankRefused):
        raise
    except Exception as error:
        _log.error("an answer could not be read", function=outgoing.function, exc_info=error)
        raise AnswerUnusable("ANSWER_MALFORMED", f"the answer could not be read ({type(error).__name__})") from error
