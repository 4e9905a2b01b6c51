"""What the bank says of an account, and whether it says all of it (对账单完整性).

A statement counts as complete only on proof: every page was read, each entry's balance continues the one before, and
opening balance + entries = closing balance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from yinqi.kernel.errors import InvalidRequest
from yinqi.kernel.money import Money

# Where entries come from.
FETCHED = "cdc"  # the bank's own interface, through the gateway
IMPORTED = "camt.053"  # a file


class Indicator(StrEnum):
    """Direction of an entry seen from our account (借贷标志), ISO 20022 CdtDbtInd."""

    CREDIT = "CRDT"
    DEBIT = "DBIT"


class Flaw(StrEnum):
    """Why a statement is not proven complete; NONE: it is (as of its last fetch)."""

    NONE = ""
    PAGES_MISSING = "PAGES_MISSING"
    BALANCES_MISSING = "BALANCES_MISSING"
    BALANCE_GAP = "BALANCE_GAP"
    SUM_DIFFERS = "SUM_DIFFERS"
    ENTRY_CHANGED = "ENTRY_CHANGED"
    CURRENCY_DIFFERS = "CURRENCY_DIFFERS"


FLAW_TEXTS: Mapping[Flaw, tuple[str, str]] = {
    Flaw.PAGES_MISSING: ("not all pages were read; fetch it again", "未取完所有页，请重新获取"),
    Flaw.BALANCES_MISSING: ("the bank gave no balances to check it with", "银行未提供余额，无法核对"),
    Flaw.BALANCE_GAP: (
        "an entry's balance does not continue the one before: an entry is missing",
        "余额不连续，缺少明细",
    ),
    Flaw.SUM_DIFFERS: ("opening balance and entries do not give the closing balance", "期初余额加明细不等于期末余额"),
    Flaw.ENTRY_CHANGED: ("the bank gave an entry again with another amount", "银行重复给出的明细金额不同"),
    Flaw.CURRENCY_DIFFERS: ("an entry is in another currency than the account", "明细币种与账户不一致"),
}


@dataclass(frozen=True, slots=True)
class StatementEntry:
    """One line of a bank statement (交易明细), ISO 20022 Ntry.

    Attributes:
        account_servicer_reference: the bank's serial (银行流水号), unique within account and booking date.
        amount: never negative; the direction is in `indicator`.
        is_reversal: the entry undoes an earlier one (冲正); `indicator` is the direction of this entry itself.
        balance_after: booked balance after this entry, when the bank gives it.
        source: FETCHED or IMPORTED.
    """

    account: str
    account_servicer_reference: str
    amount: Money
    indicator: Indicator
    booking_date: date
    source: str
    value_date: date | None = None
    instruction_id: str = ""
    end_to_end_id: str = ""
    is_reversal: bool = False
    counterparty_name: str = ""
    counterparty_account: str = ""
    remittance_information: str = ""
    balance_after: Money | None = None

    def __post_init__(self) -> None:
        """Raise InvalidRequest if the amount is negative or the bank's serial is missing."""
        if self.amount.minor_units < 0:
            raise InvalidRequest(
                "ENTRY_AMOUNT_NEGATIVE", "a statement entry has a negative amount; its direction is a field of its own"
            )
        if not self.account_servicer_reference:
            raise InvalidRequest(
                "ENTRY_REFERENCE_MISSING", "a statement entry lacks the bank's serial; it could not be told from others"
            )

    @property
    def signed_minor_units(self) -> int:
        """Effect on the booked balance in minor units."""
        return self.amount.minor_units if self.indicator is Indicator.CREDIT else -self.amount.minor_units

    @property
    def key(self) -> tuple[date, str]:
        """What names the entry within its account."""
        return self.booking_date, self.account_servicer_reference


@dataclass(frozen=True, slots=True)
class StatementPage:
    """One page of a day's statement, entries in the bank's order.

    Attributes:
        next_cursor: opaque; goes back to the bank unchanged for the next page or, later, for what is new.
        is_final: the day is over at the bank; nothing will be added.
    """

    entries: Sequence[StatementEntry]
    next_cursor: str
    has_more: bool
    opening: Money | None
    closing: Money | None
    is_final: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as far as it was read.

    Attributes:
        statement_id: the bank's id in a file; the ISO 8601 date for a fetched day.
        cursor: where reading goes on; "" at the beginning.
        balance_at_cursor: booked balance after the last entry read; None before the first.
        entry_count, net_minor_units: entries recorded under this statement and their signed sum.
    """

    account: str
    source: str
    statement_id: str
    from_date: date
    to_date: date
    currency: str
    opening: Money | None = None
    closing: Money | None = None
    cursor: str = ""
    balance_at_cursor: Money | None = None
    entry_count: int = 0
    net_minor_units: int = 0
    is_final: bool = False
    flaw: Flaw = Flaw.PAGES_MISSING
    fetched_at: datetime | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there, as of the last fetch."""
        return self.flaw is Flaw.NONE


