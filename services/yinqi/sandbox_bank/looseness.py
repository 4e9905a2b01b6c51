"""Habits of real banks that break careless readers: amounts as number or text, trailing blanks (contract §3)."""

from __future__ import annotations

from typing import Any

from yinqi.sandbox_bank.fields import amount_number, format_amount

_PADDED = ("crtNam", "oppsiteName", "trxTxt", "errTxt", "bckTxt", "accNam")
_NUMBER_EVERY = 3
_BLANKS_EVERY = 2

Records = list[dict[str, Any]]


class Amount(int):
    """Hundredths that still have to become wire text or number."""


def write_records(records: Records, *, loose: bool) -> Records:
    """Records as they go on the wire; when loose, amounts and texts change form from record to record."""
    return [_write(record, index, loose) for index, record in enumerate(records)]


def _write(record: dict[str, Any], index: int, loose: bool) -> dict[str, Any]:
    as_number = loose and index % _NUMBER_EVERY == 1
    blanks = " " * (index % 3 + 1) if loose and index % _BLANKS_EVERY == 0 else ""
    written: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Amount):
            written[name] = amount_number(value) if as_number else format_amount(value)
        else:
            written[name] = value + blanks if name in _PADDED and value else value
    return written
