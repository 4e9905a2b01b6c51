"""What reconciliation needs from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Protocol

from yinqi.reconciliation.model import Booking, Break, BreakStatus, DayBalances, Entry, Match, Pair, Reconciliation


class BookStore(Protocol):
    """Bookings and entries, and which of them are paired. All methods run in the caller's transaction."""

    def add_bookings(self, bookings: Sequence[Booking]) -> None:
        """Record bookings; one that is there already is left alone."""
        ...

    def add_entries(self, entries: Sequence[Entry]) -> None:
        """Record entries; one that is there already is left alone."""
        ...

    def unmatched_bookings(self, account: str, until: date) -> list[Booking]:
        """Return bookings up to and including a date that no entry is paired with."""
        ...

    def unmatched_entries(self, account: str, until: date) -> list[Entry]:
        """Return entries up to and including a date that no booking is paired with."""
        ...

    def matched_across(self, account: str, on: date) -> list[tuple[Booking, Entry]]:
        """Return pairs of which one side is booked up to `on` and the other later."""
        ...

    def add_matches(self, run_id: str, matches: Sequence[Match]) -> None:
        """Record pairs; a booking or an entry can be in one pair only."""
        ...

    def count_day(self, account: str, on: date) -> tuple[int, int]:
        """Return the number of bookings and of entries with that booking date."""
        ...

    def sum_day(self, account: str, on: date) -> tuple[int, int]:
        """Return the sums of the day's bookings and of its entries in minor units, credits less debits."""
        ...

    def count_matches(self, account: str, on: date) -> tuple[int, int]:
        """Return the pairs by reference and by amount whose entry has that booking date."""
        ...

    def pairs(self, account: str, on: date) -> list[Pair]:
        """Return the pairs whose entry has that booking date."""
        ...


class BreakStore(Protocol):
    """Breaks and their events."""

    def open_of(self, account: str, until: date) -> list[Break]:
        """Return breaks of the account up to a date that are open or resolved, not cleared."""
        ...

    def add(self, breaks: Sequence[Break]) -> None:
        """Record new breaks and the event break.opened for each."""
        ...

    def set_status(self, breaks: Sequence[Break], event: str) -> None:
        """Store status, reason and resolution of known breaks, and the event for each."""
        ...

    def get(self, break_id: str) -> Break | None:
        """Return one break, locked for change."""
        ...

    def list(
        self, account: str, on: date | None, status: BreakStatus | None, limit: int, after: tuple[str, str] | None
    ) -> list[Break]:
        """Return breaks by (date, break_id), after that key."""
        ...


class RunStore(Protocol):
    """Results of runs."""

    def add(self, reconciliation: Reconciliation) -> None:
        """Record a run, as the latest of its account and day, and the event reconciliation.completed."""
        ...

    def latest(self, account: str, on: date) -> Reconciliation | None:
        """Return the latest run of a day."""
        ...

    def list_latest(self, limit: int, after: tuple[str, str] | None) -> Iterable[Reconciliation]:
        """Return the latest run of each account and day, newest day first, after the (date, account) key."""
        ...


class UnitOfWork(Protocol):
    """Everything a use case may touch, in one transaction."""

    @property
    def books(self) -> BookStore: ...
    @property
    def breaks(self) -> BreakStore: ...
    @property
    def runs(self) -> RunStore: ...


class AccountPort(Protocol):
    """The account service."""

    async def day_balances(self, account: str, on: date) -> DayBalances:
        """Return the balances at the end of a day. No money can move by asking.

        Raises:
            NotFound: unknown account. Unavailable: the account service is away; retry.
        """
        ...
