"""From a parsed camt.053 file to what the service keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from yinqi.account.camt053 import Camt053Balance, Camt053Entry, Camt053Header, Camt053Statement
from yinqi.account.camt053_mapping import statement_with_entries
from yinqi.account.statement import Indicator
from yinqi.kernel.errors import InvalidRequest
from yinqi.kernel.money import Money

ENTRY = Camt053Entry(
    amount=Money("EUR", 100),
    credit_debit_indicator="DBIT",
    is_reversal=False,
    status="BOOK",
    booking_date="2026-11-20",
    value_date="2026-11-21",
    account_servicer_reference="S1",
    end_to_end_id="E2E",
    instruction_id="YQ1",
    counterparty_name="供应商",
    counterparty_account="622",
    remittance_information="货款",
    bank_transaction_code="",
)
HEADER = Camt053Header(
    statement_id="ST-7",
    account="DE75512108001245126199",
    currency="EUR",
    electronic_sequence_number="",
    from_date="",
    to_date="",
    page_number="1",
    is_last_page=True,
    balances=(
        Camt053Balance("OPBD", Money("EUR", 1000), "2026-11-19"),
        Camt053Balance("CLBD", Money("EUR", 900), "2026-11-20"),
    ),
)


def test_a_statement_takes_its_days_from_entries_and_closing_balance() -> None:
    statement, entries = statement_with_entries(Camt053Statement(HEADER, (ENTRY,)))
    assert (statement.from_date, statement.to_date) == (date(2026, 11, 20), date(2026, 11, 20))
    assert (statement.opening, statement.closing) == (Money("EUR", 1000), Money("EUR", 900))
    assert statement.is_complete
    assert entries[0].indicator is Indicator.DEBIT
    assert (entries[0].instruction_id, entries[0].value_date) == ("YQ1", date(2026, 11, 21))


def test_only_booked_entries_count() -> None:
    pending = replace(ENTRY, status="PDNG")
    assert len(statement_with_entries(Camt053Statement(HEADER, (ENTRY, pending)))[1]) == 1


def test_an_entry_without_the_banks_serial_keeps_a_name_of_its_own() -> None:
    nameless = replace(ENTRY, account_servicer_reference="")
    other = replace(nameless, remittance_information="运费")
    first = statement_with_entries(Camt053Statement(HEADER, (nameless, other, nameless)))[1]
    again = statement_with_entries(Camt053Statement(HEADER, (nameless, other, nameless)))[1]
    assert first == again
    assert len({entry.key for entry in first}) == 3


def test_a_payment_and_its_fee_may_share_a_serial() -> None:
    fee = replace(ENTRY, amount=Money("EUR", 5))
    entries = statement_with_entries(Camt053Statement(HEADER, (ENTRY, fee)))[1]
    assert [entry.account_servicer_reference for entry in entries] == ["S1", "S1#2"]


def test_pages_of_one_statement_are_kept_apart() -> None:
    second = replace(HEADER, page_number="2", is_last_page=True)
    assert statement_with_entries(Camt053Statement(second, ()))[0].statement_id == "ST-7/2"


def test_a_statement_of_no_day_is_refused() -> None:
    dateless = replace(HEADER, balances=tuple(replace(b, date="") for b in HEADER.balances))
    with pytest.raises(InvalidRequest, match="names no day"):
        statement_with_entries(Camt053Statement(dateless, ()))


def test_an_impossible_date_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="2026-02-30"):
        statement_with_entries(Camt053Statement(HEADER, (replace(ENTRY, booking_date="2026-02-30"),)))
