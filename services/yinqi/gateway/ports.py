"""What the gateway needs from outside: a store, a dialect, a line to the bank. Errors say whether money may have moved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

from yinqi.gateway.model import (
    Absence,
    ArchivedMessage,
    Attempt,
    BankAccount,
    BankBalance,
    BatchPart,
    EntryPage,
    KnownReference,
    LineAnswer,
    Notice,
    NoticeEvent,
    NoticeSeen,
    PaymentRecord,
    Receipt,
    Refusal,
    SendState,
    Submission,
)
from yinqi.gateway.open_keys import CipherUse
from yinqi.gateway.stops import Scope, Stop, StopChange, Word

BANK_KEY_RETIRED = "BANK_KEY_RETIRED"


class NotSent(Exception):
    """Certainly no byte of the request left (refused connection, name not resolved). Sending again is safe."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text


class AnswerUnusable(Exception):
    """The request may have reached the bank, and what came back proves nothing. A submission is in doubt.

    Attributes:
        reason: NO_ANSWER, HTTP_ERROR, GATEWAY_ERROR, ANSWER_UNREADABLE, BAD_SIGNATURE, BANK_KEY_RETIRED, REQID_MISMATCH,
            SIGTIM_OUTSIDE_WINDOW or ANSWER_MALFORMED.
        code: the bank's own code, if there is one.
        plain: the opened message, if it could be opened.
    """

    def __init__(self, reason: str, text: str, *, code: str = "", plain: bytes = b"") -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text
        self.code = code
        self.plain = plain


class BankRefused(Exception):
    """A verified answer that refuses the whole message. Nothing more is known of a submission than the code says."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class NoticeRefused(Exception):
    """What claims to be a bank's notice must not be believed; nothing changes, and somebody should know.

    Attributes:
        reason: NOTICE_UNREADABLE, BAD_SIGNATURE, BANK_KEY_RETIRED, SIGTIM_OUTSIDE_WINDOW, USER_UNKNOWN or NOTICE_MALFORMED.
        plain: the opened message, if it could be opened.
    """

    def __init__(self, reason: str, plain: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.plain = plain


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message ready to go: signed, sealed.

    Attributes:
        plain: the signed message before sealing; what the archive keeps.
        wire: the request's body on the wire.
        payments: how many it carries or asks for.
        facts: what the dialect needs to read the answer.
        key_id: of the key that signed it. sealed_with: the symmetric key; its answer may come under it, whatever is changed
            in the meantime.
    """

    function: str
    message_id: str
    plain: bytes = field(repr=False)
    wire: bytes = field(repr=False)
    payments: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    key_id: str = ""
    sealed_with: CipherUse | None = field(default=None, repr=False)

    @property
    def cipher_key_id(self) -> str:
        """Which symmetric key sealed it."""
        return "" if self.sealed_with is None else self.sealed_with.key_id


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """What came back, as it came."""

    status: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """An opened and verified answer: the bank's signature fits and it answers our message.

    Attributes:
        key_id, cipher_key_id: of the bank's key that verified it, and of the key that sealed it.
    """

    plain: bytes = field(repr=False)
    result_code: str
    result_text: str
    body: Mapping[str, Any] = field(repr=False)
    key_id: str = ""
    cipher_key_id: str = ""


