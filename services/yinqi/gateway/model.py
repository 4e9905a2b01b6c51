"""What the gateway speaks of: submissions, references, reports, evidence, balances and entries, in no bank's dialect."""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import date, datetime

from yinqi.gateway.status import BankStatus
from yinqi.gateway.stops import Stop
from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.kernel.money import Money

CALL_LINES_MAX = 1_000
RETURN_DAYS_MAX = 7
ATTEMPTS_MAX = 1_000
# Stands in a proof for "the bank itself said that we may query this account", where no known reference could be asked.
PERMISSION_CONTROL = "QUERY_PERMISSION"
_REFERENCE = re.compile(r"[\x21-\x7e]{1,64}")


def _require_reference(instruction_id: str) -> None:
    """Bound what is stored and asked for; what a bank can carry is narrower and the dialect's to say."""
    if not _REFERENCE.fullmatch(instruction_id):
        raise InvalidRequest(
            "INSTRUCTION_ID_INVALID",
            "instruction_id: 1 to 64 visible ASCII characters.",
            "指令标识须为 1 至 64 位可见 ASCII 字符。",
        )


def _require_release(release: int) -> None:
    if release < 0:
        raise InvalidRequest("RELEASE_INVALID", "release: 0 or more.", "放行次数不得为负。")


class Channel(enum.StrEnum):
    """The clearing channel asked for (汇路)."""

    SMART = "SMART"
    LARGE_VALUE = "LARGE_VALUE"
    SMALL_VALUE = "SMALL_VALUE"
    INSTANT = "INSTANT"


class BatchKind(enum.StrEnum):
    """What a batch pays, where banks keep it apart (业务种类). ISO 20022 category purposes; OTHER: all the rest."""

    OTHER = "OTHER"
    SALARY = "SALA"
    TAX = "TAXS"


@dataclass(frozen=True, slots=True)
class Instruction:
    """What to pay, as far as a bank wants to know it. Texts may be empty where a bank may do without."""

    end_to_end_id: str
    debtor_account: str
    creditor_name: str
    creditor_account: str
    amount: Money
    clearing_member_id: str = ""
    bicfi: str = ""
    agent_name: str = ""
    purpose: str = ""
    remittance_information: str = ""
    channel: Channel = Channel.SMART
    kind: BatchKind = BatchKind.OTHER

    def digest(self) -> str:
        """Return the SHA-256 of the content; a later attempt must have the same."""
        return hashlib.sha256(repr(astuple(self)).encode("utf-8")).hexdigest()


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One message's place in a batch that goes in several (续传).

    Attributes:
        number: of the batch. position: from 1 to `messages`. lines, amount: of the whole batch.
    """

    number: str
    position: int
    messages: int
    lines: int
    amount: Money


@dataclass(frozen=True, slots=True)
class ControlTotal:
    """What a caller says its lines of one account come to (控制合计)."""

    debtor_account: str
    count: int
    amount: Money


@dataclass(frozen=True, slots=True)
class NotFoundProof:
    """Evidence that the bank has no record of a reference (查无证明).

    Attributes:
        queried_at: when the query left.
        archive_id: the bank's signed answer that lacked the reference.
        control_reference: a reference the bank is known to have, asked in the same query; or PERMISSION_CONTROL.
        control_seen: it was in the answer, so the query can see.
        safe_window_ms: an answer counts only if the query left so long after the last send.
    """

    queried_at: datetime
    archive_id: str
    control_reference: str
    control_seen: bool
    safe_window_ms: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A payment to send. `instruction_id` never changes; `attempt` counts intentions to send, from 1.

    Attributes:
        route: the channel chosen for this attempt; None: as ordered. Not part of the order.
        release: the caller's count of its intentions to send, never used twice; 0: it does not count.
        order_line, order_digest, line_number: the line as it was signed, and its place in its order; empty without one.
    """

    instruction_id: str
    attempt: int
    instruction: Instruction
    traceparent: str = ""
    resend_proof: NotFoundProof | None = None
    route: Channel | None = None
    release: int = 0
    order_line: bytes = b""
    order_digest: bytes = b""
    line_number: int = 0

    def __post_init__(self) -> None:
        _require_reference(self.instruction_id)
        if not 1 <= self.attempt <= ATTEMPTS_MAX:
            raise InvalidRequest(
                "ATTEMPT_INVALID", f"attempt: 1 to {ATTEMPTS_MAX}.", f"提交次数须为 1 至 {ATTEMPTS_MAX}。"
            )
        _require_release(self.release)


