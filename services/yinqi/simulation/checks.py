"""What must hold at every moment of a story, read from what is durable; each check names what broke."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from math import inf
from typing import Any, NamedTuple

from yinqi.account.ledger import available, held
from yinqi.payment.status import FINAL, TRANSITIONS
from yinqi.simulation.store import Disk

_FINALS = frozenset(str(status) for status in FINAL)
_MOVES = frozenset((str(before), str(after)) for (before, _), after in TRANSITIONS.items())
_HELD = frozenset({"SUBMITTING", "PROCESSING", "UNKNOWN"})
_NEVER_SENT = frozenset(
    {"RECEIVED", "SCREENED", "SCHEDULED", "CANCELLED", "BLOCKED", "EXPIRED", "AWAITING_APPROVAL", "APPROVED"}
)
_FAILED_FLAGS = frozenset({"F", "R", "D", "C"})


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise."""

    invariant: str
    text: str


_STOP_S = 1.0  # so long after its pull a stop must hold


@dataclass(slots=True)
class HeldScope:
    """A stop as people know it: the accounts it holds, since when they heard so, and when they began to lift it."""

    accounts: frozenset[str]
    since_s: float
    until_s: float = inf


@dataclass(slots=True)
class Notebook:
    """What the world saw from outside: answers to operators, and bytes that left for the bank.

    Attributes:
        accepted: end_to_end_id to the instruction_id that was acknowledged.
        left: submissions that left for the bank, by reference. left_at_s: when the last of them did.
        stops: by id.
        broken: violations seen on the spot.
    """

    accepted: dict[str, str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    left: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    left_at_s: dict[str, float] = field(default_factory=dict)
    stops: dict[str, HeldScope] = field(default_factory=dict)
    broken: list[Violation] = field(default_factory=list)


class Event(NamedTuple):
    """One line of the payment journal."""

    sequence: int
    instruction_id: str
    type: str
    from_status: str | None
    to_status: str
    reason: str


class Owed(NamedTuple):
    """A payment as our book has it."""

    instruction_id: str
    end_to_end_id: str
    status: str
    account: str
    minor_units: int
    next_action_at: Any
    contradiction: str


@dataclass(slots=True)
class AtBank:
    """A reference as the bank's own book has it; `is_live`: received and not finally failed."""

    account: str = ""
    records: int = 0
    is_live: bool = False
    is_returned: bool = False
    is_open: bool = False
    debits: int = 0
    credits: int = 0
    net: int = 0


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything the checks look at, read once."""

    payments: Mapping[str, Owed]
    events: list[Event]
    bank: Mapping[str, AtBank]
    notebook: Notebook
    account: Disk
    reconciliation: Disk


def take_picture(
    payment: Disk, account: Disk, reconciliation: Disk, bank: sqlite3.Connection, notebook: Notebook
) -> Picture:
    """Read what is durable everywhere."""
    payments = payment.raw.execute(
        "SELECT instruction_id, end_to_end_id, status, debtor_account, amount_minor_units, next_action_at, contradiction"
        " FROM payments"
    )
    events = payment.raw.execute(
        "SELECT sequence, instruction_id, type, from_status, to_status, reason_code FROM payment_events ORDER BY sequence"
    )
    return Picture(
        {row[0]: Owed._make(row) for row in payments},
        list(map(Event._make, events)),
        take_bank(bank),
        notebook,
        account,
        reconciliation,
    )


def take_bank(book: sqlite3.Connection) -> dict[str, AtBank]:
    """Return what the bank's own book says of each reference."""
    found: defaultdict[str, AtBank] = defaultdict(AtBank)
    query = "SELECT reference, status, return_flag, debtor_account FROM payments"
    for reference, status, flag, account in book.execute(query):
        at_bank = found[reference]
        at_bank.account = account
        at_bank.records += 1
        at_bank.is_live |= not (status == "FIN" and flag in _FAILED_FLAGS)
        at_bank.is_open |= status != "FIN"
        at_bank.is_returned |= flag == "B"
    for reference, amount in book.execute(
        "SELECT reference, amount FROM entries WHERE reference <> '' AND account NOT LIKE 'CLEARING-%'"
    ):
        at_bank = found[reference]
        at_bank.debits += amount < 0
        at_bank.credits += amount > 0
        at_bank.net += amount
    return found


def check(picture: Picture) -> Violation | None:
    """Return the first promise that is broken now, None if all hold."""
    if picture.notebook.broken:
        return picture.notebook.broken[0]
    for rule in _ALWAYS:
        for text in rule(picture):
            return Violation(rule.__name__.strip("_").replace("_", " "), text)
    return None


def check_end(picture: Picture) -> Violation | None:
    """Return the first promise that is broken once faults have ended and all had its time."""
    for rule in _AT_THE_END:
        for text in rule(picture):
            return Violation(rule.__name__.strip("_").replace("_", " "), text)
    return None


# --- always ---------------------------------------------------------------------------------------------------------


def _no_double_debit(picture: Picture) -> Iterator[str]:
    for reference, at_bank in picture.bank.items():
        if at_bank.debits > 1:
            yield f"the bank debited {reference} {at_bank.debits} times"
        payment = picture.payments.get(reference)
        if payment is None and at_bank.records:
            yield f"the bank has {reference}, which our book does not know"
        elif payment and at_bank.debits == 1 and not at_bank.credits and at_bank.net != -payment.minor_units:
            yield f"the bank debited {-at_bank.net} for {reference}, we ordered {payment.minor_units}"


def _no_resend_without_permit(picture: Picture) -> Iterator[str]:
    permits: defaultdict[str, int] = defaultdict(int)
    for event in picture.events:
        permits[event.instruction_id] += event.type == "payment.submitting" and event.reason == "RESEND_PERMIT"
    for reference, times in picture.notebook.left.items():
        if times > 1 + permits[reference]:
            yield f"{reference} left {times} times with {permits[reference]} permits"


def _nothing_leaves_for_a_stopped_scope(picture: Picture) -> Iterator[str]:
    """What is in the bank's book did not leave us while its account was stopped, longer than a second."""
    for stop_id, stop in picture.notebook.stops.items():
        for reference, left_s in picture.notebook.left_at_s.items():
            at_bank = picture.bank.get(reference)
            if at_bank is None or at_bank.account not in stop.accounts:
                continue
            if stop.since_s + _STOP_S < left_s < stop.until_s:
                yield f"{reference} left {left_s - stop.since_s:.1f} s after people heard that {stop_id} stops its account"


def _nothing_accepted_is_lost(picture: Picture) -> Iterator[str]:
    for end_to_end_id, instruction_id in picture.notebook.accepted.items():
        payment = picture.payments.get(instruction_id)
        if payment is None or payment.end_to_end_id != end_to_end_id:
            yield f"{end_to_end_id} was accepted as {instruction_id}, which is not in the book"
        elif end_to_end_id in picture.notebook.cancelled and payment.status != "CANCELLED":
            yield f"{end_to_end_id} was cancelled and is {payment.status}"


def _the_journal_chains(picture: Picture) -> Iterator[str]:
    status: dict[str, str] = {}
    for place, event in enumerate(picture.events, 1):
        if event.sequence != place:
            yield f"sequence {event.sequence} stands at place {place}"
        before = status.get(event.instruction_id)
        if event.from_status != before:
            yield f"{event.instruction_id} was {before}, its event {event.sequence} begins at {event.from_status}"
        if before not in (None, event.to_status) and (before, event.to_status) not in _MOVES:
            yield f"{event.instruction_id} went from {before} to {event.to_status}"
        status[event.instruction_id] = event.to_status
    for payment in picture.payments.values():
        if status.get(payment.instruction_id) != payment.status:
            yield (
                f"{payment.instruction_id} is {payment.status}, its journal ends with {status.get(payment.instruction_id)}"
            )


def _the_status_is_true(picture: Picture) -> Iterator[str]:
    nothing = AtBank()
    for payment in picture.payments.values():
        at_bank = picture.bank.get(payment.instruction_id, nothing)
        if payment.status == "SETTLED" and at_bank.debits != 1:
            yield f"{payment.instruction_id} is SETTLED, the bank did not debit it"
        elif payment.status == "RETURNED" and (at_bank.debits, at_bank.credits) != (1, 1):
            yield f"{payment.instruction_id} is RETURNED, the bank did not give it back"
        elif payment.status == "REJECTED" and at_bank.is_live:
            yield f"{payment.instruction_id} is REJECTED, the bank has it and may pay or has paid it"
        elif payment.status in _NEVER_SENT and at_bank.records:
            yield f"{payment.instruction_id} is {payment.status}, the bank has it"


def _every_payment_is_final_or_owned(picture: Picture) -> Iterator[str]:
    for payment in picture.payments.values():
        if payment.status not in _FINALS and payment.next_action_at is None and not payment.contradiction:
            yield f"{payment.instruction_id} is {payment.status} and nobody will act on it"


def _each_event_takes_effect_once(picture: Picture) -> Iterator[str]:
    """What the account service booked is what the payment events up to its cursor mean, once each."""
    cursor = _cursor(picture.account, "payment")
    wanted: dict[str, str] = {}
    for event in picture.events:
        if event.sequence <= cursor:
            wanted[event.instruction_id] = _standing(event.to_status)
    if cursor > len(picture.events):
        yield f"the account service followed to {cursor}, there are {len(picture.events)} events"
    found = dict(picture.account.raw.execute("SELECT instruction_id, standing FROM payment_standings"))
    for instruction_id, standing in wanted.items():
        if found.get(instruction_id, "available") != standing:
            yield f"{instruction_id} should stand {standing} in the ledger, it stands {found.get(instruction_id)}"
    for instruction_id, standing in found.items():
        if instruction_id not in wanted and standing != "available":
            yield f"{instruction_id} stands {standing} in the ledger, its events did not reach it"


def _bookings_to_reconcile_are_complete(picture: Picture) -> Iterator[str]:
    cursor = _cursor(picture.reconciliation, "payment")
    wanted: dict[str, int] = {}
    for event in picture.events:
        if event.sequence <= cursor and event.to_status in ("SETTLED", "RETURNED"):
            wanted[event.instruction_id] = max(wanted.get(event.instruction_id, 0), 1 + (event.to_status == "RETURNED"))
    found = dict(
        picture.reconciliation.raw.execute("SELECT instruction_id, count(*) FROM bookings GROUP BY instruction_id")
    )
    if found != wanted:
        different = sorted(set(found.items()) ^ set(wanted.items()))[0][0]
        yield f"{different} has {found.get(different, 0)} bookings to reconcile, its events make {wanted.get(different, 0)}"
    cursor = _cursor(picture.reconciliation, "account")
    entries = picture.account.raw.execute("SELECT count(*) FROM statement_entries WHERE sequence <= ?", (cursor,))
    known = picture.reconciliation.raw.execute("SELECT count(*) FROM entries")
    if (wanted_count := entries.fetchone()[0]) != (found_count := known.fetchone()[0]):
        yield f"reconciliation knows {found_count} statement entries of {wanted_count}"


def _the_ledger_balances(picture: Picture) -> Iterator[str]:
    execute = picture.account.raw.execute
    for currency, minor_units in execute("SELECT currency, sum(minor_units) FROM ledger_postings GROUP BY 1"):
        if minor_units:
            yield f"all postings in {currency} sum to {minor_units}"
    posted = dict(execute("SELECT ledger_account, sum(minor_units) FROM ledger_postings GROUP BY 1"))
    for name, minor_units in execute("SELECT ledger_account, sum(minor_units) FROM ledger_balances GROUP BY 1"):
        if minor_units != posted.get(name, 0):
            yield f"{name} runs at {minor_units}, its postings sum to {posted.get(name, 0)}"
    promised: defaultdict[str, int] = defaultdict(int)
    for account, minor_units in execute("SELECT account, minor_units FROM payment_standings WHERE standing = 'held'"):
        promised[held(account)] += minor_units
    for name, minor_units in posted.items():
        if name.endswith(":held") and minor_units != promised.get(name, 0):
            yield f"{name} holds {minor_units}, its payments hold {promised.get(name, 0)}"


_ALWAYS: tuple[Callable[[Picture], Iterator[str]], ...] = (
    _no_double_debit,
    _no_resend_without_permit,
    _nothing_leaves_for_a_stopped_scope,
    _nothing_accepted_is_lost,
    _the_journal_chains,
    _the_status_is_true,
    _every_payment_is_final_or_owned,
    _each_event_takes_effect_once,
    _bookings_to_reconcile_are_complete,
    _the_ledger_balances,
)


def _cursor(disk: Disk, name: str) -> int:
    row = disk.raw.execute("SELECT sequence FROM feed_cursor WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _standing(status: str) -> str:
    if status in _HELD:
        return "held"
    return {"SETTLED": "paid", "RETURNED": "returned"}.get(status, "available")


# --- at the end -----------------------------------------------------------------------------------------------------


def is_quiet(picture: Picture) -> bool:
    """Whether nothing is left to do: payments final, feeds followed."""
    return all(p.status in _FINALS for p in picture.payments.values()) and _is_followed(picture)


def returns_are_known(picture: Picture) -> bool:
    """Whether every payment that the bank gave back is RETURNED here, and everybody knows."""
    given_back = (p for p in picture.payments.values() if _is_returned(picture, p.instruction_id))
    return all(p.status == "RETURNED" for p in given_back) and _is_followed(picture)


def accounts_are_open(picture: Picture, count: int) -> bool:
    """Whether the ledger of so many accounts has begun, with the balance that the bank had then."""
    found = picture.account.raw.execute("SELECT count(*) FROM accounts WHERE opened_on IS NOT NULL").fetchone()[0]
    return int(found) >= count


def days_are_read(picture: Picture, days: Collection[date]) -> bool:
    """Whether the bank's statements of these days are here for every account, proven complete and final."""
    wanted = picture.account.raw.execute("SELECT count(*) FROM accounts").fetchone()[0] * len(days)
    found = picture.account.raw.execute("SELECT count(*) FROM statements WHERE is_final AND flaw = ''").fetchone()[0]
    return int(found) >= int(wanted)


def _is_followed(picture: Picture) -> bool:
    last = picture.events[-1].sequence if picture.events else 0
    entries = picture.account.raw.execute("SELECT coalesce(max(sequence), 0) FROM statement_entries").fetchone()[0]
    return (
        _cursor(picture.account, "payment") == last
        and _cursor(picture.reconciliation, "payment") == last
        and _cursor(picture.reconciliation, "account") == entries
    )


def _is_returned(picture: Picture, reference: str) -> bool:
    at_bank = picture.bank.get(reference)
    return at_bank is not None and at_bank.is_returned


def _all_came_to_an_end(picture: Picture) -> Iterator[str]:
    for payment in picture.payments.values():
        at_bank = picture.bank.get(payment.instruction_id, AtBank())
        if payment.contradiction:  # this bank never contradicts itself
            yield f"{payment.instruction_id} is {payment.status}, and took a word {payment.contradiction} for wrong"
        elif payment.status not in _FINALS:
            yield f"{payment.instruction_id} is still {payment.status}; the bank's book: {at_bank}"
        elif at_bank.is_returned and payment.status != "RETURNED":
            yield f"{payment.instruction_id} came back at the bank and is {payment.status} here"
        elif at_bank.debits and not at_bank.credits and payment.status != "SETTLED":
            yield f"{payment.instruction_id} was debited and is {payment.status} here"
    if not _is_followed(picture):
        yield "a follower did not catch up"


def _holds_return(picture: Picture) -> Iterator[str]:
    for name, minor_units in picture.account.raw.execute(
        "SELECT ledger_account, minor_units FROM ledger_balances WHERE ledger_account LIKE '%:held'"
    ):
        if minor_units:
            yield f"{name} still holds {minor_units}"


def books_agree(picture: Picture, bank: sqlite3.Connection) -> Violation | None:
    """Return where our ledger and the bank's book differ once nothing is under way."""
    ours = dict(
        picture.account.raw.execute("SELECT ledger_account, minor_units FROM ledger_balances WHERE currency = 'CNY'")
    )
    for account, booked in bank.execute("SELECT account, booked FROM accounts WHERE owner = 'company'"):
        if ours.get(available(account)) != booked:
            text = f"account …{account[-4:]}: the bank has {booked}, our ledger {ours.get(available(account))}"
            return Violation("our book is the bank's book", text)
    return None


_AT_THE_END: tuple[Callable[[Picture], Iterator[str]], ...] = (_all_came_to_an_end, _holds_return)
