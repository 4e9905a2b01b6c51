"""What reconciliation knows: bookings of ours, entries of the bank, and what came of comparing them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum

from yinqi.kernel.money import Money


class Direction(Enum):
    """Seen from our account (借贷标志)."""

    CREDIT = "CRDT"
    DEBIT = "DBIT"


class MatchRule(Enum):
    """How a pair was found, strongest first."""

    REFERENCE = "REFERENCE"
    AMOUNT_DATE_COUNTERPARTY = "AMOUNT_DATE_COUNTERPARTY"
    MANUAL = "MANUAL"


class BreakReason(Enum):
    """Why something is left over."""

    BANK_DEBIT_NOT_IN_BOOKS = "BANK_DEBIT_NOT_IN_BOOKS"
    BANK_CREDIT_NOT_IN_BOOKS = "BANK_CREDIT_NOT_IN_BOOKS"
    BOOK_DEBIT_NOT_AT_BANK = "BOOK_DEBIT_NOT_AT_BANK"
    BOOK_CREDIT_NOT_AT_BANK = "BOOK_CREDIT_NOT_AT_BANK"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    AMBIGUOUS = "AMBIGUOUS"
    STATEMENT_INCOMPLETE = "STATEMENT_INCOMPLETE"


class BreakStatus(Enum):
    """State of a break."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"
    CLEARED = "CLEARED"


@dataclass(frozen=True, slots=True)
class Booking:
    """A movement on a bank account as our books have it: a settled payment or a return.

    Attributes:
        booking_id: "<instruction_id>/settlement" or "<instruction_id>/return".
        amount: positive.
    """

    booking_id: str
    account: str
    booking_date: date
    direction: Direction
    amount: Money
    instruction_id: str
    end_to_end_id: str
    account_servicer_reference: str
    counterparty_name: str
    counterparty_account: str
    traceparent: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the bank's statement.

    Attributes:
        entry_id: its sequence in the account service's feed.
        amount: positive.
    """

    entry_id: int
    account: str
    booking_date: date
    direction: Direction
    amount: Money
    instruction_id: str
    end_to_end_id: str
    account_servicer_reference: str
    counterparty_name: str
    counterparty_account: str
    description: str


@dataclass(frozen=True, slots=True)
class Match:
    """A booking and an entry that are the same event."""

    rule: MatchRule
    booking: Booking
    entry: Entry


@dataclass(frozen=True, slots=True)
class Leftover:
    """What no rule could pair; at least one of booking and entry is there, both for AMOUNT_DIFFERS."""

    reason: BreakReason
    booking: Booking | None
    entry: Entry | None

    def __post_init__(self) -> None:
        if self.booking is None and self.entry is None:
            raise ValueError("a leftover needs a booking or an entry")

    @property
    def subject(self) -> Booking | Entry:
        """The side that exists; the bank's when both do."""
        found = self.entry or self.booking
        if found is None:
            raise ValueError("a leftover needs a booking or an entry")
        return found


@dataclass(frozen=True, slots=True)
class Break:
    """A leftover with an owner and an age (未达账项)."""

    break_id: str
    account: str
    date: date
    reason: BreakReason
    amount: Money
    direction: Direction
    booking_id: str
    entry_id: int
    instruction_id: str
    account_servicer_reference: str
    counterparty_name: str
    description: str
    status: BreakStatus
    opened_at: datetime
    resolved_by: str = ""
    resolution: str = ""
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DayBalances:
    """What the account service says of one account at the end of one day.

    Attributes:
        bank: closing balance by the bank's complete statement, None without one.
        book: our ledger.
        bank_opening: opening balance by the statement, None without one.
        book_opening: our ledger at the end of the day before, None if it is not known.
    """

    bank: Money | None
    book: Money
    bank_opening: Money | None = None
    book_opening: Money | None = None

    def are_explained_by(self, booked: int, entered: int) -> bool:
        """Return whether the day's known bookings and entries make the whole movement of both balances.

        If not, feeds may still carry the rest: what is late must not be reported as a difference.

        Args:
            booked, entered: sums of bookings and of entries of the day in minor units, credits less debits.
        """
        books_agree = self.book_opening is None or (self.book - self.book_opening).minor_units == booked
        if self.bank is None or self.bank_opening is None:
            return books_agree
        return books_agree and (self.bank - self.bank_opening).minor_units == entered


@dataclass(frozen=True, slots=True)
class BalanceAdjustment:
    """The balance adjustment table (余额调节表). All amounts of one currency; the four items are positive."""

    bank_balance: Money
    book_credits_not_at_bank: Money
    book_debits_not_at_bank: Money
    book_balance: Money
    bank_credits_not_in_books: Money
    bank_debits_not_in_books: Money

    @property
    def adjusted_bank_balance(self) -> Money:
        """Bank balance as it will be once the bank has caught up with us."""
        return self.bank_balance + self.book_credits_not_at_bank - self.book_debits_not_at_bank

    @property
    def adjusted_book_balance(self) -> Money:
        """Book balance as it will be once we have caught up with the bank."""
        return self.book_balance + self.bank_credits_not_in_books - self.bank_debits_not_in_books

    @property
    def is_balanced(self) -> bool:
        """Whether every difference between bank and books is explained by a named item."""
        return self.adjusted_bank_balance == self.adjusted_book_balance


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result of one run over one account and day."""

    run_id: str
    account: str
    date: date
    ran_at: datetime
    booking_count: int
    entry_count: int
    reference_match_count: int
    amount_match_count: int
    break_count: int
    is_statement_complete: bool
    balance_adjustment: BalanceAdjustment

    @property
    def match_count(self) -> int:
        """Pairs of the day, by any rule."""
        return self.reference_match_count + self.amount_match_count


@dataclass(frozen=True, slots=True)
class Pair:
    """A stored match, as an auditor reads it."""

    rule: MatchRule
    instruction_id: str
    account_servicer_reference: str
    amount: Money
    direction: Direction
