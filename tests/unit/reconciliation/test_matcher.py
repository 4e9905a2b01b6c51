"""The matching rule, case by case."""

from __future__ import annotations

from datetime import timedelta

from reconciliation_builders import DAY, booking, entry

from yinqi.kernel.money import Money
from yinqi.reconciliation.matcher import match_entries
from yinqi.reconciliation.model import BreakReason, Direction, MatchRule


def reasons(result):
    return [leftover.reason for leftover in result.leftovers]


def test_a_reference_of_ours_pairs_whatever_the_date() -> None:
    result = match_entries([booking(1)], [entry(1, booking_date=DAY + timedelta(days=2))])
    assert [m.rule for m in result.matches] == [MatchRule.REFERENCE]
    assert not result.leftovers


def test_the_banks_serial_pairs_an_entry_without_our_reference() -> None:
    result = match_entries(
        [booking(1, account_servicer_reference="S1")], [entry(1, instruction_id="", account_servicer_reference="S1")]
    )
    assert [m.rule for m in result.matches] == [MatchRule.REFERENCE]


def test_a_second_debit_with_the_same_reference_is_never_paired() -> None:
    result = match_entries([booking(1)], [entry(1), entry(2, instruction_id="YQ0001")])
    assert len(result.matches) == 1
    assert result.matches[0].entry.entry_id == 1
    assert reasons(result) == [BreakReason.BANK_DEBIT_NOT_IN_BOOKS]


def test_the_same_reference_in_the_other_direction_is_another_event() -> None:
    result = match_entries([booking(1)], [entry(1, direction=Direction.CREDIT)])
    assert not result.matches
    assert sorted(r.value for r in reasons(result)) == ["BANK_CREDIT_NOT_IN_BOOKS", "BOOK_DEBIT_NOT_AT_BANK"]


def test_a_return_pairs_with_its_own_credit() -> None:
    debit = booking(1)
    credit = booking(1, booking_id="YQ0001/return", direction=Direction.CREDIT)
    result = match_entries([debit, credit], [entry(1), entry(2, instruction_id="YQ0001", direction=Direction.CREDIT)])
    assert len(result.matches) == 2
    assert not result.leftovers


def test_the_same_reference_with_another_amount_is_one_break_with_both_sides() -> None:
    result = match_entries([booking(1)], [entry(1, amount=Money("CNY", 9_999))])
    [leftover] = result.leftovers
    assert leftover.reason is BreakReason.AMOUNT_DIFFERS
    assert leftover.booking is not None
    assert leftover.entry is not None


def test_amount_date_and_counterparty_pair_where_they_are_unique() -> None:
    result = match_entries([booking(1)], [entry(1, instruction_id="")])
    assert [m.rule for m in result.matches] == [MatchRule.AMOUNT_DATE_COUNTERPARTY]


def test_two_candidates_are_not_guessed_at() -> None:
    twins = [booking(1, counterparty_account="6225"), booking(2, counterparty_account="6225")]
    result = match_entries(twins, [entry(1, instruction_id="", counterparty_account="6225")])
    assert not result.matches
    assert reasons(result) == [BreakReason.AMBIGUOUS] * 3


def test_an_entry_with_a_foreign_reference_is_not_paired_by_amount() -> None:
    result = match_entries([booking(1)], [entry(1, instruction_id="YQ9999")])
    assert not result.matches


def test_what_nobody_else_knows_has_a_reason_by_side_and_direction() -> None:
    result = match_entries([booking(1)], [entry(7, instruction_id="", amount=Money("CNY", 500))])
    assert reasons(result) == [BreakReason.BOOK_DEBIT_NOT_AT_BANK, BreakReason.BANK_DEBIT_NOT_IN_BOOKS]
