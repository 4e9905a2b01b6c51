"""Reading a fault script (TOML text or the same as JSON), with errors that name rule, field and line."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from yinqi.sandbox_bank.errors import ScriptError, ScriptProblem
from yinqi.sandbox_bank.fault_catalog import FAULTS, Field
from yinqi.sandbox_bank.faults import WEEKDAYS, Rule, When
from yinqi.sandbox_bank.fields import parse_amount
from yinqi.sandbox_bank.script_places import line_of

_GLOBS = {
    **{name: name for name in ("reference", "batch_number", "debtor_account", "creditor_account", "creditor_name")},
    **{"currency": "currency", "amount": "amount", "account": "debtor_account"},
}
_WHEN = (*_GLOBS, "function", "line", "amount_min", "amount_max", "chance", "time", "day", "elapsed_min", "elapsed_max")
_RULE = ("name", "when", "nth", "every", "times", *FAULTS)
_ENTRY = {"kind": "fee", "on_day": 0, "at": "now", "counterparty_name": "", "counterparty_account": "", "text": ""}
# Of these fields two decimals are asked, as on the wire.
_AMOUNTS = (("fee", "amount"), ("unbalanced", "amount"))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScheduledEntry:
    """A fee or incoming credit that the script books by itself; amount in hundredths, signed."""

    id: str
    account: str
    amount: int
    kind: str
    on_day: int
    at_day_end: bool
    counterparty_name: str
    counterparty_account: str
    text: str


@dataclass(frozen=True, slots=True)
class Script:
    """A whole fault script; loaded_ms is the business time at which it came into force."""

    rules: tuple[Rule, ...] = ()
    entries: tuple[ScheduledEntry, ...] = ()
    loaded_ms: int = 0

    def of(self, *scopes: str) -> tuple[Rule, ...]:
        """The rules with a fault of one of the scopes."""
        return tuple(rule for rule in self.rules if not rule.scopes.isdisjoint(scopes))


class _Wrong(Exception):
    """A field is wrong; where it stands is added by who knows."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field} {text}")
        self.field = field.rpartition(".")[2].rpartition(" ")[2]


