"""What the payment service needs from outside. Each method names its errors and whether money may have moved."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Protocol

from yinqi.orders.evidence import Evidence
from yinqi.orders.keys import Signed
from yinqi.payment.doubts import Doubt
from yinqi.payment.model import (
    FeedEvent,
    JournalEntry,
    Move,
    NewPayment,
    OrderLine,
    OrderRecord,
    Payment,
    PaymentCount,
    PaymentFilter,
    PaymentOrder,
    Position,
    RecordedKey,
    RecordedPermit,
    Screening,
    StatusReport,
    Submission,
)
from yinqi.payment.resend import ResendPermit
from yinqi.payment.status import PaymentStatus


class CheckDigits(Protocol):
    """Check digits of bank identifiers; `yinqi.crypto` is one. Each method: "" where the text is valid, else a reason."""

    def check_cnaps(self, codes: list[str], /) -> list[str]:
        """CNAPS codes (联行号)."""
        ...

    def check_iban(self, ibans: list[str], /) -> list[str]:
        """IBANs."""
        ...

    def check_bic(self, bics: list[str], /) -> list[str]:
        """BICs."""
        ...


class PaymentStore(Protocol):
    """Payments and their journal within one transaction. No method moves money; an error undoes the transaction.

    All methods may raise the store's own errors (`Unavailable`, `StorageFull`): nothing was stored then.
    """

    def find_keys(self, end_to_end_ids: Sequence[str]) -> Mapping[str, RecordedKey]:
        """Return what is known under these ids; ids never used are absent."""
        ...

    def add(self, payments: Sequence[tuple[str, NewPayment]], received_at: datetime) -> None:
        """Record new payments under their instruction_ids, a journal line each.

        Another writer may have taken an end_to_end_id meanwhile: the unique index then fails the transaction, and the
        use case runs again and sees it.
        """
        ...

    def lock(self, instruction_ids: Collection[str]) -> dict[str, Payment]:
        """Return the payments, locked until the commit; unknown ids are absent."""
        ...

    def lock_by_end_to_end_id(self, end_to_end_ids: Collection[str]) -> dict[str, Payment]:
        """Do the same by the caller's ids; the keys of the result are those."""
        ...

    def claim_due(
        self,
        statuses: Sequence[PaymentStatus],
        now: datetime,
        limit: int,
        *,
        due_date: str | None = None,
        busy_accounts: Collection[str] = (),
    ) -> list[Payment]:
        """Return payments whose next action is due, longest due first, locked; those another worker holds are skipped.

        Args:
            due_date: only those without or with at most this requested execution date.
            busy_accounts: debtor accounts to leave out.
        """
        ...

    def postpone(self, payments: Sequence[Payment], until: datetime, *, step_tries: int | None = None) -> None:
        """Set the next action and the tries of the present step (None: one more). No journal line: nothing happened."""
        ...

    def free_claims(self, now: datetime, until: datetime) -> None:
        """Take back what a dead process held for screening or asked the bank about.

        Screening is due at once as if never tried: that process may not have written the root spans. Questions are
        due by `until`. Both may be repeated; submissions may not, and are not touched.
        """
        ...

    def wake_stopped(self, now: datetime) -> None:
        """Make due what was not sent because of a stop: one was lifted. What another stop holds is refused again."""
        ...

    def save(self, moves: Sequence[Move]) -> None:
        """Write the moves, in order: each payment's last state, and a journal line per move."""
        ...

    def find_doubts(self, instruction_ids: Sequence[str]) -> dict[str, Doubt]:
        """Return the last place of these payments in the people's queue, closed ones too; others are absent.

        Whoever changes one has locked its payment.
        """
        ...

    def save_doubts(self, doubts: Sequence[Doubt]) -> None:
        """Write places in the queue, one per payment."""
        ...

    def list_doubts(
        self, after: tuple[datetime, str] | None, limit: int, *, with_closed: bool
    ) -> list[tuple[Payment, Doubt]]:
        """Return up to `limit` places after (opened_at, instruction_id), longest waiting first."""
        ...

    def add_permits(self, permits: Sequence[ResendPermit], used_at: datetime, actor: str) -> None:
        """Keep permits and their evidence as data, beside the journal line of the resend."""
        ...

    def permits_of(self, instruction_id: str) -> list[RecordedPermit]:
        """Return the permits a payment was resent under, oldest first."""
        ...

    def get(self, *, instruction_id: str = "", end_to_end_id: str = "") -> Payment | None:
        """Return one payment by either id."""
        ...

    def journal(self, instruction_id: str) -> list[JournalEntry]:
        """Return a payment's journal, oldest first."""
        ...

    def search(self, filter_: PaymentFilter, before: Position | None, limit: int) -> list[Payment]:
        """Return up to `limit` payments after a place in the list, newest first."""
        ...

    def count(self, filter_: PaymentFilter) -> list[PaymentCount]:
        """Return numbers and sums by status, debtor account and currency."""
        ...

    def settled_accounts(self, since: date) -> list[str]:
        """Return the debtor accounts with payments settled on or after a booking date and not returned."""
        ...

    def events_after(self, after: int, limit: int) -> list[FeedEvent]:
        """Return journal lines with a greater sequence, ascending."""
        ...