@dataclass(frozen=True, slots=True)
class PaymentReference:
    """A payment to ask for.

    Attributes:
        submitted_date: first day it may have been sent; None if the caller does not know.
        attempt, release: the intention to send that is in doubt; 0: the caller does not say.
    """

    instruction_id: str
    debtor_account: str
    submitted_date: date | None = None
    traceparent: str = ""
    attempt: int = 0
    release: int = 0

    def __post_init__(self) -> None:
        _require_reference(self.instruction_id)
        if not 0 <= self.attempt <= ATTEMPTS_MAX:
            raise InvalidRequest(
                "ATTEMPT_INVALID", f"attempt: 0 to {ATTEMPTS_MAX}.", f"提交次数须为 0 至 {ATTEMPTS_MAX}。"
            )
        _require_release(self.release)


@dataclass(frozen=True, slots=True)
class StatusReport:
    """One status of one payment (状态报告); fields as in the proto. `ask_after`: the bank's manners, while it is open."""

    instruction_id: str
    status: BankStatus
    reported_at: datetime
    reason_code: str = ""
    proprietary_code: str = ""
    reason_text: str = ""
    account_servicer_reference: str = ""
    booking_date: date | None = None
    archive_id: str = ""
    not_found_proof: NotFoundProof | None = None
    ask_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class BankAccount:
    """An account that a profile reaches. `company`: for whom its calls take their turn."""

    identification: str
    currency: str
    name: str
    profile: str
    company: str = ""


@dataclass(frozen=True, slots=True)
class BankBalance:
    """Balances of one account by the bank; with `error_code` set the balances are None."""

    account: str
    booked: Money | None = None
    available: Money | None = None
    frozen: Money | None = None
    previous_day: Money | None = None
    bank_date: date | None = None
    as_of: datetime | None = None
    error_code: str = ""
    error_text: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a bank statement; the amount is positive, the direction apart."""

    account: str
    account_servicer_reference: str
    instruction_id: str
    amount: Money
    is_credit: bool
    is_reversal: bool
    booking_date: date
    value_date: date
    counterparty_name: str
    counterparty_account: str
    remittance_information: str
    balance_after: Money | None
    source: str


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One page of a statement, in the bank's order. `next_cursor` is opaque and never empty."""

    entries: Sequence[Entry]
    next_cursor: str
    has_more: bool
    opening_balance: Money | None
    closing_balance: Money | None
    is_final: bool


