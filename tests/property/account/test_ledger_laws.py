"""Whatever happens to payments, the books hold: laws over every legal story of several payments."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from yinqi.account.booking import PaymentMove, PaymentStanding, Standing, book_move, initial_standing
from yinqi.account.ledger import Transaction, held
from yinqi.kernel.money import Money
from yinqi.payment.status import TRANSITIONS, PaymentStatus

TODAY = date(2026, 11, 22)
ACCOUNTS = ("755", "756")
_NEXT = {status: sorted({to for (at, _), to in TRANSITIONS.items() if at is status}) for status in PaymentStatus}


@st.composite
def payment_stories(draw: st.DrawFn) -> list[PaymentMove]:
    """Return the events of up to six payments, each story legal by the payment service's own table, interleaved."""
    stories = []
    for number in range(draw(st.integers(1, 6))):
        account, amount = draw(st.sampled_from(ACCOUNTS)), draw(st.integers(1, 10**15 - 1))
        status, story = PaymentStatus.RECEIVED, []
        for _ in range(draw(st.integers(0, 10))):
            story.append(
                PaymentMove(
                    sequence=0,
                    instruction_id=f"YQ{number}",
                    status=status.value,
                    account=account,
                    amount=Money("CNY", amount),
                    occurred_on=TODAY,
                    settlement_date=TODAY + timedelta(days=draw(st.integers(-3, 1))),
                    return_date=TODAY + timedelta(days=draw(st.integers(-2, 3))),
                )
            )
            if not _NEXT[status]:
                break
            status = draw(st.sampled_from(_NEXT[status]))
        stories.append(story)
    moves = []
    while any(stories):
        story = draw(st.sampled_from([s for s in stories if s]))
        moves.append(story.pop(0))
    return [replace(move, sequence=sequence) for sequence, move in enumerate(moves, 1)]


def book_all(moves: list[PaymentMove], opened_on: date | None) -> tuple[list[Transaction], dict[str, PaymentStanding]]:
    standings: dict[str, PaymentStanding] = {}
    transactions = []
    for move in moves:
        before = standings.get(move.instruction_id) or initial_standing(move)
        booked, standings[move.instruction_id] = book_move(move, before, opened_on)
        transactions += booked
    return transactions, standings


def balances(transactions: list[Transaction]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for transaction in transactions:
        for posting in transaction.postings:
            sums[posting.ledger_account] += posting.amount.minor_units
    return sums


@given(payment_stories(), st.sampled_from([None, TODAY - timedelta(days=1), TODAY]))
def test_the_whole_ledger_always_sums_to_zero(moves: list[PaymentMove], opened_on: date | None) -> None:
    assert sum(balances(book_all(moves, opened_on)[0]).values()) == 0


@given(payment_stories())
def test_what_is_held_is_the_sum_of_the_open_payments(moves: list[PaymentMove]) -> None:
    transactions, standings = book_all(moves, None)
    last = {move.instruction_id: move for move in moves}
    for account in ACCOUNTS:
        open_ = sum(
            move.amount.minor_units
            for move in last.values()
            if move.account == account and move.status in ("SUBMITTING", "PROCESSING", "UNKNOWN")
        )
        assert balances(transactions)[held(account)] == open_
        assert open_ == sum(
            s.amount.minor_units for s in standings.values() if s.account == account and s.standing is Standing.HELD
        )


@given(payment_stories(), st.sampled_from([None, TODAY]))
def test_the_bank_side_is_what_settled_less_what_came_back(moves: list[PaymentMove], opened_on: date | None) -> None:
    transactions, _ = book_all(moves, opened_on)
    for account in ACCOUNTS:
        expected = 0
        seen = set()
        for move in moves:
            key = move.instruction_id, move.status
            if move.account != account or key in seen:
                continue
            seen.add(key)
            # What the bank booked up to the opening date is in its opening balance already.
            if move.status == "SETTLED" and not (
                opened_on and move.settlement_date and move.settlement_date <= opened_on
            ):
                expected -= move.amount.minor_units
            if move.status == "RETURNED" and not (opened_on and move.return_date and move.return_date <= opened_on):
                expected += move.amount.minor_units
        sums = balances(transactions)
        assert sums[f"bank:{account}:available"] + sums[held(account)] == expected


@given(payment_stories())
def test_no_transaction_is_booked_twice(moves: list[PaymentMove]) -> None:
    ids = [transaction.transaction_id for transaction in book_all(moves, None)[0]]
    assert len(ids) == len(set(ids))


@given(payment_stories(), st.data())
def test_an_event_that_comes_again_books_nothing(moves: list[PaymentMove], data: st.DataObject) -> None:
    doubled = []
    for move in moves:
        doubled += [move] * data.draw(st.integers(1, 3))
    assert book_all(doubled, None) == book_all(moves, None)