class Recording(StrEnum):
    """What is to be done with an entry that came."""

    NEW = "new"
    CONFIRMED = "confirmed"  # new from this source, but another source brought the same entry before
    KNOWN = "known"
    CHANGED = "changed"


KnownEntries = Mapping[tuple[date, str], Mapping[str, int]]


def decide_recordings(entries: Sequence[StatementEntry], known: KnownEntries) -> list[Recording]:
    """Return what to do with each entry, in order.

    Args:
        entries: of one account and one source.
        known: signed minor units by source, for each key recorded before.
    """
    seen = {key: dict(by_source) for key, by_source in known.items()}
    recordings = []
    for entry in entries:
        by_source = seen.setdefault(entry.key, {})
        recordings.append(_decide_recording(entry, by_source))
        by_source.setdefault(entry.source, entry.signed_minor_units)
    return recordings


def _decide_recording(entry: StatementEntry, by_source: Mapping[str, int]) -> Recording:
    if entry.source in by_source:
        return Recording.KNOWN if by_source[entry.source] == entry.signed_minor_units else Recording.CHANGED
    # A file that repeats what was fetched must not show the same movement twice to those who follow the entries.
    return Recording.CONFIRMED if entry.signed_minor_units in by_source.values() else Recording.NEW


def take_page(statement: Statement, page: StatementPage, recordings: Sequence[Recording], at: datetime) -> Statement:
    """Return the statement after one more page, checked as far as it goes.

    Args:
        recordings: of page.entries, in order.
    """
    added = [e for e, r in zip(page.entries, recordings, strict=True) if r in (Recording.NEW, Recording.CONFIRMED)]
    opening = page.opening or statement.opening or _opening_before(page.entries)
    start = statement.balance_at_cursor or opening
    balance, is_continuous = _follow_balances(start, page.entries, recordings)
    read = replace(
        statement,
        opening=opening,
        closing=page.closing or balance,
        cursor=page.next_cursor or statement.cursor,
        balance_at_cursor=balance,
        entry_count=statement.entry_count + len(added),
        net_minor_units=statement.net_minor_units + sum(entry.signed_minor_units for entry in added),
        is_final=page.is_final and not page.has_more,
        fetched_at=at,
    )
    return replace(read, flaw=_flaw(statement, read, page, recordings, is_continuous))


def restarted(statement: Statement) -> Statement:
    """Return the statement with reading set back to its first page; what was recorded stays recorded."""
    return replace(statement, cursor="", balance_at_cursor=None, flaw=Flaw.PAGES_MISSING)


def adds_up(opening: Money, net_minor_units: int, closing: Money) -> bool:
    """Return whether opening balance + entries = closing balance."""
    return opening.minor_units + net_minor_units == closing.minor_units and opening.currency == closing.currency


def _opening_before(entries: Sequence[StatementEntry]) -> Money | None:
    first = entries[0] if entries else None
    if first is None or first.balance_after is None:
        return None
    return Money(first.balance_after.currency, first.balance_after.minor_units - first.signed_minor_units)


def _follow_balances(
    start: Money | None, entries: Sequence[StatementEntry], recordings: Sequence[Recording]
) -> tuple[Money | None, bool]:
    """Return the balance after the last entry, and whether each entry continued the one before."""
    balance, is_continuous = start, True
    for entry, recording in zip(entries, recordings, strict=True):
        if balance is None:
            balance = entry.balance_after
            continue
        expected = Money(balance.currency, balance.minor_units + entry.signed_minor_units)
        after = entry.balance_after or expected
        if after == expected:
            balance = after
        elif recording is not Recording.KNOWN:  # a bank may repeat the end of the page before
            balance, is_continuous = after, False
    return balance, is_continuous


def _flaw(
    before: Statement,
    read: Statement,
    page: StatementPage,
    recordings: Sequence[Recording],
    is_continuous: bool,
) -> Flaw:
    if any(entry.amount.currency != read.currency for entry in page.entries):
        return Flaw.CURRENCY_DIFFERS
    # Reading on from a cursor cannot mend these two; only reading the day again from its first page can.
    if Recording.CHANGED in recordings or before.flaw is Flaw.ENTRY_CHANGED:
        return Flaw.ENTRY_CHANGED
    if not is_continuous or before.flaw is Flaw.BALANCE_GAP:
        return Flaw.BALANCE_GAP
    if page.has_more:
        return Flaw.PAGES_MISSING
    opening, closing = read.opening or read.closing, read.closing
    if opening is None or closing is None:
        return Flaw.BALANCES_MISSING
    return Flaw.NONE if adds_up(opening, read.net_minor_units, closing) else Flaw.SUM_DIFFERS
