"""What the payment service talks about: instructions, payments, reports of the bank. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from yinqi.kernel.errors import FieldViolation
from yinqi.kernel.money import Money
from yinqi.orders.evidence import Evidence
from yinqi.payment.status import FINAL, PaymentStatus

# Outside data is bounded before it is stored.
REASON_CODE_MAX = 35
REASON_TEXT_MAX = 500
REFERENCE_MAX = 64
CANCEL_REASON_MAX = 140
STOPPED = "STOPPED"  # the gateway's reason for what people have stopped


class PaymentInstruction(NamedTuple):
    """One line as the caller ordered it, flattened; the order of the fields is the order of the request's digest.

    Enums are words: category_purpose "SUPP" …, channel "SMART" … or "", schemes "IBAN" or "BBAN"; "?" marks a number
    that this program does not know. Dates are ISO 8601 or "".
    """

    end_to_end_id: str
    debtor_name: str
    debtor_organisation_id: str
    debtor_account: str
    debtor_account_scheme: str
    debtor_account_currency: str
    debtor_agent_clearing_member_id: str
    debtor_agent_bicfi: str
    debtor_agent_name: str
    creditor_name: str
    creditor_organisation_id: str
    creditor_account: str
    creditor_account_scheme: str
    creditor_account_currency: str
    creditor_agent_clearing_member_id: str
    creditor_agent_bicfi: str
    creditor_agent_name: str
    currency: str
    amount_minor_units: int
    requested_execution_date: str
    category_purpose: str
    purpose: str
    remittance_information: str
    channel: str
    payment_information_id: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """A signed order as it is kept. `digest`, `nonce`: hexadecimal. `leaves`: the digests of its lines, joined."""

    digest: str
    order_id: str
    company: str
    key_id: str
    nonce: str
    content: bytes
    signature: bytes
    leaves: bytes


class PaymentOrder(NamedTuple):
    """An order that was taken in, and when."""

    record: OrderRecord
    received_at: datetime


class OrderPlace(NamedTuple):
    """Which line of which order a new payment is; `number` from 1."""

    order: OrderRecord
    number: int


class OrderLine(NamedTuple):
    """The same of a recorded payment."""

    order_digest: str
    number: int


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A line that passed every rule, ready to be recorded.

    Attributes:
        instruction: its values.
        order_bytes: the serialized PaymentInstruction, unknown fields included; sent on unchanged.
        request_hash: SHA-256 over the instruction's values; equal hashes mean equal content.
        traceparent: the context of the payment's own trace.
        initiation_traceparent: the batch call that brought it, "" if `traceparent` is the call's own span.
        initiator: who ordered it, for the journal.
        place: its line of a signed order; None without a policy.
    """

    instruction: PaymentInstruction
    order_bytes: bytes
    request_hash: bytes
    initiator: str
    traceparent: str
    initiation_traceparent: str = ""
    place: OrderPlace | None = None


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that broke a rule; nothing is stored for it."""

    end_to_end_id: str
    violations: Sequence[FieldViolation]


class RecordedKey(NamedTuple):
    """What is known under an end_to_end_id."""

    end_to_end_id: str
    instruction_id: str
    request_hash: bytes
    received_at: datetime


class Recorded(NamedTuple):
    """The payment was recorded now."""

    instruction_id: str
    received_at: datetime


class AlreadyRecorded(NamedTuple):
    """The same content came before under this end_to_end_id; the first answer again."""

    instruction_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class EndToEndIdReused:
    """Other content came before under this end_to_end_id; nothing was stored for this line."""

    end_to_end_id: str


Outcome = Recorded | AlreadyRecorded | EndToEndIdReused | RefusedLine


def bounded_text(text: str, longest: int) -> str:
    """Return an outside text as it may be stored: at most `longest` characters, no control characters."""
    text = text[:longest]
    return text if text.isprintable() else "".join(c if c >= " " and c != "\x7f" else " " for c in text)


class StatusReason(NamedTuple):
    """Why a payment is where it is: our stable or an ISO code, the bank's own code and text."""

    code: str = ""
    proprietary_code: str = ""
    text: str = ""

    def bounded(self) -> StatusReason:
        """Return it as it may be stored: cut, and without control characters (PostgreSQL takes no NUL)."""
        return StatusReason(
            bounded_text(self.code, REASON_CODE_MAX),
            bounded_text(self.proprietary_code, REASON_CODE_MAX),
            bounded_text(self.text, REASON_TEXT_MAX),
        )


