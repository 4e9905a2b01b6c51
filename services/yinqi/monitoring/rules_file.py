"""Screening rules as a TOML file: read, checked, turned into `ScreeningRules`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yinqi.kernel.errors import AmountInvalid, InvalidRequest
from yinqi.kernel.money import parse_money
from yinqi.monitoring.rules import ScreeningRules, normalise_account, normalise_name

DEFAULT_PATH = Path(__file__).with_name("screening_rules.toml")
_KNOWN = {
    "amount_limit": {"unlisted_currency", "max"},
    "blocked_creditors": {"accounts", "names"},
    "possible_duplicate": {"repeats_max", "action"},
}


class RulesInvalid(InvalidRequest):
    """The rules file is wrong; the message names the entry and what is allowed."""


def load_rules(path: Path | None = None) -> ScreeningRules:
    """Read the rules file; without a path, the one shipped with the program.

    Raises:
        RulesInvalid: no such file, not TOML, an unknown entry (a misspelt rule would silently not apply), a wrong value.
    """
    path = path or DEFAULT_PATH
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise _invalid(str(path), f"cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _invalid(str(path), f"is not UTF-8 TOML: {error}") from None
    _refuse_unknown(document)
    return _rules_from(document)


def _refuse_unknown(document: Mapping[str, Any]) -> None:
    for table, entries in document.items():
        if table not in _KNOWN or not isinstance(entries, dict):
            raise _invalid(table, f"is not known; allowed tables are {', '.join(_KNOWN)}")
        for entry in set(entries) - _KNOWN[table]:
            raise _invalid(f"{table}.{entry}", f"is not known; allowed are {', '.join(sorted(_KNOWN[table]))}")


def _rules_from(document: Mapping[str, Any]) -> ScreeningRules:
    limits = document.get("amount_limit", {})
    creditors = document.get("blocked_creditors", {})
    duplicate = document.get("possible_duplicate", {})
    return ScreeningRules(
        amount_max=_amount_max(limits.get("max", {})),
        blocks_unlisted_currency=_choice(limits, "amount_limit", "unlisted_currency", "pass", "block"),
        blocked_accounts=frozenset(map(normalise_account, _texts(creditors, "accounts"))),
        blocked_names=frozenset(map(normalise_name, _texts(creditors, "names"))),
        repeats_max=_repeats_max(duplicate.get("repeats_max", 1)),
        repeats_block=_choice(duplicate, "possible_duplicate", "action", "alert", "block"),
    )


def _amount_max(table: object) -> dict[str, int]:
    if not isinstance(table, dict):
        raise _invalid("amount_limit.max", 'must be a table such as CNY = "1000000.00"')
    limits = {}
    for currency, text in table.items():
        try:
            limits[currency] = parse_money(text if isinstance(text, str) else "", currency).minor_units
        except AmountInvalid as error:
            raise _invalid(
                f"amount_limit.max.{currency}", f'must be a text such as "1000000.00": {error.message}'
            ) from None
    return limits


def _choice(table: Mapping[str, Any], name: str, entry: str, default: str, other: str) -> bool:
    """Return whether the entry has the other value."""
    value = table.get(entry, default)
    if value not in (default, other):
        raise _invalid(f"{name}.{entry}", f'must be "{default}" or "{other}"')
    return bool(value == other)


def _texts(table: Mapping[str, Any], entry: str) -> list[str]:
    values = table.get(entry, [])
    if not isinstance(values, list) or not all(isinstance(value, str) and value.strip() for value in values):
        raise _invalid(f"blocked_creditors.{entry}", "must be a list of texts, none of them empty")
    return values


def _repeats_max(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _invalid("possible_duplicate.repeats_max", "must be a whole number, 0 (rule off) or more")
    return value


def _invalid(entry: str, problem: str) -> RulesInvalid:
    return RulesInvalid("SCREENING_RULES_INVALID", f"Screening rules: {entry} {problem}.", f"筛查规则有误：{entry}")
