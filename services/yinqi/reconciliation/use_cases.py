"""What reconciliation does, one function per verb; each runs in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

from yinqi.kernel.errors import FailedPrecondition, InvalidRequest, NotFound
from yinqi.kernel.ids import IdSource
from yinqi.reconciliation.adjustment import adjust_balances, outstanding_bookings, outstanding_entries
from yinqi.reconciliation.matcher import match_entries
from yinqi.reconciliation.model import (
    BalanceAdjustment,
    Break,
    BreakStatus,
    DayBalances,
    Leftover,
    Match,
    Reconciliation,
)
from yinqi.reconciliation.ports import UnitOfWork

RESOLUTION_LENGTH_MAX = 500


def reconcile_day(
    account: str, on: date, balances: DayBalances, *, now: datetime, ids: IdSource, unit_of_work: UnitOfWork
) -> tuple[Reconciliation, list[Match]]:
    """Pair what can be paired up to and including a day, open breaks for the rest, and draw the day's table.

    Older leftovers take part again: an entry that comes days late still finds its booking, and its break is cleared.

    Returns:
        The run, stored as the day's latest, and the pairs found by this run.
    """
    books = unit_of_work.books
    result = match_entries(books.unmatched_bookings(account, on), books.unmatched_entries(account, on))
    [run_id] = ids.new_ids("RC", 1)
    books.add_matches(run_id, result.matches)
    _update_breaks(account, on, result.leftovers, now, ids, unit_of_work)
    reconciliation = _summary(run_id, account, on, balances, result.leftovers, now, unit_of_work)
    unit_of_work.runs.add(reconciliation)
    return reconciliation, result.matches


def _update_breaks(
    account: str, on: date, leftovers: Sequence[Leftover], now: datetime, ids: IdSource, unit_of_work: UnitOfWork
) -> None:
    known = {(b.booking_id, b.entry_id): b for b in unit_of_work.breaks.open_of(account, on)}
    found = {_key(leftover): leftover for leftover in leftovers}
    fresh = [leftover for key, leftover in found.items() if key not in known]
    new_ids = ids.new_ids("BK", len(fresh))
    unit_of_work.breaks.add([_new_break(i, leftover, now) for i, leftover in zip(new_ids, fresh, strict=True)])
    gone = [replace(b, status=BreakStatus.CLEARED, resolved_at=now) for key, b in known.items() if key not in found]
    unit_of_work.breaks.set_status(gone, "break.cleared")
    changed = [
        replace(b, reason=found[key].reason)
        for key, b in known.items()
        if key in found and found[key].reason is not b.reason
    ]
    unit_of_work.breaks.set_status(changed, "break.changed")


def _key(leftover: Leftover) -> tuple[str, int]:
    return (
        leftover.booking.booking_id if leftover.booking else "",
        leftover.entry.entry_id if leftover.entry else 0,
    )


def _new_break(break_id: str, leftover: Leftover, now: datetime) -> Break:
    subject = leftover.subject
    booking_id, entry_id = _key(leftover)
    return Break(
        break_id=break_id,
        account=subject.account,
        date=subject.booking_date,
        reason=leftover.reason,
        amount=subject.amount,
        direction=subject.direction,
        booking_id=booking_id,
        entry_id=entry_id,
        instruction_id=subject.instruction_id,
        account_servicer_reference=subject.account_servicer_reference,
        counterparty_name=subject.counterparty_name,
        description=_describe(leftover),
        status=BreakStatus.OPEN,
        opened_at=now,
    )


def _describe(leftover: Leftover) -> str:
    if leftover.booking and leftover.entry:
        return f"books: {leftover.booking.amount}; bank: {leftover.entry.amount}"
    return leftover.entry.description if leftover.entry else ""


def _summary(
    run_id: str,
    account: str,
    on: date,
    balances: DayBalances,
    leftovers: Sequence[Leftover],
    now: datetime,
    unit_of_work: UnitOfWork,
) -> Reconciliation:
    booking_count, entry_count = unit_of_work.books.count_day(account, on)
    by_reference, by_amount = unit_of_work.books.count_matches(account, on)
    return Reconciliation(
        run_id=run_id,
        account=account,
        date=on,
        ran_at=now,
        booking_count=booking_count,
        entry_count=entry_count,
        reference_match_count=by_reference,
        amount_match_count=by_amount,
        break_count=sum(b.status is BreakStatus.OPEN for b in unit_of_work.breaks.open_of(account, on)),
        is_statement_complete=balances.bank is not None,
        balance_adjustment=_adjustment(account, on, balances, leftovers, unit_of_work),
    )


def _adjustment(
    account: str, on: date, balances: DayBalances, leftovers: Sequence[Leftover], unit_of_work: UnitOfWork
) -> BalanceAdjustment:
    across = unit_of_work.books.matched_across(account, on)
    bookings = outstanding_bookings(
        on, (item.booking for item in leftovers if item.booking), ((b, e.booking_date) for b, e in across)
    )
    entries = outstanding_entries(
        on, (item.entry for item in leftovers if item.entry), ((e, b.booking_date) for b, e in across)
    )
    bank = balances.bank if balances.bank is not None else replace(balances.book, minor_units=0)
    return adjust_balances(bank, balances.book, bookings, entries)


def resolve_break(break_id: str, resolution: str, by: str, *, now: datetime, unit_of_work: UnitOfWork) -> Break:
    """Record a person's explanation.

    Raises:
        InvalidRequest: no words, or over RESOLUTION_LENGTH_MAX characters. NotFound: no such break.
        FailedPrecondition: it is not open any more.
    """
    if not 1 <= len(resolution.strip()) <= RESOLUTION_LENGTH_MAX:
        raise InvalidRequest(
            "RESOLUTION_LENGTH",
            f"resolution must have 1 to {RESOLUTION_LENGTH_MAX} characters",
            f"处理说明须为 1 至 {RESOLUTION_LENGTH_MAX} 字",
        )
    found = unit_of_work.breaks.get(break_id)
    if found is None:
        raise NotFound("BREAK_NOT_FOUND", f"no break has the id {break_id[:40]!r}", "找不到该差异")
    if found.status is not BreakStatus.OPEN:
        raise FailedPrecondition("BREAK_NOT_OPEN", f"the break is {found.status.value} already", "该差异已处理")
    resolved = replace(
        found, status=BreakStatus.RESOLVED, resolution=resolution.strip(), resolved_by=by, resolved_at=now
    )
    unit_of_work.breaks.set_status([resolved], "break.resolved")
    return resolved