NO_REASON = StatusReason()


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as it stands. The order of the fields is the order of the table's columns.

    Attributes:
        submission_attempts: how often the intention to send was committed and not proven to have come to nothing.
        releases: how often the intention to send was committed at all.
        settlement_date, return_date: the bank's booking dates, ISO 8601, "" until known.
        step_tries: how often the present step was tried (screening, sending, asking).
        next_action_at: when a worker should look at it again; None: no more. A claim pushes it to its lease's end.
        contradiction: the last word of the bank that does not fit the status; such a payment needs a person.
    """

    instruction_id: str
    end_to_end_id: str
    order_bytes: bytes
    request_hash: bytes
    debtor_account: str
    creditor_name: str
    creditor_account: str
    currency: str
    amount_minor_units: int
    requested_execution_date: str
    category_purpose: str
    payment_information_id: str
    traceparent: str
    initiation_traceparent: str
    received_at: datetime
    status: PaymentStatus
    reason_code: str
    reason_proprietary_code: str
    reason_text: str
    updated_at: datetime
    submission_attempts: int
    account_servicer_reference: str
    settlement_date: str
    return_date: str
    first_submitted_at: datetime | None
    last_submitted_at: datetime | None
    step_tries: int
    next_action_at: datetime | None
    contradiction: str
    releases: int = 0

    @property
    def reason(self) -> StatusReason:
        """Why it is where it is."""
        return StatusReason(self.reason_code, self.reason_proprietary_code, self.reason_text)

    @property
    def is_final(self) -> bool:
        """Whether nothing of ours moves it any more."""
        return self.status in FINAL

    def moved(
        self,
        status: PaymentStatus,
        now: datetime,
        *,
        reason: StatusReason = NO_REASON,
        next_action_at: datetime | None = None,
        step_tries: int = 0,
        **facts: object,
    ) -> Payment:
        """Return it in another status; the caller has asked the table."""
        return replace(
            self,
            status=status,
            updated_at=now,
            reason_code=reason.code,
            reason_proprietary_code=reason.proprietary_code,
            reason_text=reason.text,
            next_action_at=next_action_at,
            step_tries=step_tries,
            **facts,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True)
class Move:
    """One line of the journal to be: the payment after it, and what was before."""

    type: str
    from_status: PaymentStatus | None
    payment: Payment
    reason: StatusReason
    actor: str


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One stored line of the journal, with the state after it."""

    sequence: int
    occurred_at: datetime
    instruction_id: str
    type: str
    from_status: PaymentStatus | None
    to_status: PaymentStatus
    reason_code: str
    reason_proprietary_code: str
    reason_text: str
    actor: str
    submission_attempts: int
    account_servicer_reference: str
    settlement_date: str
    return_date: str


class FeedEvent(NamedTuple):
    """A journal line with the fixed facts of its payment."""

    entry: JournalEntry
    order_bytes: bytes
    received_at: datetime
    traceparent: str


class BankWord(StrEnum):
    """What the gateway reports of a payment."""

    NOT_SENT = "NOT_SENT"
    PROCESSING = "PROCESSING"
    UNKNOWN = "UNKNOWN"
    SETTLED = "SETTLED"
    REJECTED = "REJECTED"
    RETURNED = "RETURNED"
    NOT_FOUND = "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class NotFoundProof:
    """The gateway's evidence that the bank has no record of a reference.

    Attributes:
        queried_at: when the bank was asked.
        archive_id: of the bank's signed answer.
        control_reference: a reference the bank is known to have, asked in the same query.
        control_seen: it was in the answer, so the query can see.
        safe_window: how long after the last send an empty answer counts.
    """

    queried_at: datetime
    archive_id: str
    control_reference: str
    control_seen: bool
    safe_window: timedelta


class RecordedPermit(NamedTuple):
    """A permit that was used, as data: what was proven, when, and who acted on it."""

    attempt: int
    used_at: datetime
    expires_at: datetime
    proof: NotFoundProof
    actor: str


@dataclass(frozen=True, slots=True)
class StatusReport:
    """One report of the gateway on one payment.

    Attributes:
        attempt: the attempt it speaks of, as far as we know; 0 if it is tied to none (returns).
        release: the same, of releases; 0 if it is tied to none.
        booking_date: ISO 8601 or "".
        proof: with NOT_FOUND, the evidence.
        ask_after: the bank does not want to be asked for it before; None: it did not say.
    """

    instruction_id: str
    word: BankWord
    attempt: int = 0
    reason: StatusReason = NO_REASON
    account_servicer_reference: str = ""
    booking_date: str = ""
    archive_id: str = ""
    proof: NotFoundProof | None = None
    ask_after: datetime | None = None
    release: int = 0

    def ask_at(self, wanted: datetime) -> datetime:
        """Return when to ask again if we would like to at `wanted`: never before the bank wants it."""
        return wanted if self.ask_after is None else max(wanted, self.ask_after)


class Screening(NamedTuple):
    """Verdict of the rules on one payment."""

    instruction_id: str
    passed: bool
    rule: str = ""
    description: str = ""
    description_zh: str = ""


