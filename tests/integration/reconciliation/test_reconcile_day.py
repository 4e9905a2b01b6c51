"""Reconciling days against a real store, SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from reconciliation_builders import ACCOUNT, DAY, booking, entry

from yinqi.kernel.clock import FixedClock
from yinqi.kernel.errors import FailedPrecondition, InvalidRequest, NotFound
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.kernel.money import Money
from yinqi.reconciliation.model import BreakReason, BreakStatus, DayBalances
from yinqi.reconciliation.repository import SqlUnitOfWork, read_events
from yinqi.reconciliation.tables import metadata
from yinqi.reconciliation.use_cases import reconcile_day, resolve_break
from yinqi.runtime.migrations import migrate

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
OPENING = 1_000_000


class Books:
    """A store with the use cases on it, as the servicer calls them."""

    def __init__(self, database) -> None:
        self.database = database
        self.clock = FixedClock(NOW)
        self.ids = TimeOrderedIds(self.clock)

    def add(self, bookings=(), entries=()) -> None:
        def work(connection) -> None:
            store = SqlUnitOfWork(connection, NOW, "test").books
            store.add_bookings(list(bookings))
            store.add_entries(list(entries))

        self.database.run_sync(work)

    def reconcile(self, bank: int, book: int, on=DAY):
        balances = DayBalances(Money("CNY", bank), Money("CNY", book))
        return self.database.run_sync(
            lambda c: reconcile_day(
                ACCOUNT, on, balances, now=NOW, ids=self.ids, unit_of_work=SqlUnitOfWork(c, NOW, "test")
            )
        )[0]

    def breaks(self, status=None):
        return self.database.read_sync(
            lambda c: SqlUnitOfWork(c, NOW, "").breaks.list(ACCOUNT, None, status, 100, None)
        )

    def event_types(self) -> list[str]:
        return [row.type for row, _, _ in self.database.read_sync(lambda c: read_events(c, 0, 100))]


@pytest.fixture
def books(database_url, open_database, seal_database, tmp_path) -> Books:
    migrate(database_url, "reconciliation")
    database = open_database(database_url)
    seal_database(database, tmp_path / "kek")
    return Books(database)


def test_the_migration_makes_the_tables_that_the_code_uses(database_url, open_database) -> None:
    from sqlalchemy import inspect

    migrate(database_url, "reconciliation")
    columns = open_database(database_url).read_sync(
        lambda c: {t: {col["name"] for col in inspect(c).get_columns(t)} for t in inspect(c).get_table_names()}
    )
    for table in metadata.sorted_tables:
        assert columns[table.name] == {column.name for column in table.columns}


def test_a_day_in_which_all_is_known_has_no_break(books) -> None:
    books.add([booking(1), booking(2)], [entry(1), entry(2)])
    run = books.reconcile(OPENING - 20_000, OPENING - 20_000)
    assert (run.booking_count, run.entry_count, run.reference_match_count, run.break_count) == (2, 2, 2, 0)
    assert run.balance_adjustment.is_balanced


def test_a_fee_of_the_bank_is_a_break_and_the_table_still_adds_up(books) -> None:
    fee = entry(9, instruction_id="", amount=Money("CNY", 3_500), counterparty_account="", counterparty_name="")
    books.add([booking(1)], [entry(1), fee])
    run = books.reconcile(OPENING - 13_500, OPENING - 10_000)
    assert run.break_count == 1
    assert run.balance_adjustment.bank_debits_not_in_books == Money("CNY", 3_500)
    assert run.balance_adjustment.is_balanced
    assert [b.reason for b in books.breaks()] == [BreakReason.BANK_DEBIT_NOT_IN_BOOKS]


def test_running_a_day_again_counts_nothing_twice(books) -> None:
    books.add([booking(1), booking(2)], [entry(1)])
    first = books.reconcile(OPENING - 10_000, OPENING - 20_000)
    again = books.reconcile(OPENING - 10_000, OPENING - 20_000)
    assert (again.match_count, again.break_count) == (first.match_count, first.break_count) == (1, 1)
    assert len(books.breaks()) == 1


def test_an_entry_that_comes_a_day_late_clears_the_break_of_the_day_before(books) -> None:
    tomorrow = DAY + timedelta(days=1)
    books.add([booking(1)])
    assert books.reconcile(OPENING, OPENING - 10_000).break_count == 1
    books.add(entries=[entry(1, booking_date=tomorrow)])
    assert books.reconcile(OPENING - 10_000, OPENING - 10_000, tomorrow).break_count == 0
    assert [b.status for b in books.breaks()] == [BreakStatus.CLEARED]
    day_one = books.reconcile(OPENING, OPENING - 10_000)
    assert day_one.balance_adjustment.book_debits_not_at_bank == Money("CNY", 10_000)
    assert day_one.balance_adjustment.is_balanced
    assert books.event_types().count("break.cleared") == 1


def test_a_break_can_be_explained_once(books) -> None:
    books.add([booking(1)])
    books.reconcile(OPENING, OPENING - 10_000)
    [item] = books.breaks()

    def resolve(words: str, break_id: str = item.break_id):
        return books.database.run_sync(
            lambda c: resolve_break(break_id, words, "li", now=NOW, unit_of_work=SqlUnitOfWork(c, NOW, "li"))
        )

    with pytest.raises(InvalidRequest):
        resolve("  ")
    with pytest.raises(NotFound):
        resolve("why", "BK0")
    assert resolve("在途").status is BreakStatus.RESOLVED
    with pytest.raises(FailedPrecondition):
        resolve("again")
    assert books.reconcile(OPENING, OPENING - 10_000).break_count == 0


def test_the_same_booking_and_entry_may_arrive_twice(books) -> None:
    books.add([booking(1)], [entry(1)])
    books.add([booking(1)], [entry(1)])
    assert books.reconcile(OPENING - 10_000, OPENING - 10_000).match_count == 1
