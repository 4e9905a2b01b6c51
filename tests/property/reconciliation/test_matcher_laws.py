"""Laws of matching that hold for any input."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from reconciliation_builders import DAY, booking, entry

from yinqi.kernel.money import Money
from yinqi.reconciliation.matcher import match_entries
from yinqi.reconciliation.model import Direction

facts = st.fixed_dictionaries(
    {
        "amount": st.sampled_from([Money("CNY", 100), Money("CNY", 200)]),
        "booking_date": st.sampled_from([DAY, DAY + timedelta(days=1)]),
        "direction": st.sampled_from(Direction),
        "instruction_id": st.sampled_from(["", "YQ1", "YQ2", "YQ3"]),
        "end_to_end_id": st.sampled_from(["", "E1", "E2"]),
        "account_servicer_reference": st.sampled_from(["", "S1", "S2"]),
        "counterparty_account": st.sampled_from(["", "6225", "6226"]),
        "counterparty_name": st.sampled_from(["", "甲", "乙"]),
    }
)
bookings = st.lists(facts, max_size=8).map(
    lambda rows: [booking(n, booking_id=f"B{n}", **row) for n, row in enumerate(rows)]
)
entries = st.lists(facts, max_size=8).map(lambda rows: [entry(n + 1, **row) for n, row in enumerate(rows)])


@given(bookings, entries)
def test_every_input_is_in_exactly_one_place(ours, theirs) -> None:
    result = match_entries(ours, theirs)
    seen_bookings = [m.booking.booking_id for m in result.matches]
    seen_bookings += [leftover.booking.booking_id for leftover in result.leftovers if leftover.booking]
    seen_entries = [m.entry.entry_id for m in result.matches]
    seen_entries += [leftover.entry.entry_id for leftover in result.leftovers if leftover.entry]
    assert sorted(seen_bookings) == sorted(b.booking_id for b in ours)
    assert sorted(seen_entries) == sorted(e.entry_id for e in theirs)


@given(bookings, entries)
def test_a_pair_never_differs_in_amount_or_direction(ours, theirs) -> None:
    for match in match_entries(ours, theirs).matches:
        assert match.booking.amount == match.entry.amount
        assert match.booking.direction is match.entry.direction


@given(bookings, entries, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(ours, theirs, random) -> None:
    expected = match_entries(ours, theirs)
    random.shuffle(ours)
    random.shuffle(theirs)
    shuffled = match_entries(ours, theirs)
    key = lambda m: (m.booking.booking_id, m.entry.entry_id, m.rule.value)  # noqa: E731
    assert sorted(map(key, shuffled.matches)) == sorted(map(key, expected.matches))
