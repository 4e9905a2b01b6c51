"""However a bank cuts a day into pages, the statement is complete exactly when nothing is missing."""

from __future__ import annotations

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from yinqi.account.statement import (
    Flaw,
    Indicator,
    Statement,
    StatementEntry,
    StatementPage,
    decide_recordings,
    restarted,
    take_page,
)
from yinqi.kernel.money import Money

DAY = date(2026, 11, 22)
AT = datetime(2026, 11, 22, 4, tzinfo=UTC)
OPENING = 1_000_000
AMOUNTS = st.lists(st.integers(-1_000, 1_000).filter(bool), min_size=1, max_size=12)


def cny(minor_units: int) -> Money:
    return Money("CNY", minor_units)


def entries_of(amounts: list[int]) -> list[StatementEntry]:
    entries, balance = [], OPENING
    for number, amount in enumerate(amounts, 1):
        balance += amount
        indicator = Indicator.CREDIT if amount > 0 else Indicator.DEBIT
        entries.append(
            StatementEntry("755", f"S{number}", cny(abs(amount)), indicator, DAY, "cdc", balance_after=cny(balance))
        )
    return entries


def cut(entries: list[StatementEntry], size: int, overlap: int, closing: int) -> list[StatementPage]:
    """Return pages of `size`, each repeating the last `overlap` entries of the one before."""
    starts = range(0, max(len(entries), 1), size)
    return [
        StatementPage(
            entries[max(start - overlap, 0) : start + size],
            str(start + size),
            start + size < len(entries),
            cny(OPENING),
            cny(closing),
            True,
        )
        for start in starts
    ]


def read(statement: Statement, pages: list[StatementPage], known: dict[tuple[date, str], dict[str, int]]) -> Statement:
    for page in pages:
        recordings = decide_recordings(page.entries, known)
        statement = take_page(statement, page, recordings, AT)
        for entry in page.entries:
            known.setdefault(entry.key, {})[entry.source] = entry.signed_minor_units
    return statement


EMPTY = Statement("755", "cdc", "2026-11-22", DAY, DAY, "CNY")


@given(AMOUNTS, st.integers(1, 5), st.integers(0, 3))
def test_every_cut_of_a_whole_day_is_complete(amounts: list[int], size: int, overlap: int) -> None:
    entries = entries_of(amounts)
    closing = OPENING + sum(amounts)
    done = read(EMPTY, cut(entries, size, overlap, closing), {})
    assert done.is_complete
    assert done.is_final
    assert (done.entry_count, done.net_minor_units) == (len(amounts), sum(amounts))


@given(AMOUNTS, st.integers(1, 5), st.data())
def test_a_missing_entry_is_always_noticed_and_mended_by_reading_again(
    amounts: list[int], size: int, data: st.DataObject
) -> None:
    entries = entries_of(amounts)
    closing = OPENING + sum(amounts)
    missing = data.draw(st.integers(0, len(entries) - 1))
    known: dict[tuple[date, str], dict[str, int]] = {}
    flawed = read(EMPTY, cut(entries[:missing] + entries[missing + 1 :], size, 0, closing), known)
    assert flawed.flaw in (Flaw.BALANCE_GAP, Flaw.SUM_DIFFERS)
    mended = read(restarted(flawed), cut(entries, size, 0, closing), known)
    assert mended.is_complete
    assert mended.entry_count == len(amounts)