def parse_script(text: str, *, seed: int | None = None) -> Script:
    """Read a script; empty text is an empty script.

    Args:
        seed: replaces the script's own, so that one script serves many runs.
    Raises:
        ScriptError: one problem for each rule or entry that is wrong: which, which field, what is allowed, on which line.
    """
    try:
        tree = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError as error:
        place = re.search(r"line (\d+)", str(error))
        line = int(place[1]) if place else len(text.splitlines())  # "at end of document"
        problem = ScriptProblem("the script", "", f"is neither TOML nor JSON: {error}", line)
        raise ScriptError([problem]) from None
    problems: list[ScriptProblem] = []
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(kind: str, number: int, name: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except _Wrong as wrong:
            problems.append(ScriptProblem(name, wrong.field, str(wrong), line_of(text, kind, number, wrong.field)))
            return None

    def whole_script() -> tuple[int, list[Any], list[Any]]:
        _only(tree, ("seed", "rule", "entry"), "the script")
        return _whole(tree.get("seed", 0), "seed", 2**63), _tables(tree, "rule"), _tables(tree, "entry")

    own_seed, raw_rules, raw_entries = read("", 0, "the script", whole_script) or (0, [], [])
    lot = own_seed if seed is None else seed
    rules = [
        read("rule", n, _name(raw, n), lambda raw=raw, n=n: _rule(raw, f"{digest}/{n}", n, lot))  # type: ignore[misc]
        for n, raw in enumerate(raw_rules, 1)
    ]
    entries = [
        read("entry", n, f"entry {n}", lambda raw=raw, n=n: _entry(raw, f"{digest}/{n}"))  # type: ignore[misc]
        for n, raw in enumerate(raw_entries, 1)
    ]
    if problems:
        raise ScriptError(problems)
    return Script(tuple(one for one in rules if one), tuple(one for one in entries if one))


def loaded_at(script: Script, at_ms: int) -> Script:
    """The script in force since an instant of business time."""
    return replace(script, loaded_ms=at_ms)


def _name(raw: Mapping[str, Any], number: int) -> str:
    return str(raw.get("name", f"rule {number}"))


def _rule(raw: Mapping[str, Any], key: str, number: int, seed: int) -> Rule:
    _only(raw, _RULE, "")
    actions = {name: _fault(name, raw[name]) for name in FAULTS if name in raw}
    if not actions:
        raise _Wrong("", f"no fault; allowed: {', '.join(FAULTS)}")
    scopes = {"message" if FAULTS[name].scope == "query" else FAULTS[name].scope for name in actions}
    if len(scopes) > 1:
        raise _Wrong(
            next(reversed(actions)),
            f"needs a rule of its own: faults of {' and '.join(f'{scope}s' for scope in sorted(scopes))} do not mix",
        )
    limits = [FAULTS[name].times for name in actions]
    times = raw.get("times", None if None in limits else 1)
    return Rule(
        key=key,
        name=_name(raw, number),
        when=_when(raw.get("when", {})),
        nth=_numbers(raw.get("nth", []), "nth"),
        every=_whole(raw.get("every", 1), "every"),
        times=None if times is None else _whole(times, "times"),
        actions=actions,
        seed=seed,
    )


def _when(raw: Any) -> When:
    _only(raw, _WHEN, "when")
    chance = raw.get("chance", 1.0)
    if isinstance(chance, bool) or not isinstance(chance, (int, float)) or not 0 <= chance <= 1:
        raise _Wrong("when.chance", "must be a number from 0 to 1")
    if "account" in raw and "debtor_account" in raw:
        raise _Wrong("when.account", "and debtor_account are the same; give one")
    return When(
        globs={_GLOBS[name]: _glob(raw[name], name) for name in _GLOBS if name in raw},
        functions=_texts(raw.get("function", []), "when.function"),
        lines=_numbers(raw.get("line", []), "when.line"),
        amount_min=_amount(raw["amount_min"], "when.amount_min") if "amount_min" in raw else None,
        amount_max=_amount(raw["amount_max"], "when.amount_max") if "amount_max" in raw else None,
        chance=float(chance),
        window=_window(raw["time"]) if "time" in raw else None,
        days=tuple(_day(one) for one in _listed(raw.get("day", []))),
        elapsed_min_ms=_seconds(raw.get("elapsed_min", 0), "when.elapsed_min"),
        elapsed_max_ms=_seconds(raw["elapsed_max"], "when.elapsed_max") if "elapsed_max" in raw else None,
    )


def _fault(name: str, raw: Any) -> dict[str, Any]:
    """Fill in defaults; `true` stands for all of them."""
    fields = FAULTS[name].fields
    given = {} if raw is True else raw
    if not isinstance(given, dict):
        raise _Wrong(name, "must be true or a table of its fields")
    _only(given, tuple(fields), name)
    return {label: _value(f"{name}.{label}", given.get(label, rule.default), rule) for label, rule in fields.items()}


def _value(where: str, value: Any, rule: Field) -> Any:
    if rule.choices and value not in rule.choices:
        raise _Wrong(where, f"must be one of {', '.join(rule.choices)}")
    if isinstance(rule.default, bool):
        if not isinstance(value, bool):
            raise _Wrong(where, "must be true or false")
    elif isinstance(rule.default, str):
        if not isinstance(value, str):
            raise _Wrong(where, "must be a text in quotes")
    elif isinstance(value, bool) or not isinstance(value, (int, float) if isinstance(rule.default, float) else int):
        raise _Wrong(where, "must be a number" if isinstance(rule.default, float) else "must be a whole number")
    elif not rule.least <= value <= rule.most:  # Also false for nan.
        raise _Wrong(where, f"must be a number from {rule.least} to {rule.most}")
    if tuple(where.split(".")) in _AMOUNTS:
        _amount(value, where)
    return value


def _entry(raw: Mapping[str, Any], key: str) -> ScheduledEntry:
    _only(raw, ("account", "amount", *_ENTRY), "")
    filled = {**_ENTRY, **raw}
    if not re.fullmatch(r"\S+", str(raw.get("account", ""))):
        raise _Wrong("account", "is needed")
    for name, allowed in (("kind", ("fee", "credit")), ("at", ("now", "day_end"))):
        if filled[name] not in allowed:
            raise _Wrong(name, f"must be one of {', '.join(allowed)}")
    is_fee = filled["kind"] == "fee"
    amount = _amount(raw.get("amount"), "amount")
    return ScheduledEntry(
        id=key,
        account=str(raw["account"]),
        amount=-amount if is_fee else amount,
        kind="FEE" if is_fee else "CRE",
        on_day=_whole(filled["on_day"], "on_day", 3_660),
        at_day_end=filled["at"] == "day_end",
        counterparty_name=str(filled["counterparty_name"]),
        counterparty_account=str(filled["counterparty_account"]),
        text=str(filled["text"] or ("账户管理费 account fee" if is_fee else "来账 incoming credit")),
    )


def _tables(tree: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    tables = tree.get(name, [])
    if not isinstance(tables, list) or any(not isinstance(table, dict) for table in tables):
        raise _Wrong(name, f"must be written as [[{name}]] tables")
    return tables


def _only(raw: Any, allowed: tuple[str, ...], where: str) -> None:
    if not isinstance(raw, dict):
        raise _Wrong(where, "must be a table")
    for unknown in sorted(set(raw) - set(allowed)):
        label = f"{where}.{unknown}" if where and " " not in where else unknown
        raise _Wrong(label, f"is not known; allowed: {', '.join(allowed) or 'nothing'}")


def _glob(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"when.{name}", "must be a text in quotes; * and ? stand for anything")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if any(not isinstance(one, str) for one in _listed(value)):
        raise _Wrong(where, "must be a text in quotes or a list of them")
    return tuple(_listed(value))


def _window(value: Any) -> tuple[int, int]:
    clock = r"([01]\d|2[0-3]):([0-5]\d)"
    found = re.fullmatch(f"{clock}-{clock}", value) if isinstance(value, str) else None
    if found is None:
        raise _Wrong("when.time", 'must be a window of the bank\'s clock like "22:00-02:00"')
    hours, minutes = [int(one) for one in found.groups()[::2]], [int(one) for one in found.groups()[1::2]]
    return hours[0] * 60 + minutes[0], hours[1] * 60 + minutes[1]


def _day(value: Any) -> str:
    day = str(value).lower()
    try:
        return day if day in WEEKDAYS else dt.date.fromisoformat(day).isoformat()
    except ValueError:
        raise _Wrong("when.day", f'must be a date like "2026-11-22" or one of {", ".join(WEEKDAYS)}') from None


def _seconds(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 10**9:
        raise _Wrong(where, "must be seconds since the script was loaded, from 0 to 1000000000")
    return int(value * 1000)


def _amount(text: Any, where: str) -> int:
    hundredths = parse_amount(text)
    if hundredths is None:
        raise _Wrong(where, 'must be a text with two decimals like "12.50"')
    return hundredths


def _whole(value: Any, where: str, most: int = 10**9) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _Wrong(where, f"must be a whole number from 0 to {most}")
    return value


def _numbers(value: Any, where: str) -> tuple[int, ...]:
    return tuple(_whole(one, where) for one in _listed(value))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
