"""What each status of a payment books: a test per row of the path table, and for the rows that are absent."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from yinqi.account.booking import PaymentMove, PaymentStanding, Standing, book_move, contradicts, initial_standing
from yinqi.account.ledger import Kind
from yinqi.kernel.money import Money

TODAY = date(2026, 11, 22)
MOVE = PaymentMove(
    sequence=1,
    instruction_id="YQ1",
    status="SUBMITTING",
    account="755",
    amount=Money("CNY", 12_345),
    occurred_on=TODAY,
    settlement_date=date(2026, 11, 23),
    return_date=date(2026, 11, 24),
    traceparent="00-aa-bb-01",
)
A, H, P, R = Standing.AVAILABLE, Standing.HELD, Standing.PAID, Standing.RETURNED


def standing(where: Standing, hold_count: int = 1) -> PaymentStanding:
    return PaymentStanding("YQ1", "755", Money("CNY", 12_345), where, hold_count, "00-aa-bb-01")


@pytest.mark.parametrize(
    ("before", "status", "booked", "after"),
    [
        (A, "RECEIVED", [], A),
        (A, "SUBMITTING", ["hold"], H),
        (A, "SETTLED", ["hold", "settlement"], P),
        (A, "RETURNED", ["hold", "settlement", "return"], R),
        (A, "CANCELLED", [], A),
        (A, "BLOCKED", [], A),
        (H, "SUBMITTING", [], H),
        (H, "PROCESSING", [], H),
        (H, "UNKNOWN", [], H),
        (H, "SETTLED", ["settlement"], P),
        (H, "REJECTED", ["release"], A),
        (H, "SCREENED", ["release"], A),
        (H, "RETURNED", ["settlement", "return"], R),
        (P, "SETTLED", [], P),
        (P, "RETURNED", ["return"], R),
        (P, "REJECTED", [], P),
        (P, "UNKNOWN", [], P),
        (R, "SETTLED", [], R),
        (R, "REJECTED", [], R),
        (H, "A_STATUS_OF_THE_FUTURE", [], H),
    ],
)
def test_a_status_books_the_way_from_where_the_money_stands(
    before: Standing, status: str, booked: list[str], after: Standing
) -> None:
    hold_count = 0 if before is A else 1
    transactions, result = book_move(replace(MOVE, status=status), standing(before, hold_count), None)
    assert [t.kind.value for t in transactions] == booked
    assert result.standing is after


def test_bookings_carry_the_dates_of_the_bank() -> None:
    transactions, _ = book_move(replace(MOVE, status="RETURNED"), initial_standing(MOVE), None)
    assert [(t.transaction_id, t.booking_date.isoformat()) for t in transactions] == [
        ("YQ1/hold", "2026-11-22"),
        ("YQ1/settlement", "2026-11-23"),
        ("YQ1/return", "2026-11-24"),
    ]


def test_without_a_date_of_the_bank_the_day_of_the_event_counts() -> None:
    transactions, _ = book_move(replace(MOVE, status="SETTLED", settlement_date=None), standing(H), None)
    assert transactions[0].booking_date == TODAY


def test_money_that_was_not_sent_is_released_and_held_again_under_another_id() -> None:
    ids, now = [], initial_standing(MOVE)
    for status in ("SUBMITTING", "SCREENED", "SUBMITTING", "UNKNOWN", "REJECTED"):
        transactions, now = book_move(replace(MOVE, status=status), now, None)
        ids += [t.transaction_id for t in transactions]
    assert ids == ["YQ1/hold", "YQ1/release", "YQ1/hold-2", "YQ1/release-2"]


def test_what_the_bank_booked_before_the_opening_balance_is_taken_out_of_it() -> None:
    transactions, after = book_move(replace(MOVE, status="SETTLED"), standing(H), opened_on=date(2026, 11, 23))
    assert [t.transaction_id for t in transactions] == ["YQ1/settlement", "YQ1/settlement/opening"]
    assert transactions[1].kind is Kind.OPENING
    bank = sum(p.amount.minor_units for t in transactions for p in t.postings if p.ledger_account.startswith("bank:"))
    assert bank == 0
    transactions, _ = book_move(replace(MOVE, status="RETURNED"), after, opened_on=date(2026, 11, 24))
    bank = sum(p.amount.minor_units for t in transactions for p in t.postings if p.ledger_account.startswith("bank:"))
    assert bank == 0


def test_money_that_left_and_is_said_never_to_have_left_is_a_contradiction() -> None:
    assert contradicts(replace(MOVE, status="REJECTED"), standing(P))
    assert contradicts(replace(MOVE, status="UNKNOWN"), standing(R))
    assert not contradicts(replace(MOVE, status="RETURNED"), standing(P))
    assert not contradicts(replace(MOVE, status="REJECTED"), standing(H))
