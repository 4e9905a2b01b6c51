"""Scripted misbehaviour: which lines, messages and notices a rule selects, and how often (docs/sandbox-bank.md)."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from yinqi.sandbox_bank.clock import china_time
from yinqi.sandbox_bank.fault_catalog import FAULTS, Scope
from yinqi.sandbox_bank.fields import parse_amount

Actions = dict[str, Mapping[str, Any]]
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Line:
    """What a rule can see of one payment line, of one asked reference or account, or of one notified record.

    amount: wire text. What a query or a notice does not carry is empty.
    """

    function: str
    number: int
    reference: str = ""
    batch_number: str = ""
    debtor_account: str = ""
    creditor_account: str = ""
    creditor_name: str = ""
    currency: str = ""
    amount: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a rule is asked, business time; elapsed since the script was loaded."""

    now_ms: int
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class When:
    """Conditions of a rule; all that are given must hold. Globs as in a shell, case matters.

    window: minutes of the day, first inclusive, last exclusive, over midnight when first > last.
    days: ISO dates and weekdays. Elapsed times in milliseconds of business time.
    """

    globs: Mapping[str, str] = field(default_factory=dict)
    functions: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    amount_min: int | None = None
    amount_max: int | None = None
    chance: float = 1.0
    window: tuple[int, int] | None = None
    days: tuple[str, ...] = ()
    elapsed_min_ms: int = 0
    elapsed_max_ms: int | None = None

    @property
    def looks_at_lines(self) -> bool:
        """Whether any condition is about a line rather than about the message."""
        return bool(self.globs or self.lines) or (self.amount_min, self.amount_max) != (None, None)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: conditions, which of the selected ones it takes (nth, every, times), and its faults by name."""

    key: str
    name: str
    when: When
    nth: tuple[int, ...]
    every: int
    times: int | None
    actions: Mapping[str, Mapping[str, Any]]
    seed: int

    @property
    def scopes(self) -> set[Scope]:
        """What its faults strike."""
        return {FAULTS[action].scope for action in self.actions}


@dataclass(slots=True)
class Counter:
    """How often a rule's conditions held, was applied, and drew a lot for a message; kept in the book."""

    seen: int = 0
    applied: int = 0
    drawn: int = 0


@dataclass(frozen=True, slots=True)
class Firing:
    """One fault that struck; subject: a reference, a request number or the number of a notice."""

    rule: str
    fault: str
    function: str
    subject: str


@dataclass(slots=True)
class Tally:
    """Counters of all rules and what fired, from one transaction of the book."""

    counters: dict[str, Counter] = field(default_factory=dict)
    fired: list[Firing] = field(default_factory=list)

    def take(self, rule: Rule, subject: Line, names: Iterable[str]) -> bool:
        """Count a rule whose conditions hold; whether it strikes this time."""
        counter = self.counters.setdefault(rule.key, Counter())
        counter.seen += 1
        if (
            (rule.times is not None and counter.applied >= rule.times)
            or (rule.nth and counter.seen not in rule.nth)
            or (rule.every > 1 and counter.seen % rule.every)
        ):
            return False
        counter.applied += 1
        self.fired += [Firing(rule.name, name, subject.function, subject.reference) for name in names]
        return True


def take_line_faults(rules: Sequence[Rule], tally: Tally, line: Line, moment: Moment, *, again: bool) -> Actions:
    """The faults for one received line; the first rule with a fault wins.

    again: the line's reference is used already; only `accept_duplicate` is asked for then, else all the others.
    """
    chosen: Actions = {}
    for rule in rules:
        found = {
            name: fields
            for name, fields in rule.actions.items()
            if FAULTS[name].scope == "line" and (name == "accept_duplicate") == again
        }
        if found and _in_time(rule.when, moment) and _selects(rule, line) and tally.take(rule, line, found):
            chosen = {**found, **chosen}
    return chosen


def take_message_faults(
    rules: Sequence[Rule], tally: Tally, scopes: set[Scope], message: Line, lines: Sequence[Line], moment: Moment
) -> Actions:
    """The faults for one message or notice; a rule about lines selects it when it selects any of its lines.

    message: its function and, as the reference, what it is listed by once a fault struck.
    """
    chosen: Actions = {}
    for rule in rules:
        found = {name: fields for name, fields in rule.actions.items() if FAULTS[name].scope in scopes}
        if (
            found
            and _in_time(rule.when, moment)
            and _selects_message(rule, message, lines)
            and _drawn(rule, tally)
            and tally.take(rule, message, found)
        ):
            chosen = {**found, **chosen}
    return chosen


def _in_time(when: When, moment: Moment) -> bool:
    if moment.elapsed_ms < when.elapsed_min_ms:
        return False
    if when.elapsed_max_ms is not None and moment.elapsed_ms >= when.elapsed_max_ms:
        return False
    if not when.window and not when.days:
        return True
    now = china_time(moment.now_ms)
    return _in_window(when.window, now) and (not when.days or not {_date(now), _weekday(now)}.isdisjoint(when.days))


def _in_window(window: tuple[int, int] | None, now: dt.datetime) -> bool:
    if window is None:
        return True
    first, last = window
    minute = now.hour * 60 + now.minute
    return first <= minute < last if first <= last else minute >= first or minute < last


def _date(now: dt.datetime) -> str:
    return now.date().isoformat()


def _weekday(now: dt.datetime) -> str:
    return WEEKDAYS[now.weekday()]


def _selects_message(rule: Rule, message: Line, lines: Iterable[Line]) -> bool:
    if rule.when.functions and message.function not in rule.when.functions:
        return False
    return not rule.when.looks_at_lines or any(_matches(rule.when, line) for line in lines)


def _selects(rule: Rule, line: Line) -> bool:
    when = rule.when
    if when.functions and line.function not in when.functions:
        return False
    return _matches(when, line) and (when.chance >= 1 or _lot(rule, line.reference) < when.chance)


def _matches(when: When, line: Line) -> bool:
    if when.lines and line.number not in when.lines:
        return False
    if any(not fnmatchcase(getattr(line, name), glob) for name, glob in when.globs.items()):
        return False
    if when.amount_min is None and when.amount_max is None:
        return True
    hundredths = parse_amount(line.amount) or 0
    return (when.amount_min or 0) <= hundredths and (when.amount_max is None or hundredths <= when.amount_max)


def _drawn(rule: Rule, tally: Tally) -> bool:
    """Draw for a message: each is a new lot, so that asking again may go well."""
    if rule.when.chance >= 1:
        return True
    counter = tally.counters.setdefault(rule.key, Counter())
    counter.drawn += 1
    return _lot(rule, f"#{counter.drawn}") < rule.when.chance


def _lot(rule: Rule, ticket: str) -> float:
    """A number in [0, 1) fixed by seed, rule and ticket (a line's reference), so that restarts change nothing."""
    digest = hashlib.sha256(f"{rule.seed}/{rule.name}/{ticket}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
