"""What was answered against what is stored: the judge of a crash. It reads files alone, and changes none."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.evidence.crash.child import Fact
from tests.evidence.crash.paths import BATCH, is_break

from yinqi.simulation import checks


@dataclass(slots=True)
class Verdict:
    """What a comparison found; empty lists are what is promised."""

    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Take another's findings in."""
        self.acknowledged += other.acknowledged
        self.lost += other.lost
        self.twice += other.twice
        self.broken += other.broken

    @property
    def faults(self) -> list[str]:
        """All that must not be."""
        return [*self.lost, *self.twice, *self.broken]


def opened(path: Path) -> closing[sqlite3.Connection]:
    """Open a store for reading only: its WAL is left to whoever comes after the crash."""
    return closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30))


def judge(folder: Path, facts: Iterable[Fact], *, at_end: bool = False) -> Verdict:
    """Compare all that was said by processes on this folder with its stores; `at_end`: all work was finished."""
    facts = list(facts)
    if (folder / "reconciliation.db").exists():
        return _judge_reconciliation(folder, facts)
    return _judge_payments(folder, facts, at_end=at_end)


# --- payments -------------------------------------------------------------------------------------------------------


def _judge_payments(folder: Path, facts: list[Fact], *, at_end: bool) -> Verdict:
    verdict = Verdict(sum(fact[0] in ("accepted", "status", "notice") for fact in facts))
    with opened(folder / "payment.db") as payment, opened(folder / "gateway.db") as gateway:
        with opened(folder / "bank.db") as bank:
            picture = _picture(payment, bank, facts)
        verdict.lost += [*checks._nothing_accepted_is_lost(picture), *_statuses_lost(picture, facts)]
        verdict.lost += _notices_lost(gateway, facts)
        verdict.twice += [*checks._no_double_debit(picture), *checks._no_resend_without_permit(picture)]
        verdict.twice += [*_answered_differently(facts), *_effects_twice(picture)]
        verdict.broken += [*checks._the_journal_chains(picture), *checks._the_status_is_true(picture)]
        verdict.broken += [*checks._every_payment_is_final_or_owned(picture), *_half_stored(payment)]
        verdict.broken += [*_sent_without_record(picture, gateway), *_integrity(payment), *_integrity(gateway)]
    verdict.broken += [f"stuck: {fact[1:]}" for fact in facts if fact[0] == "stuck"]
    if at_end:
        verdict.broken += _unfinished(picture)
    return verdict


def _picture(payment: sqlite3.Connection, bank: sqlite3.Connection, facts: list[Fact]) -> checks.Picture:
    notebook = checks.Notebook(accepted={fact[1]: fact[2] for fact in facts if fact[0] == "accepted"})
    for table in ("payments", "duplicates"):
        for (reference,) in bank.execute(f"SELECT reference FROM {table}"):
            notebook.left[reference] += 1
    payments = payment.execute(
        "SELECT instruction_id, end_to_end_id, status, debtor_account, amount_minor_units, next_action_at, contradiction"
        " FROM payments"
    )
    events = payment.execute(
        "SELECT sequence, instruction_id, type, from_status, to_status, reason_code FROM payment_events ORDER BY sequence"
    )
    nothing: Any = None
    return checks.Picture(
        {row[0]: checks.Owed(*row) for row in payments},
        [checks.Event(*row) for row in events],
        checks.take_bank(bank),
        notebook,
        nothing,
        nothing,
    )


def _statuses_lost(picture: checks.Picture, facts: list[Fact]) -> Iterator[str]:
    """A status that a caller was told is in the journal."""
    keys = {payment.end_to_end_id: payment.instruction_id for payment in picture.payments.values()}
    reached = {(event.instruction_id, event.to_status) for event in picture.events}
    for _, key, status in (fact for fact in facts if fact[0] == "status"):
        if (keys.get(key, ""), status) not in reached:
            yield f"{key} was told to be {status}, its journal does not have it"


def _notices_lost(gateway: sqlite3.Connection, facts: list[Fact]) -> Iterator[str]:
    """A notice that was acknowledged to the bank is recorded: the bank does not send it again."""
    known = {number for (number,) in gateway.execute("SELECT number FROM gateway_notices")}
    for _, number in (fact for fact in facts if fact[0] == "notice"):
        if number not in known:
            yield f"notice {number} was acknowledged and is not recorded"


def _answered_differently(facts: list[Fact]) -> Iterator[str]:
    """A repeat gets the first answer, in whatever life."""
    first: dict[str, str] = {}
    for _, key, instruction_id in (fact for fact in facts if fact[0] == "accepted"):
        if first.setdefault(key, instruction_id) != instruction_id:
            yield f"{key} was accepted as {first[key]} and as {instruction_id}"


def _effects_twice(picture: checks.Picture) -> Iterator[str]:
    """Each payment is accepted once and settles once."""
    for kind in ("RECEIVED", "SETTLED"):
        moves = Counter(
            event.instruction_id
            for event in picture.events
            if event.to_status == kind and event.from_status != event.to_status
        )
        yield from (f"{one} became {kind} {count} times" for one, count in moves.items() if count > 1)


