"""What the account service keeps and answers: accounts, bank balances, recorded entries and postings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from yinqi.account.booking import PaymentMove
from yinqi.account.ledger import Kind, Transaction
from yinqi.account.statement import Statement, StatementEntry
from yinqi.kernel.money import Money


@dataclass(frozen=True, slots=True)
class Account:
    """An account of ours at a bank (账户).

    Attributes:
        bank_profile: what reaches it; "" for accounts known only from imported statements.
        opened_on: date of the opening balance in our ledger; None until the bank told one.
        bank_date: the bank's current date, as of the last balance; `bank_date_since`: when we first saw it.
        bank_booked, bank_available: the bank's balances at `bank_as_of`; None when never fetched.
    """

    identification: str
    currency: str
    name: str = ""
    bank_profile: str = ""
    opened_on: date | None = None
    bank_booked: Money | None = None
    bank_available: Money | None = None
    bank_as_of: datetime | None = None
    bank_date: date | None = None
    bank_date_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class BankBalance:
    """The bank's balances of one account (银行余额), or its word why there are none.

    Attributes:
        previous_day: booked at the end of the day before `bank_date`.
        error_code, error_text: the bank's own, set when only this account failed.
    """

    account: str
    booked: Money | None = None
    available: Money | None = None
    previous_day: Money | None = None
    bank_date: date | None = None
    as_of: datetime | None = None
    error_code: str = ""
    error_text: str = ""


@dataclass(frozen=True, slots=True)
class LedgerBalance:
    """Our books' view of one bank account, in minor units of its currency.

    Attributes:
        available_minor_units: balance less holds (账面可用); held_minor_units: promised to payments (冻结).
    """

    available_minor_units: int = 0
    held_minor_units: int = 0

    @property
    def minor_units(self) -> int:
        """All the money that is in the account by our books (账面余额)."""
        return self.available_minor_units + self.held_minor_units


@dataclass(frozen=True, slots=True)
class Balance:
    """What our books and the bank say of one account (余额).

    Attributes:
        date: the day at whose end; None: now.
        statement_opening, statement_closing: of that date by the bank's statement; the closing only if it is complete.
    """

    account: Account
    ledger: LedgerBalance
    date: date | None = None
    statement_opening: Money | None = None
    statement_closing: Money | None = None


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """A statement entry in our feed.

    Attributes:
        sequence: position in the feed, ascending.
        traceparent: of the fetch or import that brought it.
    """

    sequence: int
    recorded_at: datetime
    traceparent: str
    entry: StatementEntry


@dataclass(frozen=True, slots=True)
class RecordedPosting:
    """A posting in the ledger, with the facts of its transaction."""

    sequence: int
    transaction_id: str
    ledger_account: str
    amount: Money
    booking_date: date
    kind: Kind
    instruction_id: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Booked:
    """What an event booked; `is_contradiction`: it said that money which left never did."""

    move: PaymentMove
    transactions: Sequence[Transaction]
    is_contradiction: bool = False


@dataclass(frozen=True, slots=True)
class PageOutcome:
    """What one page brought.

    Attributes:
        new_entries: recorded in the feed now.
        is_stale: someone else read on from the same cursor meanwhile; nothing was recorded, read again.
        payment_traceparents: by instruction_id, for new entries of payments that the books know.
    """

    statement: Statement
    new_entries: Sequence[StatementEntry] = ()
    is_stale: bool = False
    payment_traceparents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportedStatement:
    """One statement of a file and what it added; first and last booking date of its entries."""

    statement: Statement
    from_date: date
    to_date: date
    entry_count: int
    new_entries: Sequence[StatementEntry]
    payment_traceparents: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries to list; "" and None do not filter.

    Attributes:
        after: (booking_date, sequence) of the last entry of the page before.
    """

    account: str = ""
    from_date: date | None = None
    to_date: date | None = None
    instruction_id: str = ""
    after: tuple[date, int] | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class PostingFilter:
    """Which postings to list; `after`: sequence of the last posting of the page before."""

    account: str = ""
    instruction_id: str = ""
    after: int = 0
    limit: int = 100
