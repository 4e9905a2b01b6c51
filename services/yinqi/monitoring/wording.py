"""Amounts as people read them."""

from __future__ import annotations

from yinqi.kernel.errors import AmountInvalid
from yinqi.kernel.money import Money, format_decimal


def grouped_decimal(money: Money) -> str:
    """Return "1,234,567.89"; a currency we do not know shows its minor units, because a page must not fail on it."""
    try:
        text = format_decimal(money)
    except AmountInvalid:
        text = str(money.minor_units)
    whole, point, fraction = text.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}{point}{fraction}"


def readable(money: Money) -> str:
    """Return "CNY 1,234,567.89"."""
    return f"{money.currency} {grouped_decimal(money)}"