class SendState(enum.StrEnum):
    """What became of one attempt to send one payment (registry)."""

    SENDING = "SENDING"  # committed before the first byte leaves; found after a crash it means "in doubt"
    NOT_SENT = "NOT_SENT"  # no byte left; the same attempt may go again, under a later release
    IN_DOUBT = "IN_DOUBT"  # bytes left, no verified answer, or the bank does not know
    ACCEPTED = "ACCEPTED"  # a verified answer says the bank has it
    REFUSED = "REFUSED"  # a verified answer refused this line for good


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the registry: one attempt to send one payment.

    Attributes:
        content_digest: SHA-256 of what was ordered; another attempt must order the same.
        exchange_id: names the request and the answer in the archive.
        claimed_at: when the intention was committed. ended_at: when the answer came or was given up; None: crashed.
        known_at: last verified answer that showed the bank has it.
        release: the caller's count under which it was made; 0: the caller does not count.
    """

    instruction_id: str
    attempt: int
    state: SendState
    profile: str
    debtor_account: str
    creditor_account: str
    amount: Money
    content_digest: str
    exchange_id: str
    claimed_at: datetime
    ended_at: datetime | None = None
    known_at: datetime | None = None
    release: int = 0


@dataclass(frozen=True, slots=True)
class Absence:
    """A recorded finding: a verified answer lacked the reference."""

    instruction_id: str
    archive_id: str
    queried_at: datetime
    control_reference: str
    control_seen: bool


class Direction(enum.StrEnum):
    """Which way a message went."""

    SENT = "SENT"
    RECEIVED = "RECEIVED"


@dataclass(frozen=True, slots=True)
class ArchivedMessage:
    """A message as it is kept.

    Attributes:
        exchange_id: shared by a request and its answer.
        message_id: the dialect's own id of the message (cdc: reqid).
        size_bytes, digest: of the bytes on the wire; SM3, hexadecimal.
        content: the opened, signed message; for an answer that could not be opened, the bytes as they came.
        is_verified: the bank's signature fits; only for received messages.
        failure: why there is no usable message, "" if there is one.
        key_id: of the key that signed it: ours if it was sent, the bank's that verified it if it was received.
        cipher_key_id: of the key that sealed it. Both "" where none is known.
    """

    archive_id: str
    exchange_id: str
    profile: str
    direction: Direction
    function: str
    message_id: str
    recorded_at: datetime
    size_bytes: int
    digest: str
    content: bytes = field(repr=False)
    is_verified: bool = False
    failure: str = ""
    key_id: str = ""
    cipher_key_id: str = ""


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """What an answer to a submission says of one line."""

    status: BankStatus
    reason_code: str = ""
    proprietary_code: str = ""
    reason_text: str = ""


@dataclass(frozen=True, slots=True)
class PaymentRecord:
    """One record of a payment at the bank, from a query.

    Attributes:
        record_number: the bank's number of the record; of several the largest is the newest.
        amount: None when the bank's text could not be read.
    """

    instruction_id: str
    record_number: str
    debtor_account: str
    creditor_account: str
    amount: Money | None
    status: BankStatus
    reason_code: str = ""
    proprietary_code: str = ""
    reason_text: str = ""
    account_servicer_reference: str = ""
    booking_date: date | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A verified notice of a bank (通知).

    Attributes:
        number: the bank's; the same number always has the same content.
        records: of payments; empty for types that change nothing here.
        content_digest: SHA-256 of head and body. signature_digest: of this sending's signature.
        key_id, cipher_key_id: of the bank's key that verified it, and of the key that sealed it.
    """

    number: str
    type: str
    records: Sequence[PaymentRecord]
    content_digest: str
    signature_digest: str
    plain: bytes = field(repr=False)
    key_id: str = ""
    cipher_key_id: str = ""


@dataclass(frozen=True, slots=True)
class NoticeSeen:
    """What is kept of a notice: its content and the signatures it came with."""

    content_digest: str
    signature_digests: frozenset[str]


@dataclass(frozen=True, slots=True)
class NoticeEvent:
    """What a notice meant, for those who follow.

    Attributes:
        number, type: empty unless the notice was verified: an attacker's words are not passed on.
        refusal: why it was not believed; empty with a report.
        stop: of an event of type STOP: the stop as it is now; such an event comes from no bank.
    """

    profile: str
    archive_id: str
    occurred_at: datetime
    number: str = ""
    type: str = ""
    refusal: str = ""
    report: StatusReport | None = None
    sequence: int = 0
    stop: Stop | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A bank's electronic receipt (电子回单), the bank's signature in it verified.

    Attributes:
        number: the bank's; the same number always has the same bytes.
        kind: PAY for the debit, RET for a return.
        digest: SM3 of the content, hexadecimal.
        key_id: of the bank's key that verified it; "" where it is not known any more.
    """

    instruction_id: str
    number: str
    kind: str
    content: bytes = field(repr=False)
    digest: str
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """A receipt as it is kept; `archive_id` names the answer that brought it."""

    receipt: Receipt
    profile: str
    archive_id: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a line cannot be expressed in a bank's dialect; nothing was sent for it."""

    reason_code: str
    violation: FieldViolation


@dataclass(frozen=True, slots=True)
class KnownReference:
    """A payment that the bank is known to have; `since`: the day it was first sent."""

    instruction_id: str
    since: date


KnownReferences = Mapping[str, KnownReference]  # by debtor account
