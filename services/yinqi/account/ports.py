"""What the account service needs from outside. Nothing here moves money: every call may be repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Protocol

from yinqi.account.booking import PaymentMove, PaymentStanding
from yinqi.account.ledger import Transaction
from yinqi.account.model import (
    Account,
    BankBalance,
    EntryFilter,
    LedgerBalance,
    PostingFilter,
    RecordedEntry,
    RecordedPosting,
)
from yinqi.account.statement import KnownEntries, Recording, Statement, StatementEntry, StatementPage


class Books(Protocol):
    """The service's own store, in one transaction. Every method takes and returns batches."""

    # Accounts
    def add_accounts(self, accounts: Sequence[Account]) -> None:
        """Record accounts; a known one keeps its balances and opening, and takes a name or profile it lacked."""
        ...

    def list_accounts(self, identifications: Sequence[str] = ()) -> list[Account]:
        """Return the named accounts, or all, by identification; unknown ones are left out."""
        ...

    def lock_accounts(self, identifications: Sequence[str]) -> list[Account]:
        """Return the accounts like list_accounts, and keep other writers off them until the commit."""
        ...

    def save_bank_balances(self, balances: Sequence[BankBalance], recorded_at: datetime) -> None:
        """Store what the bank said; only balances without an error."""
        ...

    def save_opened(self, opened_on: Mapping[str, date]) -> None:
        """Store the date of each account's opening balance."""
        ...

    # Ledger
    def lock_ledger(self) -> None:
        """Keep other bookings out until the commit, so that none falls between an opening and its sums."""
        ...

    def find_standings(self, instruction_ids: Sequence[str]) -> dict[str, PaymentStanding]:
        """Return where the money of these payments stands; unknown ones are left out."""
        ...

    def save_standings(self, standings: Sequence[PaymentStanding]) -> None:
        """Store where the money stands now."""
        ...

    def find_opening_dates(self, accounts: Iterable[str]) -> dict[str, date]:
        """Return the date of the opening balance of each opened account."""
        ...

    def add_transactions(self, transactions: Sequence[Transaction], recorded_at: datetime) -> None:
        """Book the transactions and carry them into the running balances. A transaction_id booked before fails."""
        ...

    def ledger_balances(self, currencies: Mapping[str, str], at: date | None) -> dict[str, LedgerBalance]:
        """Return our balances, now or at the end of a day by booking date; an account without postings is left out.

        Args:
            currencies: the currency wanted, by account.
        """
        ...

    def sum_running_balances(self) -> dict[tuple[str, str], int]:
        """Return the running balances, in minor units by (ledger account, currency)."""
        ...

    def sum_postings(self) -> dict[tuple[str, str], int]:
        """Return the same, computed from the postings."""
        ...

    def list_postings(self, wanted: PostingFilter) -> list[RecordedPosting]:
        """Return postings, oldest first."""
        ...

    # Statements
    def find_statement(self, account: str, source: str, statement_id: str) -> Statement | None:
        """Return a statement as far as it was read."""
        ...

    def list_statements(self, accounts: Sequence[str], since: date) -> list[Statement]:
        """Return the statements that end on or after a day."""
        ...

    def statements_touching(self, accounts: Sequence[str], day: date) -> list[Statement]:
        """Return the statements that begin or end on a day."""
        ...

    def save_statement(self, statement: Statement) -> None:
        """Store a statement as far as it was read."""
        ...

    def known_entries(self, account: str, entries: Sequence[StatementEntry]) -> KnownEntries:
        """Return which of the entries' keys were recorded before, and by which sources."""
        ...

    def add_entries(
        self,
        entries: Sequence[StatementEntry],
        recordings: Sequence[Recording],
        recorded_at: datetime,
        traceparent: str,
    ) -> None:
        """Remember the keys of new and confirmed entries, and put the new ones into the feed."""
        ...

    def list_entries(self, wanted: EntryFilter) -> list[RecordedEntry]:
        """Return entries by booking date, then sequence."""
        ...


class Bank(Protocol):
    """The way to the banks: the gateway service. Nothing but questions; all may be repeated."""

    async def list_accounts(self) -> list[Account]:
        """Return the accounts that the bank profiles reach.

        Raises:
            Unavailable: the gateway is away.
        """
        ...

    async def get_balances(self, accounts: Sequence[str]) -> list[BankBalance]:
        """Return one balance per account, in order; an account's own error is in its balance.

        Raises:
            Unavailable: the gateway or the bank is away.
        """
        ...

    async def read_page(self, account: str, day: date, cursor: str) -> StatementPage:
        """Return one page of a day's statement.

        Raises:
            Unavailable: the gateway or the bank is away. NotFound: no profile reaches the account.
        """
        ...


class Payments(Protocol):
    """The payment service's feed."""

    def follow(self, after: int) -> AsyncIterator[Sequence[PaymentMove]]:
        """Yield batches of moves after a sequence, ascending, for ever.

        Raises:
            Unavailable: the payment service is away; follow again from the last sequence.
        """
        ...
