"""The balance adjustment table adds up, or says that it does not."""

from __future__ import annotations

from datetime import timedelta

from reconciliation_builders import DAY, booking, entry

from yinqi.kernel.money import Money
from yinqi.reconciliation.adjustment import adjust_balances, outstanding_bookings, outstanding_entries
from yinqi.reconciliation.model import DayBalances, Direction

CNY = "CNY"


def test_every_item_moves_its_own_side() -> None:
    table = adjust_balances(
        Money(CNY, 100_000),
        Money(CNY, 108_000),
        [booking(1, amount=Money(CNY, 5_000)), booking(2, amount=Money(CNY, 700), direction=Direction.CREDIT)],
        [entry(3, amount=Money(CNY, 13_500)), entry(4, amount=Money(CNY, 1_200), direction=Direction.CREDIT)],
    )
    assert table.adjusted_bank_balance == Money(CNY, 95_700)
    assert table.adjusted_book_balance == Money(CNY, 95_700)
    assert table.is_balanced


def test_a_difference_without_an_item_is_seen() -> None:
    assert not adjust_balances(Money(CNY, 1), Money(CNY, 2), [], []).is_balanced


def test_a_pair_across_midnight_is_outstanding_on_the_first_day_only() -> None:
    ours, tomorrow = booking(1), DAY + timedelta(days=1)
    assert outstanding_bookings(DAY, [], [(ours, tomorrow)]) == [ours]
    assert outstanding_bookings(tomorrow, [], [(ours, tomorrow)]) == []
    theirs = entry(1)
    assert outstanding_entries(DAY, [], [(theirs, tomorrow)]) == [theirs]


def test_balances_are_explained_once_the_feeds_brought_the_whole_day() -> None:
    balances = DayBalances(
        bank=Money(CNY, 90), book=Money(CNY, 95), bank_opening=Money(CNY, 100), book_opening=Money(CNY, 100)
    )
    assert balances.are_explained_by(booked=-5, entered=-10)
    assert not balances.are_explained_by(booked=-5, entered=0)
    assert not balances.are_explained_by(booked=0, entered=-10)
    assert DayBalances(bank=None, book=Money(CNY, 95)).are_explained_by(booked=0, entered=0)
