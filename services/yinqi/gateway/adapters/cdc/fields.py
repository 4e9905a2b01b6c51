"""Wire values of `cdc`: amounts, dates, texts. Source: docs/bank-dialect-cdc.md §3."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

from yinqi.gateway.adapters.cdc.envelope import Number
from yinqi.gateway.ports import AnswerUnusable
from yinqi.kernel.errors import AmountInvalid
from yinqi.kernel.money import Money, currency_exponent

SUCCESS = "SUC0000"
_AMOUNT = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,2})0*)?")
_DATE = re.compile(r"[0-9]{8}")
_WIRE_DECIMALS = 2


def malformed(where: str) -> AnswerUnusable:
    """Return the error for a verified answer that breaks the contract."""
    return AnswerUnusable("ANSWER_MALFORMED", f"{where} is missing or malformed")


def format_amount(money: Money) -> str:
    """Return the amount with two decimals whatever the currency's exponent, e.g. JPY 100 → "100.00".

    Raises:
        AmountInvalid: a currency with three decimals cannot be written.
    """
    hundredths = money.minor_units * 10 ** _shift(money.currency)
    sign = "-" if hundredths < 0 else ""
    return f"{sign}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"


def parse_amount(value: object, currency: str) -> Money:
    """Read an amount, text or number, exactly.

    Raises:
        AmountInvalid: not a Number(15,2), or finer than the currency's minor unit.
    """
    match = _AMOUNT.fullmatch(value.rstrip(" ")) if isinstance(value, str) else None
    if match is None:
        raise AmountInvalid("AMOUNT_FORMAT", "the bank's amount is not a Number(15,2)")
    hundredths = int(match[2]) * 100 + int((match[3] or "").ljust(2, "0"))
    minor_units, rest = divmod(hundredths, 10 ** _shift(currency))
    if rest:
        raise AmountInvalid("AMOUNT_DECIMALS", f"the bank's amount is finer than {currency} allows")
    return Money(currency, -minor_units if match[1] else minor_units)


def _shift(currency: str) -> int:
    shift = _WIRE_DECIMALS - currency_exponent(currency)
    if shift < 0:
        raise AmountInvalid("AMOUNT_DECIMALS", f"{currency} has more than two decimals; this bank cannot write it")
    return shift


def format_date(day: date) -> str:
    """Return yyyyMMdd."""
    return f"{day:%Y%m%d}"


class Record:
    """One object of an answer's array, read field by field; anything unexpected raises ANSWER_MALFORMED."""

    __slots__ = ("_members", "_where")

    def __init__(self, members: Mapping[str, Any], where: str) -> None:
        self._members = members
        self._where = where

    def text(self, name: str) -> str:
        """Return a text without the blanks that the bank pads with; "" when absent."""
        value = self._members.get(name, "")
        if not isinstance(value, str) or isinstance(value, Number):
            raise malformed(f"{self._where}.{name}")
        return value.rstrip(" ")

    def required(self, name: str) -> str:
        """Return a text that must not be empty."""
        return self.text(name) or self._fail(name)

    def amount(self, name: str, currency: str) -> Money:
        """Return an amount."""
        try:
            return parse_amount(self._members.get(name), currency)
        except AmountInvalid:
            raise malformed(f"{self._where}.{name}") from None

    def day(self, name: str) -> date | None:
        """Return a date; None when empty."""
        text = self.text(name)
        if not text:
            return None
        if not _DATE.fullmatch(text) or not text.isascii():
            raise malformed(f"{self._where}.{name}")
        try:
            return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 (a date has no zone)
        except ValueError:
            raise malformed(f"{self._where}.{name}") from None

    def count(self, name: str) -> int:
        """Return a number of things, written as text or number."""
        value = self._members.get(name)
        text = value.rstrip(" ") if isinstance(value, str) else ""
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise malformed(f"{self._where}.{name}")
        return int(text)

    def currency(self, name: str, by_code: Mapping[str, str]) -> str:
        """Return the ISO 4217 currency of a bank's code."""
        return by_code.get(self.text(name)) or self._fail(name)

    def is_successful(self) -> bool:
        """Whether the record carries no error of its own."""
        return self.text("errCod") in ("", SUCCESS)

    def _fail(self, name: str) -> str:
        raise malformed(f"{self._where}.{name}")


def records(body: Mapping[str, Any], name: str) -> Iterator[Record]:
    """Yield the objects of an array; none when it is absent."""
    array = body.get(name, [])
    if not isinstance(array, list) or not all(isinstance(one, dict) for one in array):
        raise malformed(name)
    return (Record(one, f"{name}[{index}]") for index, one in enumerate(array))


def single(body: Mapping[str, Any], name: str) -> Record:
    """Return the only object of an array."""
    found = list(records(body, name))
    if len(found) != 1:
        raise malformed(name)
    return found[0]
