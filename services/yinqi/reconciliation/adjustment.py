"""The balance adjustment table (余额调节表): the two balances, and every item that lies between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from yinqi.kernel.money import Money, total
from yinqi.reconciliation.model import BalanceAdjustment, Booking, Direction, Entry


def outstanding_bookings(
    on: date, unmatched: Iterable[Booking], matched: Iterable[tuple[Booking, date]]
) -> list[Booking]:
    """Return what our books had at the end of `on` and the bank had not: never matched, or matched by a later entry."""
    late = (booking for booking, entry_date in matched if booking.booking_date <= on < entry_date)
    return [*(b for b in unmatched if b.booking_date <= on), *late]


def outstanding_entries(on: date, unmatched: Iterable[Entry], matched: Iterable[tuple[Entry, date]]) -> list[Entry]:
    """Return what the bank had at the end of `on` and our books had not."""
    late = (entry for entry, booking_date in matched if entry.booking_date <= on < booking_date)
    return [*(e for e in unmatched if e.booking_date <= on), *late]


def adjust_balances(
    bank_balance: Money, book_balance: Money, bookings: Sequence[Booking], entries: Sequence[Entry]
) -> BalanceAdjustment:
    """Build the table.

    Args:
        bank_balance, book_balance: at the end of the day, same currency.
        bookings: in our books and not at the bank at that time.
        entries: at the bank and not in our books at that time.
    Raises:
        AmountInvalid: CURRENCY_MIXED.
    """
    currency = book_balance.currency
    return BalanceAdjustment(
        bank_balance=bank_balance,
        book_credits_not_at_bank=_sum(bookings, Direction.CREDIT, currency),
        book_debits_not_at_bank=_sum(bookings, Direction.DEBIT, currency),
        book_balance=book_balance,
        bank_credits_not_in_books=_sum(entries, Direction.CREDIT, currency),
        bank_debits_not_in_books=_sum(entries, Direction.DEBIT, currency),
    )


def _sum(items: Sequence[Booking] | Sequence[Entry], direction: Direction, currency: str) -> Money:
    return total((item.amount for item in items if item.direction is direction), currency)
