"""Scripted misbehaviour: which lines and messages a rule selects and what then happens (docs/sandbox-bank.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from yinqi.sandbox_bank.fields import parse_amount

LINE_ACTIONS = ("refuse", "suspicious", "return", "fee", "delay")
MESSAGE_ACTIONS = ("lose_answer", "lose_request", "late_request", "slow", "wrong_signature", "gateway_error")


@dataclass(frozen=True, slots=True)
class Line:
    """What a rule can see of one payment line; amount is the wire text."""

    function: str
    number: int
    reference: str
    batch_number: str
    debtor_account: str
    creditor_account: str
    creditor_name: str
    currency: str
    amount: str


@dataclass(frozen=True, slots=True)
class When:
    """Conditions of a rule; all that are given must hold. Globs as in a shell, case matters."""

    globs: Mapping[str, str] = field(default_factory=dict)
    functions: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    amount_min: int | None = None
    amount_max: int | None = None
    chance: float = 1.0

    @property
    def looks_at_lines(self) -> bool:
        """Whether any condition is about a line rather than about the message."""
        return bool(self.globs or self.lines or self.chance < 1) or (self.amount_min, self.amount_max) != (None, None)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: conditions, which of the selected ones it takes (nth, every, times), and its actions."""

    key: str
    name: str
    when: When
    nth: tuple[int, ...]
    every: int
    times: int | None
    actions: Mapping[str, Mapping[str, Any]]
    seed: int


@dataclass(slots=True)
class Counter:
    """How often a rule's conditions held, and how often it was applied; kept in the book."""

    seen: int = 0
    applied: int = 0


def take_line_actions(rules: Sequence[Rule], counters: dict[str, Counter], line: Line) -> dict[str, Mapping[str, Any]]:
    """The actions for one newly received line; the first rule with an action wins. Counts in `counters`."""
    chosen: dict[str, Mapping[str, Any]] = {}
    for rule in rules:
        actions = {name: rule.actions[name] for name in LINE_ACTIONS if name in rule.actions}
        if actions and _selects(rule, line) and _takes(rule, counters):
            chosen = {**actions, **chosen}
    return chosen


def take_message_actions(
    rules: Sequence[Rule], counters: dict[str, Counter], function: str, lines: Sequence[Line]
) -> dict[str, Mapping[str, Any]]:
    """The actions for one message; a rule about lines selects the message when it selects any line of it."""
    chosen: dict[str, Mapping[str, Any]] = {}
    for rule in rules:
        actions = {name: rule.actions[name] for name in MESSAGE_ACTIONS if name in rule.actions}
        if actions and _selects_message(rule, function, lines) and _takes(rule, counters):
            chosen = {**actions, **chosen}
    return chosen


def _selects_message(rule: Rule, function: str, lines: Iterable[Line]) -> bool:
    if rule.when.functions and function not in rule.when.functions:
        return False
    return not rule.when.looks_at_lines or any(_selects(rule, line) for line in lines)


def _selects(rule: Rule, line: Line) -> bool:
    when = rule.when
    if when.functions and line.function not in when.functions:
        return False
    if when.lines and line.number not in when.lines:
        return False
    if any(not fnmatchcase(getattr(line, name), glob) for name, glob in when.globs.items()):
        return False
    hundredths = parse_amount(line.amount) or 0
    if when.amount_min is not None and hundredths < when.amount_min:
        return False
    if when.amount_max is not None and hundredths > when.amount_max:
        return False
    return when.chance >= 1 or _chance(rule, line.reference) < when.chance


def _chance(rule: Rule, reference: str) -> float:
    """A number in [0, 1) fixed by seed, rule and reference, so that order and restarts change nothing."""
    digest = hashlib.sha256(f"{rule.seed}/{rule.name}/{reference}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _takes(rule: Rule, counters: dict[str, Counter]) -> bool:
    counter = counters.setdefault(rule.key, Counter())
    counter.seen += 1
    if rule.times is not None and counter.applied >= rule.times:
        return False
    if rule.nth and counter.seen not in rule.nth:
        return False
    if rule.every > 1 and counter.seen % rule.every:
        return False
    counter.applied += 1
    return True
