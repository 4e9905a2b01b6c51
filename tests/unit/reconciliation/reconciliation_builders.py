"""Bookings and entries with sensible defaults."""

from __future__ import annotations

from datetime import date
from typing import Any

from yinqi.kernel.money import Money
from yinqi.reconciliation.model import Booking, Direction, Entry

DAY = date(2026, 11, 22)
ACCOUNT = "755915678910001"


def booking(number: int, **changes: Any) -> Booking:
    """A debit of 100.00 on DAY with its own reference."""
    facts: dict[str, Any] = {
        "booking_id": f"YQ{number:04}/settlement",
        "account": ACCOUNT,
        "booking_date": DAY,
        "direction": Direction.DEBIT,
        "amount": Money("CNY", 10_000),
        "instruction_id": f"YQ{number:04}",
        "end_to_end_id": f"E2E-{number}",
        "account_servicer_reference": "",
        "counterparty_name": "苏州某供应商有限公司",
        "counterparty_account": f"6225{number:012}",
        "traceparent": "",
    }
    return Booking(**{**facts, **changes})


def entry(number: int, **changes: Any) -> Entry:
    """The bank's line of the booking with the same number."""
    facts: dict[str, Any] = {
        "entry_id": number,
        "account": ACCOUNT,
        "booking_date": DAY,
        "direction": Direction.DEBIT,
        "amount": Money("CNY", 10_000),
        "instruction_id": f"YQ{number:04}",
        "end_to_end_id": "",
        "account_servicer_reference": f"S{number:08}",
        "counterparty_name": "苏州某供应商有限公司",
        "counterparty_account": f"6225{number:012}",
        "description": "货款",
    }
    return Entry(**{**facts, **changes})
