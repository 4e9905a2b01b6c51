"""A statement counts as complete only on proof."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from yinqi.account.statement import (
    Flaw,
    Indicator,
    Recording,
    Statement,
    StatementEntry,
    StatementPage,
    decide_recordings,
    restarted,
    take_page,
)
from yinqi.kernel.errors import InvalidRequest
from yinqi.kernel.money import Money

DAY = date(2026, 11, 22)
AT = datetime(2026, 11, 22, 4, tzinfo=UTC)
EMPTY = Statement("755", "cdc", "2026-11-22", DAY, DAY, "CNY")


def cny(minor_units: int | None) -> Money | None:
    return None if minor_units is None else Money("CNY", minor_units)


def entry(reference: str, signed: int, after: int | None = None, source: str = "cdc") -> StatementEntry:
    indicator = Indicator.CREDIT if signed >= 0 else Indicator.DEBIT
    return StatementEntry("755", reference, Money("CNY", abs(signed)), indicator, DAY, source, balance_after=cny(after))


def page(
    *entries: StatementEntry,
    cursor: str = "c",
    more: bool = False,
    opening: int | None = 1000,
    closing: int | None = None,
    final: bool = False,
) -> StatementPage:
    return StatementPage(entries, cursor, more, cny(opening), cny(closing), final)


def read(statement: Statement, *pages: StatementPage) -> Statement:
    for one in pages:
        statement = take_page(statement, one, [Recording.NEW] * len(one.entries), AT)
    return statement


def test_all_pages_that_add_up_prove_a_statement() -> None:
    first = page(entry("1", -100, 900), cursor="c1", more=True, closing=900)
    second = page(entry("2", 250, 1150), cursor="c2", closing=1150, final=True)
    halfway = read(EMPTY, first)
    assert (halfway.flaw, halfway.cursor, halfway.is_final) == (Flaw.PAGES_MISSING, "c1", False)
    done = read(halfway, second)
    assert done.is_complete
    assert done.is_final
    assert (done.entry_count, done.net_minor_units, done.closing) == (2, 150, cny(1150))


def test_a_page_that_does_not_add_up_is_flagged() -> None:
    assert read(EMPTY, page(entry("1", -100), closing=950)).flaw is Flaw.SUM_DIFFERS


def test_a_gap_between_pages_is_seen_by_the_balances() -> None:
    first = page(entry("1", -100, 900), more=True)
    after_a_gap = page(entry("3", -100, 700), closing=800)
    flawed = read(EMPTY, first, after_a_gap)
    assert flawed.flaw is Flaw.BALANCE_GAP
    assert read(flawed, page(closing=800)).flaw is Flaw.BALANCE_GAP, "reading on does not mend it"


def test_reading_again_from_the_first_page_mends_a_gap() -> None:
    flawed = read(EMPTY, page(entry("1", -100, 900), entry("3", -100, 700), closing=700))
    assert flawed.flaw is Flaw.BALANCE_GAP
    again = page(entry("1", -100, 900), entry("2", -100, 800), entry("3", -100, 700), closing=700)
    mended = take_page(restarted(flawed), again, [Recording.KNOWN, Recording.NEW, Recording.KNOWN], AT)
    assert mended.is_complete
    assert mended.entry_count == 3


def test_a_bank_may_repeat_the_end_of_the_page_before() -> None:
    first = read(EMPTY, page(entry("1", -100, 900), entry("2", -100, 800), more=True))
    second = page(entry("2", -100, 800), entry("3", -100, 700), closing=700)
    assert take_page(first, second, [Recording.KNOWN, Recording.NEW], AT).is_complete


def test_without_balances_of_the_bank_the_entries_tell_them() -> None:
    done = read(EMPTY, page(entry("1", -100, 900), entry("2", 50, 950), opening=None))
    assert (done.opening, done.closing, done.is_complete) == (cny(1000), cny(950), True)


def test_nothing_at_all_proves_nothing() -> None:
    assert read(EMPTY, page(opening=None)).flaw is Flaw.BALANCES_MISSING


def test_a_day_without_entries_closes_as_it_opened() -> None:
    assert read(EMPTY, page(closing=1000, final=True)).is_complete


def test_an_entry_in_another_currency_is_flagged() -> None:
    euro = replace(entry("1", 100), amount=Money("EUR", 100))
    assert read(EMPTY, page(euro, closing=1100)).flaw is Flaw.CURRENCY_DIFFERS


def test_a_day_goes_on_from_the_last_cursor() -> None:
    morning = read(EMPTY, page(entry("1", -100, 900), closing=900, cursor="c1"))
    assert morning.is_complete
    evening = read(morning, page(entry("2", -100, 800), closing=800, cursor="c2", final=True))
    assert evening.is_complete
    assert evening.is_final
    assert read(evening, page(cursor="", closing=800, final=True)).cursor == "c2", "an empty cursor does not go back"


def test_an_entry_that_came_before_adds_nothing() -> None:
    known = {(DAY, "1"): {"cdc": -100}}
    found = decide_recordings([entry("1", -100), entry("2", -100), entry("2", -100), entry("1", -99)], known)
    assert found == [Recording.KNOWN, Recording.NEW, Recording.KNOWN, Recording.CHANGED]


def test_a_file_that_repeats_what_was_fetched_only_confirms_it() -> None:
    known = {(DAY, "1"): {"cdc": -100}, (DAY, "2"): {"cdc": -100}}
    file = [entry("1", -100, source="camt.053"), entry("2", -200, source="camt.053")]
    assert decide_recordings(file, known) == [Recording.CONFIRMED, Recording.NEW]


def test_an_entry_needs_the_banks_serial_and_an_amount_without_sign() -> None:
    with pytest.raises(InvalidRequest):
        entry("", 100)
    with pytest.raises(InvalidRequest):
        replace(entry("1", 100), amount=Money("CNY", -100))