class OrderStore(Protocol):
    """Signed orders and the decisions on them, within the transaction of the payments' store."""

    def taken_in(self, order: OrderRecord) -> list[OrderRecord]:
        """Return the orders that were taken in under the same id of the company, or the same nonce of the key."""
        ...

    def lines_of(self, instruction_ids: Sequence[str]) -> dict[str, OrderLine]:
        """Return which line of which order each payment is; those of none are absent."""
        ...

    def evidence(self, digests: Collection[str]) -> dict[str, Evidence]:
        """Return orders with their signatures and decisions, by digest."""
        ...

    def add_decision(self, order_digest: str, decision: Signed, recorded_at: datetime) -> None:
        """Keep a decision; one per key and order."""
        ...

    def creditor_sums(
        self, pairs: Collection[tuple[str, str, str]], since: datetime
    ) -> dict[tuple[str, str, str], int]:
        """Return what was ordered since then, by (debtor account, creditor account, currency), minor units.

        Payments that ended without being paid do not count.
        """
        ...

    def payments_of(self, order_digest: str) -> list[str]:
        """Return the instruction_ids of an order's payments, in the order of its lines."""
        ...

    def waiting(self, after: Position | None, limit: int) -> list[PaymentOrder]:
        """Return up to `limit` orders with payments that wait for approval after (received_at, digest), oldest first."""
        ...

    def get(self, company: str, id_or_digest: str) -> PaymentOrder | None:
        """Return an order by its digest or its id."""
        ...


class Screener(Protocol):
    """The rules that look at payments before release (monitoring). It never moves money."""

    async def is_reachable(self) -> bool:
        """Return whether a call would find monitoring now; while it would not, no payment is claimed for it."""
        ...

    async def screen(self, payments: Sequence[Payment]) -> list[Screening]:
        """Return a verdict per payment; those without a usable verdict are absent and wait.

        Raises:
            Unavailable: monitoring is away; the payments wait. Nothing has moved; safe to repeat.
            YinqiError: monitoring refused the call; nothing has moved.
        """
        ...


class BankGateway(Protocol):
    """The only door to the banks (gateway)."""

    async def is_reachable(self) -> bool:
        """Return whether the gateway is connected now; if not, nothing is claimed and payments wait. Never raises."""
        ...

    async def submit(self, submissions: Sequence[Submission]) -> list[StatusReport]:
        """Send payments; return one report per submission, in order.

        Money may have moved for every word except NOT_SENT and REJECTED. Whatever fails in the call itself comes
        back as UNKNOWN, reason NO_ANSWER, for each submission; nothing is raised and nothing is sent twice here.
        """
        ...

    async def query(self, payments: Sequence[Payment]) -> list[StatusReport]:
        """Ask for the status of payments; one report per payment, in order. Moves no money; safe to repeat.

        Raises:
            Unavailable: the gateway is away or answered late; ask again later. Says nothing about the payments.
        """
        ...

    async def list_returns(
        self, debtor_accounts: Sequence[str], from_date: date, to_date: date
    ) -> tuple[list[StatusReport], list[str]]:
        """Return what came back within at most 7 days, and the accounts of which nothing is known this time.

        Moves no money; safe to repeat.

        Args:
            debtor_accounts: 1 to 1,000.
        Raises:
            Unavailable: the gateway or every bank is away; ask again later.
            YinqiError: the gateway refused the call (no profile for any account, for one).
        """
        ...