def _half_stored(payment: sqlite3.Connection) -> Iterator[str]:
    """Key (with its hash and order), journal entry and outbox event are all there or none is; so are a call's lines."""
    keys = dict(payment.execute("SELECT instruction_id, end_to_end_id FROM payments"))
    whole = payment.execute("SELECT count(*) FROM payments WHERE length(request_hash) > 0 AND length(order_bytes) > 0")
    if whole.fetchone()[0] != len(keys):
        yield "a key is stored without its hash or its order"
    journal = {one for (one,) in payment.execute("SELECT instruction_id FROM payment_events WHERE from_status IS NULL")}
    yield from (f"{one} has its key and no journal entry" for one in keys.keys() - journal)
    yield from (f"{one} has a journal entry and no key" for one in journal - keys.keys())
    batches = Counter(match[1] for key in keys.values() if (match := re.fullmatch(rf"(.+)-b\d+of{BATCH}", key)))
    yield from (f"the call {name} left {count} of {BATCH} lines" for name, count in batches.items() if count != BATCH)


def _sent_without_record(picture: checks.Picture, gateway: sqlite3.Connection) -> Iterator[str]:
    """Written down before acted: what the bank has, the gateway's registry and archive and our journal had before."""
    claimed = Counter(one for (one,) in gateway.execute("SELECT instruction_id FROM gateway_attempts"))
    archived = {one for (one,) in gateway.execute("SELECT exchange_id FROM gateway_messages WHERE direction = 'SENT'")}
    intended = Counter(
        event.instruction_id
        for event in picture.events
        if event.to_status == "SUBMITTING" and event.from_status != "SUBMITTING"
    )
    # What was written off unsent has no message (D-080).
    for one, exchange in gateway.execute(
        "SELECT instruction_id, exchange_id FROM gateway_attempts WHERE state <> 'NOT_SENT'"
    ):
        if exchange not in archived:
            yield f"an attempt of {one} is claimed, its message is not in the archive"
    for one, times in picture.notebook.left.items():
        if times > claimed[one]:
            yield f"{one} reached the bank {times} times, the gateway's registry has {claimed[one]}"
    for one, times in claimed.items():
        if times > intended[one]:
            yield f"{one} was claimed {times} times at the gateway, the journal intended {intended[one]}"


def _unfinished(picture: checks.Picture) -> Iterator[str]:
    for payment in picture.payments.values():
        if payment.status != "SETTLED" or picture.bank[payment.instruction_id].debits != 1:
            yield f"{payment.instruction_id} ended {payment.status}; at the bank: {picture.bank.get(payment.instruction_id)}"


# --- reconciliation -------------------------------------------------------------------------------------------------


def _judge_reconciliation(folder: Path, facts: list[Fact]) -> Verdict:
    said = [fact for fact in facts if fact[0] == "run"]
    verdict = Verdict(len(said))
    with opened(folder / "reconciliation.db") as store:
        runs = {
            row[0]: tuple(map(str, row))
            for row in store.execute(
                "SELECT run_id, booking_count, entry_count, reference_match_count + amount_match_count, break_count FROM runs"
            )
        }
        verdict.lost += [f"run {fact[1]} was answered as {fact}" for fact in said if runs.get(fact[1]) != fact[1:]]
        verdict.twice += _twice(store)
        verdict.broken += [*_effects_incomplete(store), *_flags_false(store), *_integrity(store)]
    return verdict


def _twice(store: sqlite3.Connection) -> Iterator[str]:
    for query, words in (
        ("SELECT account || date FROM runs WHERE is_latest GROUP BY 1 HAVING count(*) > 1", "has two latest runs"),
        ("SELECT booking_id FROM matches GROUP BY 1 HAVING count(*) > 1", "is in two pairs"),
        (
            "SELECT break_id FROM reconciliation_events WHERE type = 'break.opened' GROUP BY 1 HAVING count(*) > 1",
            "was opened twice",
        ),
        ("SELECT run_id FROM reconciliation_events WHERE run_id <> '' AND break_id = '' GROUP BY 1 HAVING count(*) > 1",
         "was told twice"),
        (
            "SELECT entry_id || reason FROM breaks WHERE entry_id > 0 AND status = 'OPEN' GROUP BY 1 HAVING count(*) > 1",
            "is open in two breaks",
        ),
    ):  # fmt: skip
        yield from (f"{name} {words}" for (name,) in store.execute(query))


def _effects_incomplete(store: sqlite3.Connection) -> Iterator[str]:
    """The effect of each event up to the cursor is there, and of no later one."""
    cursors = dict(store.execute("SELECT name, sequence FROM feed_cursor"))
    for feed, query in (
        ("payment", "SELECT instruction_id FROM bookings"),
        ("account", "SELECT entry_id FROM entries"),
    ):
        found = sorted(int(str(one).removeprefix("PI")) for (one,) in store.execute(query))
        if found != list(range(1, cursors.get(feed, 0) + 1)):
            yield f"the feed {feed} is followed to {cursors.get(feed, 0)}, {len(found)} effects are there"


def _flags_false(store: sqlite3.Connection) -> Iterator[str]:
    for table, key in (("bookings", "booking_id"), ("entries", "entry_id")):
        query = f"SELECT {key} FROM {table} WHERE is_matched <> ({key} IN (SELECT {key} FROM matches))"
        yield from (
            f"{one} of {table} says it is matched, and is not, or the other way" for (one,) in store.execute(query)
        )
    for (one,) in store.execute("SELECT break_id FROM breaks EXCEPT SELECT break_id FROM reconciliation_events"):
        yield f"break {one} has no event"
    for (one,) in store.execute("SELECT run_id FROM runs EXCEPT SELECT run_id FROM reconciliation_events"):
        yield f"run {one} has no event"
    for (one,) in store.execute("SELECT entry_id FROM matches"):
        if is_break(one):
            yield f"entry {one} is matched, and belongs to nothing"


def _integrity(store: sqlite3.Connection) -> Iterator[str]:
    (found,) = store.execute("PRAGMA quick_check").fetchone()
    if found != "ok":
        yield f"the file is damaged: {found}"
