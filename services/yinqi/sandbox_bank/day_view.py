"""How the bank shows a day's entries: as booked, rewritten at day end, hidden meanwhile, or in a wrong order.

The book itself never changes; only what is listed does. So the judge counts what was really booked.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

# Serials that day end gives: above all that were given during the day.
REWRITTEN_FROM = 900_000_000_000_000


@dataclass(frozen=True, slots=True)
class Shown:
    """One listed entry, the columns of the view `listed_entries`; amounts in hundredths, booking_date ISO, booked_at business milliseconds."""

    serial: int
    account: str
    booking_date: str
    booked_at: int
    amount: int
    balance_after: int
    kind: str
    reversal: str
    request_number: int | None
    reference: str
    original_serial: int | None
    counterparty_name: str
    counterparty_account: str
    text: str


def booked_since(connection: sqlite3.Connection, serial: int) -> list[Shown]:
    """Entries of company accounts with a larger serial, oldest first."""
    rows = connection.execute(
        """SELECT e.* FROM listed_entries e JOIN accounts USING (account)
        WHERE e.serial > ? AND owner = 'company' ORDER BY e.serial""",
        (serial,),
    )
    return [Shown(*row) for row in rows]


def booked(connection: sqlite3.Connection, account: str, day: str, after: int, limit: int) -> list[Shown]:
    """Entries as booked, later than a serial, oldest first."""
    rows = connection.execute(
        """SELECT * FROM listed_entries WHERE account = ? AND booking_date = ? AND serial > ?
        ORDER BY serial LIMIT ?""",
        (account, day, after, limit),
    )
    return [Shown(*row) for row in rows]


def is_rewritten(connection: sqlite3.Connection) -> bool:
    """Whether any payment's entries are shown otherwise than booked; most banks never do."""
    row = connection.execute("SELECT 1 FROM payments WHERE instr(plan, '\"rewrite_entries\"') LIMIT 1").fetchone()
    return row is not None


def rewritten(connection: sqlite3.Connection, account: str, day: str, opening: int, *, closed: bool) -> list[Shown]:
    """A whole day with what is to be hidden or rewritten, oldest first, balances running from the opening."""
    rows = connection.execute(
        """SELECT e.*, p.plan FROM listed_entries e LEFT JOIN payments p USING (request_number)
        WHERE e.account = ? AND e.booking_date = ? ORDER BY e.serial""",
        (account, day),
    )
    kept: list[Shown] = []
    sums: dict[str, list[Shown]] = {}
    for *columns, plan in rows:
        entry, rewrite = Shown(*columns), json.loads(plan or "{}").get("rewrite_entries")
        if rewrite is None or (not closed and rewrite["intraday"] == "shown"):
            kept.append(entry)
        elif closed and rewrite["how"] == "anonymous":
            named = replace(entry, request_number=None, reference="", original_serial=None)
            sums[_group(entry, rewrite)] = [named]
        elif closed:
            sums.setdefault(_group(entry, rewrite), []).append(replace(entry, text=rewrite["text"]))
    return _running(opening, [*kept, *map(_replacement, sums.values())]) if closed else kept


def _group(entry: Shown, rewrite: Mapping[str, Any]) -> str:
    return str(rewrite["text"]) if rewrite["how"] == "sum" else f"={entry.serial}"


def _replacement(entries: list[Shown]) -> Shown:
    """What stands for some entries after day end; one that is only renumbered keeps what it has."""
    first = entries[0]
    serial = REWRITTEN_FROM + first.serial
    if len(entries) == 1:
        return replace(first, serial=serial)
    return replace(
        first,
        serial=serial,
        amount=sum(one.amount for one in entries),
        request_number=None,
        reference="",
        original_serial=None,
        counterparty_name="",
        counterparty_account="",
    )


def _running(opening: int, entries: Iterable[Shown]) -> list[Shown]:
    result, balance = [], opening
    for entry in entries:
        balance += entry.amount
        result.append(replace(entry, balance_after=balance))
    return result
