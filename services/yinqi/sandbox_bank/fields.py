"""Wire text to values and back: amounts, currencies, dates, patterns (docs/bank-dialect-cdc.md §3)."""

from __future__ import annotations

import datetime as dt
import re

from yinqi.sandbox_bank.errors import MessageRefused

REFERENCE = re.compile(r"[0-9A-Za-z_.\-]{1,30}")
CREDITOR_ACCOUNT = re.compile(r"[0-9A-Za-z\-]{1,35}")
CLEARING_CODE = re.compile(r"[0-9]{12}")
BIC = re.compile(r"[A-Z0-9]{8}(?:[A-Z0-9]{3})?")
_AMOUNT = re.compile(r"([0-9]{1,13})\.([0-9]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# Assumed: all but 10 (CNY) are taken from common knowledge of the field, not from a document read.
CURRENCY_CODES = {
    "CNY": "10", "HKD": "21", "AUD": "29", "USD": "32", "EUR": "35", "CAD": "39", "GBP": "43",
    "JPY": "65", "DKK": "68", "SGD": "69", "NZD": "81", "NOK": "83", "SEK": "85", "CHF": "87",
}  # fmt: skip
CURRENCIES = {code: currency for currency, code in CURRENCY_CODES.items()}


def parse_amount(text: object) -> int | None:
    """Hundredths of a positive Number(15,2) with exactly two decimals; None when it is anything else."""
    match = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
    hundredths = int(match[1]) * 100 + int(match[2]) if match else 0
    return hundredths or None


def format_amount(hundredths: int) -> str:
    """Two decimals, a minus sign for negative amounts."""
    sign = "-" if hundredths < 0 else ""
    return f"{sign}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"


def amount_number(hundredths: int) -> float:
    """The amount as the JSON number some answers carry; exact to two decimals below 10^15 hundredths."""
    return float(format_amount(hundredths))


def parse_date(name: str, text: object) -> dt.date:
    """A yyyyMMdd date; refuses the message when it is not one."""
    if isinstance(text, str) and re.fullmatch(r"[0-9]{8}", text):
        try:
            return dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
        except ValueError:
            pass
    raise MessageRefused("NTF0001", f"{name} is not a yyyyMMdd date 日期格式错误")


def format_date(iso: str | None) -> str:
    """The wire form of a stored ISO date, empty for none."""
    return (iso or "").replace("-", "")


def format_serial(serial: int | None) -> str:
    """The wire form of an entry serial, empty for none."""
    return "" if serial is None else f"{serial:015d}"


def format_request_number(number: int) -> str:
    """The wire form of a payment's request number."""
    return f"{number:010d}"


def months_before(day: dt.date, months: int) -> dt.date:
    """The same day some months earlier, the last of the month where that day does not exist."""
    index = day.year * 12 + day.month - 1 - months
    year, month = divmod(index, 12)
    last = (dt.date(year + (month == 11), (month + 1) % 12 + 1, 1) - dt.timedelta(days=1)).day
    return dt.date(year, month + 1, min(day.day, last))


def has_control_characters(text: str) -> bool:
    """Whether a text carries characters that no bank form can print."""
    return _CONTROL.search(text) is not None


def is_encodable(text: str) -> bool:
    """Whether a text has a UTF-8 form: lone surrogates have none."""
    return text.isascii() or encodable(text) == text


def encodable(text: str) -> str:
    """The text with lone surrogates replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