class Submission(NamedTuple):
    """A payment whose intention to send is committed.

    Attributes:
        expires_at: after this instant it must not be sent any more: recovery has taken it to UNKNOWN.
        proof: why an earlier attempt never counted; None for the first.
        line, evidence: the line of the signed order it is, and that order; None without a policy.
    """

    payment: Payment
    attempt: int
    expires_at: datetime
    proof: NotFoundProof | None = None
    line: OrderLine | None = None
    evidence: Evidence | None = None


class Cancellation(NamedTuple):
    """A wish to withdraw a payment."""

    end_to_end_id: str
    reason: str


class Withdrawn(NamedTuple):
    """The payment is CANCELLED; `previous` is the status it was in, None if it was cancelled before."""

    payment: Payment
    previous: PaymentStatus | None


class CancellationRefused(NamedTuple):
    """It was released already, so it cannot be withdrawn."""

    payment: Payment


class PaymentMissing(NamedTuple):
    """No payment has that id."""

    end_to_end_id: str


@dataclass(frozen=True, slots=True)
class PaymentFilter:
    """Which payments; empty fields do not filter."""

    statuses: tuple[PaymentStatus, ...] = ()
    debtor_account: str = ""
    payment_information_id: str = ""
    creditor_name: str = ""
    received_from: datetime | None = None
    received_until: datetime | None = None


class Position(NamedTuple):
    """A place in a list of payments or orders. `instruction_id`: of an order its digest."""

    received_at: datetime
    instruction_id: str


class PaymentCount(NamedTuple):
    """Number and sum of the payments of one status, account and currency."""

    status: PaymentStatus
    debtor_account: str
    currency: str
    number: int
    minor_units: int


@dataclass(frozen=True, slots=True)
class Pacing:
    """How patient the workers are.

    Attributes:
        lease: how long a claim holds; longer than any call to a sister service or, behind it, to a bank.
        first_query_delay: from the answer to the first question, where the bank's profile says nothing.
        query_interval: to the next question; doubled each time up to query_interval_max, never below the bank's own.
        retry_delay: before a step that came to nothing is tried again; doubled each time.
        screening_retry_max: the longest such pause while monitoring is away.
        submission_retry_max: the same while a bank is away; each try is written in the journal, so it is longer.
        stopped_retry_max: the same while people have stopped payments; the lifting of a stop makes them due at once.
        resends_max: how many resends a payment may have before a person must look.
        permit_lifetime: how long an empty answer may make a resend permit, from the question on.
        doubt_queries, doubt_after: after so many questions, or so long after it was sent, a payment that is still
            UNKNOWN goes to the people's queue; it is asked for as before.
        processing_doubt_after: the same for one the bank has but never ends.
        execution_window_days: a payment not released so many days after it was received, or after the day it was
            asked for, expires.
    """

    lease: timedelta = timedelta(seconds=60)
    first_query_delay: timedelta = timedelta(seconds=0.5)
    query_interval: timedelta = timedelta(seconds=5)
    query_interval_max: timedelta = timedelta(minutes=5)
    retry_delay: timedelta = timedelta(seconds=1)
    screening_retry_max: timedelta = timedelta(seconds=5)
    submission_retry_max: timedelta = timedelta(minutes=5)
    stopped_retry_max: timedelta = timedelta(minutes=15)
    resends_max: int = 3
    permit_lifetime: timedelta = timedelta(minutes=15)
    doubt_queries: int = 10
    doubt_after: timedelta = timedelta(minutes=30)
    processing_doubt_after: timedelta = timedelta(days=3)
    execution_window_days: int = 7

    def query_delay(self, tries: int) -> timedelta:
        """Return the pause after the n-th question."""
        return _doubled(self.query_interval, tries, self.query_interval_max)

    def screening_delay(self, tries: int) -> timedelta:
        """Return the pause after the n-th screening that came to nothing."""
        return _doubled(self.retry_delay, tries, self.screening_retry_max)

    def submission_delay(self, tries: int, reason: str = "") -> timedelta:
        """Return the pause after the n-th submission that never left, and why it did not."""
        longest = self.stopped_retry_max if reason == STOPPED else self.submission_retry_max
        return _doubled(self.retry_delay, tries, longest)


def _doubled(base: timedelta, times: int, longest: timedelta) -> timedelta:
    factor: int = 2 ** min(max(times - 1, 0), 16)
    return min(base * factor, longest)


def amount_of(payment: Payment) -> Money:
    """Return the payment's amount."""
    return Money(payment.currency, payment.amount_minor_units)


def is_iso_date(text: str) -> bool:
    """Return whether the text is a calendar date written YYYY-MM-DD."""
    if len(text) != 10 or text[4] != "-" or text[7] != "-" or not text.isascii():
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
