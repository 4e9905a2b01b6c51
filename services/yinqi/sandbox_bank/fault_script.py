"""Reading a fault script (TOML text or the same as JSON), with errors that name rule and field."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yinqi.sandbox_bank.errors import ScriptError
from yinqi.sandbox_bank.faults import LINE_ACTIONS, MESSAGE_ACTIONS, Rule, When
from yinqi.sandbox_bank.fields import parse_amount

_GLOBS = ("reference", "batch_number", "debtor_account", "creditor_account", "creditor_name", "currency", "amount")
_WHEN = (*_GLOBS, "function", "line", "amount_min", "amount_max", "chance")
_RULE = ("name", "when", "nth", "every", "times", *LINE_ACTIONS, *MESSAGE_ACTIONS)

# Each action: its fields with their defaults; a field without a default here would be required.
_ACTION_FIELDS: dict[str, dict[str, Any]] = {
    "refuse": {"at": "execution", "code": "ACT0009", "text": "收款账户已销户 creditor account closed", "flag": "F"},
    "suspicious": {"after_seconds": 3.0, "then": "S", "debited": "at_resolution", "code": "UNK0001",
                   "text": "可疑交易核实为失败 found to have failed"},
    "return": {"after_days": 1, "code": "RTN0001", "text": "户名不符 name and account differ"},
    "fee": {"amount": "5.00", "at": "now", "text": "手续费 fee"},
    "delay": {"milliseconds": 5000},
    "lose_answer": {}, "lose_request": {},
    "late_request": {"milliseconds": 1000},
    "slow": {"milliseconds": 2000},
    "wrong_signature": {},
    "gateway_error": {"status": 200, "text": "CDCServer:SYS0001 system busy 系统繁忙", "processed": False},
}  # fmt: skip
_CHOICES = {
    ("refuse", "at"): ("receipt", "execution"),
    ("refuse", "flag"): ("F", "R", "D", "C", "U"),
    ("suspicious", "then"): ("S", "F"),
    ("suspicious", "debited"): ("before", "at_resolution"),
    ("fee", "at"): ("now", "day_end"),
}


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
    """A whole fault script."""

    rules: tuple[Rule, ...] = ()
    entries: tuple[ScheduledEntry, ...] = ()


def parse_script(text: str) -> Script:
    """Read a script; empty text is an empty script.

    Raises:
        ScriptError: names the rule, the field and what is allowed.
    """
    try:
        tree = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError as error:
        raise ScriptError(f"the script is neither TOML nor JSON: {error}") from None
    _only(tree, ("seed", "rule", "entry"), "the script")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    seed = _whole(tree.get("seed", 0), "seed")
    rules = tuple(_rule(raw, f"{digest}/{n}", n, seed) for n, raw in enumerate(_tables(tree, "rule"), 1))
    entries = tuple(_entry(raw, f"{digest}/{n}", n) for n, raw in enumerate(_tables(tree, "entry"), 1))
    return Script(rules, entries)


def _rule(raw: Mapping[str, Any], key: str, number: int, seed: int) -> Rule:
    name = str(raw.get("name", f"rule {number}"))
    _only(raw, _RULE, name)
    actions = {action: _action(action, raw[action], name) for action in _ACTION_FIELDS if action in raw}
    if not actions:
        raise ScriptError(f"{name}: no action; allowed: {', '.join(_ACTION_FIELDS)}")
    if set(actions) & set(LINE_ACTIONS) and set(actions) & set(MESSAGE_ACTIONS):
        raise ScriptError(f"{name}: actions on lines and on messages need rules of their own")
    times = raw.get("times", 1 if set(actions) <= set(MESSAGE_ACTIONS) else None)
    return Rule(
        key=key,
        name=name,
        when=_when(raw.get("when", {}), name),
        nth=_numbers(raw.get("nth", []), f"{name}: nth"),
        every=_whole(raw.get("every", 1), f"{name}: every"),
        times=None if times is None else _whole(times, f"{name}: times"),
        actions=actions,
        seed=seed,
    )


def _when(raw: Any, name: str) -> When:
    _only(raw, _WHEN, f"{name}: when")
    functions = raw.get("function", [])
    chance = raw.get("chance", 1.0)
    if not isinstance(chance, (int, float)) or not 0 <= chance <= 1:
        raise ScriptError(f"{name}: chance must be a number from 0 to 1")
    return When(
        globs={glob: str(raw[glob]) for glob in _GLOBS if glob in raw},
        functions=tuple(functions) if isinstance(functions, list) else (str(functions),),
        lines=_numbers(raw.get("line", []), f"{name}: line"),
        amount_min=_amount(raw["amount_min"], f"{name}: amount_min") if "amount_min" in raw else None,
        amount_max=_amount(raw["amount_max"], f"{name}: amount_max") if "amount_max" in raw else None,
        chance=float(chance),
    )


def _action(action: str, raw: Any, name: str) -> dict[str, Any]:
    """Fill in defaults; `true` stands for all of them."""
    fields = _ACTION_FIELDS[action]
    given = {} if raw is True else raw
    where = f"{name}: {action}"
    _only(given, tuple(fields), where)
    filled = {**fields, **given}
    for label, value in filled.items():
        allowed = _CHOICES.get((action, label))
        if allowed and value not in allowed:
            raise ScriptError(f"{where}.{label} must be one of {', '.join(allowed)}")
        if isinstance(fields[label], (int, float)) and (not isinstance(value, (int, float)) or value < 0):
            raise ScriptError(f"{where}.{label} must be a number, not negative")
        if isinstance(fields[label], str) and not isinstance(value, str):
            raise ScriptError(f"{where}.{label} must be a text in quotes")
    if action == "fee":
        _amount(filled["amount"], where)
    return filled


def _entry(raw: Mapping[str, Any], key: str, number: int) -> ScheduledEntry:
    name = f"entry {number}"
    defaults = {
        "kind": "fee",
        "on_day": 0,
        "at": "now",
        "counterparty_name": "",
        "counterparty_account": "",
        "text": "",
    }
    _only(raw, ("account", "amount", *defaults), name)
    kind, at = raw.get("kind", "fee"), raw.get("at", "now")
    if (
        kind not in ("fee", "credit")
        or at not in ("now", "day_end")
        or not re.fullmatch(r"\S+", str(raw.get("account", "")))
    ):
        raise ScriptError(f"{name}: account is needed, kind is fee or credit, at is now or day_end")
    amount = _amount(raw.get("amount"), f"{name}: amount")
    return ScheduledEntry(
        id=key,
        account=str(raw["account"]),
        amount=-amount if kind == "fee" else amount,
        kind="FEE" if kind == "fee" else "CRE",
        on_day=_whole(raw.get("on_day", 0), f"{name}: on_day"),
        at_day_end=at == "day_end",
        counterparty_name=str(raw.get("counterparty_name", "")),
        counterparty_account=str(raw.get("counterparty_account", "")),
        text=str(raw.get("text", "") or ("账户管理费 account fee" if kind == "fee" else "来账 incoming credit")),
    )


def _tables(tree: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    tables = tree.get(name, [])
    if not isinstance(tables, list) or any(not isinstance(table, dict) for table in tables):
        raise ScriptError(f"{name} must be written as [[{name}]] tables")
    return tables


def _only(raw: Any, allowed: tuple[str, ...], where: str) -> None:
    if not isinstance(raw, dict):
        raise ScriptError(f"{where} must be a table")
    unknown = sorted(set(raw) - set(allowed))
    if unknown:
        raise ScriptError(f"{where}: {', '.join(unknown)} is not known; allowed: {', '.join(allowed) or 'nothing'}")


def _amount(text: Any, where: str) -> int:
    hundredths = parse_amount(text)
    if hundredths is None:
        raise ScriptError(f'{where} must be a text with two decimals like "12.50"')
    return hundredths


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ScriptError(f"{where} must be a whole number, not negative")
    return value


def _numbers(value: Any, where: str) -> tuple[int, ...]:
    return tuple(_whole(one, where) for one in (value if isinstance(value, list) else [value]))