class BankDialect(Protocol):
    """Fields ↔ bytes and codes ↔ status of one bank profile. No network, no store.

    The `make_…` methods raise `Unavailable` while the bank's key (BANK_KEY_MISSING) or our signing device
    (SIGNING_DEVICE_UNAVAILABLE) is not there: nothing was sent.
    The `read_…` methods raise `AnswerUnusable` (ANSWER_MALFORMED) or `BankRefused`.
    """

    def refusal(self, submission: Submission, account: BankAccount) -> Refusal | None:
        """Return why a submission cannot be expressed; None if it can."""
        ...

    def batch_number(self) -> str:
        """Return a new number for a batch."""
        ...

    def line_bytes(self, line: Submission) -> int:
        """Return how much a line adds to a batch's message."""
        ...

    def make_submission(
        self, lines: Sequence[Submission], account: BankAccount, part: BatchPart | None = None
    ) -> Outgoing:
        """Build the message for lines of one debtor account and kind, at most as many as the profile's batch allows.

        Args:
            part: the message's place in a batch of several; None: the message is the batch.
        Raises:
            FailedPrecondition: BATCH_TOTALS_MISMATCH; the built message contradicts itself. Nothing was sent.
        """
        ...

    def read_submission(self, answer: Answer, lines: Sequence[Submission], outgoing: Outgoing) -> list[LineAnswer]:
        """Return what the bank says of each line, in order."""
        ...

    def make_query(self, instruction_ids: Sequence[str], first: date, last: date) -> Outgoing:
        """Build a status query; dates are days of receipt at the bank."""
        ...

    def read_query(self, answer: Answer) -> list[PaymentRecord]:
        """Return all records, any order."""
        ...

    def make_permission_query(self) -> Outgoing:
        """Ask which accounts we may query."""
        ...

    def read_permissions(self, answer: Answer) -> frozenset[str]:
        """Return the accounts whose payments we may query."""
        ...

    def make_return_query(self, account: BankAccount | None, first: date, last: date, page_key: str) -> Outgoing:
        """Ask for payments that came back, to all accounts without one; dates are return dates."""
        ...

    def read_returns(self, answer: Answer) -> tuple[list[PaymentRecord], str]:
        """Return one page and the next page's key, "" at the end."""
        ...

    def make_balance_query(self, accounts: Sequence[BankAccount]) -> Outgoing:
        """Ask for balances."""
        ...

    def read_balances(self, answer: Answer, accounts: Sequence[BankAccount], as_of: datetime) -> list[BankBalance]:
        """Return one balance per account, in order."""
        ...

    def make_entry_query(self, account: BankAccount, day: date, cursor: str) -> Outgoing:
        """Ask for one page of entries. Raises `InvalidRequest` for a cursor that is not ours."""
        ...

    def read_entries(self, answer: Answer, account: BankAccount, day: date) -> EntryPage:
        """Return the page. Its totals are checked."""
        ...

    def make_receipt_query(self, instruction_ids: Sequence[str]) -> Outgoing:
        """Ask for the receipts of payments, at most as many as the profile's batch allows."""
        ...

    def read_receipts(self, answer: Answer, asked: Collection[str]) -> list[Receipt]:
        """Return the receipts; the bank's signature in each holds. Raises `AnswerUnusable` (BAD_SIGNATURE, BANK_KEY_RETIRED)."""
        ...

    def cursor_day(self, cursor: str) -> date:
        """Return the day an entry cursor belongs to. Raises `InvalidRequest` for a cursor that is not ours."""
        ...

    def open(self, outgoing: Outgoing, wire: WireAnswer) -> Answer:
        """Decrypt and verify an answer.

        Raises:
            AnswerUnusable: any step failed; nothing in it may be believed.
        """
        ...

    def open_notice(self, content: bytes) -> Notice:
        """Decrypt and verify what was posted to us.

        Raises:
            NoticeRefused: any step failed; nothing in it may be believed.
            Unavailable: the bank's key is not there yet.
        """
        ...


MayLeave = Callable[[], Awaitable[None]]


class BankLine(Protocol):
    """The line to one bank."""

    async def post(
        self, body: bytes, *, timeout_ms: int, send_before: float, traceparent: str, may_leave: MayLeave | None = None
    ) -> WireAnswer:
        """Send one request; never a second time.

        Args:
            timeout_ms: for the whole exchange.
            send_before: monotonic time; later than this nothing is sent any more.
            may_leave: asked once the connection stands, right before the first byte; raises `NotSent` if it may not.
        Raises:
            NotSent: no byte left.
            AnswerUnusable: NO_ANSWER; the bank may have processed it.
        """
        ...


