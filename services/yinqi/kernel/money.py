"""Money as integer minor units with a currency. Only codecs see decimals."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from yinqi.kernel.errors import AmountInvalid

# ISO 4217 list one, active currencies, by exponent (number of decimals). Default is 2.
_EXPONENT_0 = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
_EXPONENT_3 = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
_EXPONENT_2 = frozenset(
    (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP "
        "CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES "
        "KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK "
        "NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB "
        "TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWG"
    ).split()
)
CURRENCIES = _EXPONENT_0 | _EXPONENT_2 | _EXPONENT_3

# ISO 20022 ActiveCurrencyAndAmount allows 18 digits; Chinese banks take Number(15,2).
DIGITS_MAX = 15
_MINOR_UNITS_MAX = 10**DIGITS_MAX - 1
_DECIMAL = re.compile(r"(\d+)(?:\.(\d+))?")


def currency_exponent(currency: str) -> int:
    """Return the number of decimals of an ISO 4217 currency.

    Raises:
        AmountInvalid: the currency is not in ISO 4217.
    """
    if currency in _EXPONENT_2:
        return 2
    if currency in _EXPONENT_0:
        return 0
    if currency in _EXPONENT_3:
        return 3
    raise AmountInvalid(
        "CURRENCY_UNKNOWN", f"{currency!r} is not an ISO 4217 currency code", "币种代码不在 ISO 4217 中"
    )


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (分) of one currency. May be negative only where a ledger says so."""

    currency: str
    minor_units: int

    def __add__(self, other: Money) -> Money:
        return Money(self._same_currency(other), self.minor_units + other.minor_units)

    def __sub__(self, other: Money) -> Money:
        return Money(self._same_currency(other), self.minor_units - other.minor_units)

    def __neg__(self) -> Money:
        return Money(self.currency, -self.minor_units)

    def _same_currency(self, other: Money) -> str:
        if self.currency != other.currency:
            raise AmountInvalid(
                "CURRENCY_MIXED", f"cannot add {self.currency} and {other.currency}", "不同币种不能相加"
            )
        return self.currency

    def __str__(self) -> str:
        return f"{self.currency} {format_decimal(self)}"


def parse_money(text: str, currency: str) -> Money:
    """Read a positive decimal amount exactly as a bank or a file writes it, e.g. ("1234.50", "CNY").

    Raises:
        AmountInvalid: reason CURRENCY_UNKNOWN, AMOUNT_FORMAT, AMOUNT_NEGATIVE, AMOUNT_ZERO, AMOUNT_DECIMALS or
            AMOUNT_TOO_LARGE. Trailing zeros beyond the exponent ("1.500") are decimals too many: the sender meant
            a precision that the currency does not have.
    """
    exponent = currency_exponent(currency)
    if text.startswith("-"):
        raise AmountInvalid(
            "AMOUNT_NEGATIVE", f"amount {text[:40]!r} is negative; payments are positive", "金额不能为负"
        )
    match = _DECIMAL.fullmatch(text)
    if match is None or not text.isascii():
        raise AmountInvalid(
            "AMOUNT_FORMAT", f"amount {text[:40]!r} is not a plain decimal such as 1234.50", "金额格式应为 1234.50"
        )
    whole, fraction = match.group(1), match.group(2) or ""
    if len(fraction) > exponent:
        raise AmountInvalid(
            "AMOUNT_DECIMALS",
            f"amount {text[:40]!r} has {len(fraction)} decimals; {currency} allows {exponent}",
            f"小数位过多，{currency} 最多 {exponent} 位",
        )
    minor_units = int(whole + fraction.ljust(exponent, "0")) if len(whole) <= 40 else 10**DIGITS_MAX
    return positive_money(currency, minor_units)


def positive_money(currency: str, minor_units: int) -> Money:
    """Build a payable amount.

    Raises:
        AmountInvalid: see `check_payable`.
    """
    check_payable(currency, minor_units)
    return Money(currency, minor_units)


def check_payable(currency: str, minor_units: int) -> None:
    """Return if this is an amount that can be paid.

    Raises:
        AmountInvalid: unknown currency, zero, negative or over DIGITS_MAX digits.
    """
    currency_exponent(currency)
    if minor_units < 0:
        raise AmountInvalid("AMOUNT_NEGATIVE", "amount is negative; payments are positive", "金额不能为负")
    if minor_units == 0:
        raise AmountInvalid("AMOUNT_ZERO", "amount is zero; payments are positive", "金额不能为零")
    if minor_units > _MINOR_UNITS_MAX:
        raise AmountInvalid(
            "AMOUNT_TOO_LARGE", f"amount has more than {DIGITS_MAX} digits", f"金额超过 {DIGITS_MAX} 位"
        )


def format_decimal(money: Money) -> str:
    """Return the plain decimal a bank expects, e.g. "1234.50"; exact, no grouping."""
    exponent = currency_exponent(money.currency)
    sign = "-" if money.minor_units < 0 else ""
    digits = str(abs(money.minor_units)).rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else sign + digits


def total(amounts: Iterable[Money], currency: str) -> Money:
    """Return the sum of amounts that all carry `currency`.

    Raises:
        AmountInvalid: CURRENCY_MIXED.
    """
    result = Money(currency, 0)
    for amount in amounts:
        result += amount
    return result
