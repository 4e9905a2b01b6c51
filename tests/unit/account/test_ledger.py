"""A transaction that does not balance cannot be built."""

from __future__ import annotations

from datetime import date

import pytest

from yinqi.account.ledger import (
    Kind,
    LedgerUnbalanced,
    Posting,
    Transaction,
    available,
    check_balanced,
    held,
    ledger_accounts_of,
    transfer,
)
from yinqi.kernel.money import Money

DAY = date(2026, 11, 22)
ACCOUNT = "755900000000001"


def cny(minor_units: int) -> Money:
    return Money("CNY", minor_units)


def test_a_transfer_debits_one_side_and_credits_the_other() -> None:
    hold = transfer(
        "YQ1/hold",
        Kind.HOLD,
        DAY,
        debit=held(ACCOUNT),
        credit=available(ACCOUNT),
        amount=cny(500),
        instruction_id="YQ1",
    )
    assert hold.postings == (
        Posting("bank:755900000000001:held", cny(500)),
        Posting("bank:755900000000001:available", cny(-500)),
    )


def test_postings_that_do_not_sum_to_zero_cannot_be_built() -> None:
    with pytest.raises(LedgerUnbalanced, match="YQ1/hold"):
        Transaction("YQ1/hold", Kind.HOLD, DAY, (Posting("a", cny(500)), Posting("b", cny(-499))))


def test_two_currencies_do_not_balance_each_other() -> None:
    with pytest.raises(LedgerUnbalanced):
        Transaction("x", Kind.HOLD, DAY, (Posting("a", cny(500)), Posting("b", Money("EUR", -500))))


def test_a_ledger_account_appears_once_in_a_transaction() -> None:
    with pytest.raises(LedgerUnbalanced, match="twice"):
        Transaction("x", Kind.HOLD, DAY, (Posting("a", cny(500)), Posting("a", cny(-500))))


def test_the_imbalance_is_named() -> None:
    with pytest.raises(LedgerUnbalanced, match=r"the ledger .*CNY.*7"):
        check_balanced([cny(10), cny(-3)], "the ledger")


def test_a_bank_account_has_four_ledger_accounts() -> None:
    assert ledger_accounts_of("1") == ("bank:1:available", "bank:1:held", "payables:1", "opening:1")