class Registry(Protocol):
    """Which attempts were made to send which payments."""

    def find(self, instruction_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        """Return all attempts of each payment, oldest first; payments without any are absent."""
        ...

    def claim(self, attempts: Sequence[Attempt]) -> None:
        """Record intentions to send, or that one will never be. A row in state NOT_SENT is replaced; its exchange stays linked.

        Raises an integrity error if another caller was faster: the whole transaction is undone.
        """
        ...

    def end_exchange(self, exchange_id: str, state: SendState, at: datetime) -> None:
        """Set the state of all attempts of an exchange."""
        ...

    def end_lines(self, exchange_id: str, states: Mapping[str, SendState], at: datetime) -> None:
        """Set the states of single lines of an exchange."""
        ...

    def mark_known(self, instruction_ids: Sequence[str], at: datetime) -> None:
        """Record that a verified answer showed these payments."""
        ...

    def known_references(self, debtor_accounts: Sequence[str]) -> dict[str, KnownReference]:
        """Return, by account, the payment most lately known to the bank."""
        ...


class Archive(Protocol):
    """Every message, both ways."""

    def add(self, message: ArchivedMessage) -> None:
        """Keep one message."""
        ...

    def link(self, exchange_id: str, instruction_ids: Sequence[str]) -> None:
        """Record which payments an exchange asked for (submissions are linked by the registry)."""
        ...

    def add_absences(self, absences: Sequence[Absence]) -> None:
        """Record that a verified answer lacked references."""
        ...

    def find_absences(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Absence]:
        """Return findings by (instruction_id, archive_id), where the answer is in the archive and verified."""
        ...

    def messages_of(self, instruction_id: str) -> list[ArchivedMessage]:
        """Return all messages that concern a payment, oldest first."""
        ...


class Notices(Protocol):
    """What banks told by themselves, and what it meant."""

    def find(self, profile: str, number: str) -> NoticeSeen | None:
        """Return what is kept of a notice."""
        ...

    def add(self, profile: str, notice: Notice, at: datetime) -> None:
        """Keep a notice's number, content and signature."""
        ...

    def add_signature(self, profile: str, notice: Notice, at: datetime) -> None:
        """Keep the signature of a repetition, so that its bytes are known when they come again."""
        ...

    def newest(self, instruction_ids: Sequence[str]) -> dict[str, PaymentRecord]:
        """Return the newest record that notices brought of each payment: number and status only."""
        ...

    def set_newest(self, records: Sequence[PaymentRecord]) -> None:
        """Keep number and status of the newest records."""
        ...

    def append(self, events: Sequence[NoticeEvent]) -> None:
        """Add events to the feed, in order."""
        ...

    def refusals_since(self, instant: datetime) -> int:
        """Return how many notices were refused since then."""
        ...


class Stops(Protocol):
    """What is held back, by whose word."""

    def active(self) -> list[Stop]:
        """Return the stops in force, oldest first."""
        ...

    def find(self, stop_ids: Collection[str], *, lock: bool = False) -> dict[str, Stop]:
        """Return stops by id; `lock` keeps other replicas from changing them until the commit."""
        ...

    def lock_active(self, scope: Scope) -> Stop | None:
        """Return the stop in force for this very scope, locked until the commit."""
        ...

    def newest(self, limit: int) -> list[Stop]:
        """Return stops, also lifted ones, the last pulled first."""
        ...

    def save(self, change: StopChange, word: Word) -> None:
        """Keep a changed stop and write it in the journal with the word that changed it.

        Raises an integrity error if another caller pulled the same scope: the whole transaction is undone.
        """
        ...


class Store(Protocol):
    """One transaction's view of the gateway's database."""

    @property
    def registry(self) -> Registry:
        """Attempts."""
        ...

    @property
    def archive(self) -> Archive:
        """Messages."""
        ...

    @property
    def notices(self) -> Notices:
        """Notices."""
        ...

    @property
    def stops(self) -> Stops:
        """Stops."""
        ...
