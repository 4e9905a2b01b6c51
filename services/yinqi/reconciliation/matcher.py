"""The matching rule: reference first, then amount, date and counterparty where that is unique. It never guesses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from yinqi.reconciliation.model import Booking, BreakReason, Direction, Entry, Leftover, Match, MatchRule


@dataclass(frozen=True, slots=True)
class MatchResult:
    """Every booking and every entry of the input is in exactly one match or exactly one leftover."""

    matches: list[Match]
    leftovers: list[Leftover]


def match_entries(bookings: Sequence[Booking], entries: Sequence[Entry]) -> MatchResult:
    """Pair each booking with at most one entry of the same account.

    Rules, strongest first:
        1. same reference of ours (instruction id, else the bank's serial, else end-to-end id), direction and amount;
           a second entry with the same reference is never paired: it may be a double debit;
        2. same direction, amount, booking date and counterparty, if there is exactly one candidate on each side and
           the entry carries no reference of ours. Two candidates are AMBIGUOUS: a wrong pair is worse than none.
    Args:
        bookings: n bookings of one account and currency, any order.
        entries: m entries of the same account and currency, any order.
    Source: ISO 20022 camt.053 Ntry; bank-side references outrank amounts, because round amounts repeat
        (1 % of payments in a month share amount and date with another).
    """
    matches: list[Match] = []
    open_bookings = {b.booking_id: b for b in sorted(bookings, key=lambda b: (b.booking_date, b.booking_id))}
    open_entries = {e.entry_id: e for e in sorted(entries, key=lambda e: (e.booking_date, e.entry_id))}
    for key in (_instruction_key, _serial_key, _end_to_end_key):
        _pair_by_reference(open_bookings, open_entries, key, matches)
    differing = _same_reference_other_amount(open_bookings, open_entries)
    ambiguous = _pair_where_unique(open_bookings, open_entries, matches)
    leftovers = [*differing, *_leftovers(open_bookings.values(), open_entries.values(), ambiguous)]
    return MatchResult(matches, leftovers)


Key = Callable[[Booking | Entry], Hashable | None]


def _instruction_key(item: Booking | Entry) -> Hashable | None:
    return (item.direction, item.instruction_id) if item.instruction_id else None


def _serial_key(item: Booking | Entry) -> Hashable | None:
    serial = item.account_servicer_reference
    return (item.direction, item.booking_date, serial) if serial else None


def _end_to_end_key(item: Booking | Entry) -> Hashable | None:
    return (item.direction, item.end_to_end_id) if item.end_to_end_id else None


def _pair_by_reference(bookings: dict[str, Booking], entries: dict[int, Entry], key: Key, matches: list[Match]) -> None:
    candidates: dict[tuple[Hashable, int], list[Entry]] = defaultdict(list)
    for entry in entries.values():
        if (reference := key(entry)) is not None:
            candidates[reference, entry.amount.minor_units].append(entry)
    for booking in list(bookings.values()):
        if (reference := key(booking)) is None:
            continue
        if found := candidates.get((reference, booking.amount.minor_units)):
            _take(bookings, entries, booking, found.pop(0), MatchRule.REFERENCE, matches)


def _take(
    bookings: dict[str, Booking],
    entries: dict[int, Entry],
    booking: Booking,
    entry: Entry,
    rule: MatchRule,
    matches: list[Match],
) -> None:
    matches.append(Match(rule, booking, entry))
    del bookings[booking.booking_id]
    del entries[entry.entry_id]


def _same_reference_other_amount(bookings: dict[str, Booking], entries: dict[int, Entry]) -> list[Leftover]:
    by_reference = {key: booking for booking in bookings.values() if (key := _instruction_key(booking)) is not None}
    found: list[Leftover] = []
    for entry in list(entries.values()):
        key = _instruction_key(entry)
        booking = by_reference.pop(key, None) if key is not None else None
        if booking is not None:
            found.append(Leftover(BreakReason.AMOUNT_DIFFERS, booking, entry))
            del bookings[booking.booking_id]
            del entries[entry.entry_id]
    return found


def _counterparty(item: Booking | Entry) -> str:
    return item.counterparty_account.replace(" ", "") or "".join(item.counterparty_name.split()).casefold()


def _likeness(item: Booking | Entry) -> Hashable | None:
    counterparty = _counterparty(item)
    return (item.direction, item.amount.minor_units, item.booking_date, counterparty) if counterparty else None


def _pair_where_unique(bookings: dict[str, Booking], entries: dict[int, Entry], matches: list[Match]) -> set[Hashable]:
    """Pair what is alike and alone; return the likenesses that had several candidates on a side."""
    alike_bookings: dict[Hashable, list[Booking]] = defaultdict(list)
    alike_entries: dict[Hashable, list[Entry]] = defaultdict(list)
    for booking in bookings.values():
        if (likeness := _likeness(booking)) is not None:
            alike_bookings[likeness].append(booking)
    for entry in entries.values():
        if not entry.instruction_id and (likeness := _likeness(entry)) is not None:
            alike_entries[likeness].append(entry)
    ambiguous: set[Hashable] = set()
    for likeness in alike_bookings.keys() & alike_entries.keys():
        ours, theirs = alike_bookings[likeness], alike_entries[likeness]
        if len(ours) == 1 and len(theirs) == 1:
            _take(bookings, entries, ours[0], theirs[0], MatchRule.AMOUNT_DATE_COUNTERPARTY, matches)
        else:
            ambiguous.add(likeness)
    return ambiguous


def _leftovers(bookings: Iterable[Booking], entries: Iterable[Entry], ambiguous: set[Hashable]) -> Iterable[Leftover]:
    for booking in bookings:
        yield Leftover(_reason_of_booking(booking, ambiguous), booking, None)
    for entry in entries:
        yield Leftover(_reason_of_entry(entry, ambiguous), None, entry)


def _reason_of_booking(booking: Booking, ambiguous: set[Hashable]) -> BreakReason:
    if _likeness(booking) in ambiguous:
        return BreakReason.AMBIGUOUS
    if booking.direction is Direction.DEBIT:
        return BreakReason.BOOK_DEBIT_NOT_AT_BANK
    return BreakReason.BOOK_CREDIT_NOT_AT_BANK


def _reason_of_entry(entry: Entry, ambiguous: set[Hashable]) -> BreakReason:
    if not entry.instruction_id and _likeness(entry) in ambiguous:
        return BreakReason.AMBIGUOUS
    if entry.direction is Direction.DEBIT:
        return BreakReason.BANK_DEBIT_NOT_IN_BOOKS
    return BreakReason.BANK_CREDIT_NOT_IN_BOOKS
