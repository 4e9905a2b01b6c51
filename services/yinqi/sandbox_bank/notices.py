"""Notices: made in the transaction of what they tell, sent until acknowledged, spoilt as scripted (contract §6)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yinqi.sandbox_bank.account_queries import entry_record
from yinqi.sandbox_bank.book import get_setting, put_setting
from yinqi.sandbox_bank.clock import china_time
from yinqi.sandbox_bank.day_view import booked_since
from yinqi.sandbox_bank.effects import Json, Notice
from yinqi.sandbox_bank.fault_tally import load_tally, store_tally
from yinqi.sandbox_bank.faults import Line, Moment, Rule, Tally, take_message_faults
from yinqi.sandbox_bank.fields import CURRENCIES, format_serial
from yinqi.sandbox_bank.looseness import Records, write_records
from yinqi.sandbox_bank.payment_queries import payment_record

PAYMENTS, ENTRIES = "YQN02030", "YQN01010"
RECORDS_MAX = 50
RETRY_MS_MAX = 300_000
_SWAPPED_MS_MAX = 60_000  # A swapped notice goes out at last though no other follows.
_SERIAL = "noticed_serial"


@dataclass(frozen=True, slots=True)
class Making:
    """What making notices needs besides the book; users: who is told of entries that belong to no payment."""

    wall_ms: int
    moment: Moment
    users: Sequence[str]
    rules: Sequence[Rule]
    loose: bool


def forget_the_past(connection: sqlite3.Connection) -> None:
    """Notices begin now: what happened before is not told."""
    last = connection.execute("SELECT coalesce(max(serial), 0) FROM entries").fetchone()[0]
    put_setting(connection, _SERIAL, str(last))
    connection.execute("UPDATE payments SET noticed = status || '/' || return_flag WHERE status IN ('FIN', 'WRF')")


def make_notices(connection: sqlite3.Connection, making: Making) -> None:
    """Write down a notice for every payment that changed and every entry that was booked since the last time."""
    tally: Tally | None = None
    for kind, by_user in ((PAYMENTS, _payments(connection)), (ENTRIES, _entries(connection, making.users))):
        for user_id, records in by_user.items():
            if tally is None:
                tally = load_tally(connection) if making.rules else Tally()
            for first in range(0, len(records), RECORDS_MAX):
                _record(connection, making, tally, user_id, kind, records[first : first + RECORDS_MAX])
    if making.rules and tally is not None:
        store_tally(connection, tally, making.moment.now_ms)


def next_notice_at(connection: sqlite3.Connection) -> int | None:
    """When the next notice is to be sent, real milliseconds."""
    row = connection.execute("SELECT min(due_at) FROM notices WHERE due_at IS NOT NULL").fetchone()
    return None if row[0] is None else int(row[0])


def take_due_notices(connection: sqlite3.Connection, wall_ms: int, limit: int) -> list[Notice]:
    """What is to be sent now, in order. Each is due again later, until it is acknowledged."""
    rows = connection.execute(
        "SELECT * FROM notices WHERE due_at <= ? ORDER BY due_at, number LIMIT ?", (wall_ms, limit)
    ).fetchall()
    found: list[Notice] = []
    for row in rows:
        attempt, plan = row["attempts"] + 1, json.loads(row["plan"])
        retry_ms = min(1000 * 2 ** min(row["attempts"], 20), RETRY_MS_MAX)
        connection.execute(
            "UPDATE notices SET attempts = ?, sent_at = ?, due_at = ? WHERE number = ?",
            (attempt, wall_ms, wall_ms + retry_ms, row["number"]),
        )
        genuine = Notice(row["number"], row["user_id"], _message(row), wall_ms, attempt)
        if attempt == 1 and "forge_notice" in plan:
            found.append(_forged(row, wall_ms, plan["forge_notice"]["how"]))
        found.append(genuine)
        if attempt == 1 and "replay_notice" in plan:
            found += _replayed(connection, row, plan["replay_notice"]["back"])
    return found


def acknowledge(connection: sqlite3.Connection, number: int, wall_ms: int) -> None:
    """The company has it; sent again only when scripted so."""
    row = connection.execute("SELECT plan FROM notices WHERE number = ?", (number,)).fetchone()
    plan = json.loads(row[0])
    copies = plan.get("duplicate_notice", {}).get("copies", 0)
    if copies:
        plan["duplicate_notice"]["copies"] = copies - 1
    connection.execute(
        "UPDATE notices SET acknowledged = 1, due_at = ?, plan = ? WHERE number = ?",
        (wall_ms if copies else None, json.dumps(plan), number),
    )


def notice_counts(connection: sqlite3.Connection) -> Mapping[str, int]:
    """How many were made, acknowledged, and are still to be sent."""
    row = connection.execute(
        "SELECT count(*), coalesce(sum(acknowledged), 0), count(due_at), coalesce(sum(attempts), 0) FROM notices"
    ).fetchone()
    return dict(zip(("made", "acknowledged", "waiting", "attempts"), row, strict=True))


def _payments(connection: sqlite3.Connection) -> dict[str, Records]:
    rows = connection.execute(
        """SELECT * FROM payments WHERE status IN ('FIN', 'WRF') AND noticed <> status || '/' || return_flag
        ORDER BY request_number"""
    ).fetchall()
    by_user: dict[str, Records] = {}
    for row in rows:
        by_user.setdefault(row["user_id"], []).append(payment_record(row))
    if not rows:
        return {}
    connection.executemany(
        "UPDATE payments SET noticed = status || '/' || return_flag WHERE request_number = ?",
        [(row["request_number"],) for row in rows],
    )
    return by_user


def _entries(connection: sqlite3.Connection, users: Sequence[str]) -> dict[str, Records]:
    entries = booked_since(connection, int(get_setting(connection, _SERIAL) or 0))
    if not entries:
        return {}
    put_setting(connection, _SERIAL, str(entries[-1].serial))
    currencies = dict(connection.execute("SELECT account, currency FROM accounts").fetchall())
    owners = _owners(connection, [one.request_number for one in entries if one.request_number is not None])
    by_user: dict[str, Records] = {}
    for entry in entries:
        record = {"accNbr": entry.account, **entry_record(entry, currencies[entry.account])}
        for user in (owners[entry.request_number],) if entry.request_number is not None else users:
            by_user.setdefault(user, []).append(record)
    return by_user


def _owners(connection: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, str]:
    rows = connection.execute(
        "SELECT request_number, user_id FROM payments WHERE request_number IN (SELECT value FROM json_each(?))",
        (json.dumps(list(numbers)),),
    )
    return {row[0]: row[1] for row in rows}


def _record(
    connection: sqlite3.Connection, making: Making, tally: Tally, user_id: str, kind: str, records: Records
) -> None:
    number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM notices").fetchone()[0]
    written = write_records(records, loose=making.loose)
    lines = [_visible(kind, n, record) for n, record in enumerate(written, 1)]
    message = Line(kind, 0, reference=format_serial(number))
    plan = take_message_faults(making.rules, tally, {"notice"}, message, lines, making.moment)
    due_at: int | None = making.wall_ms + int(plan.get("delay_notice", {}).get("milliseconds", 0))
    if "swap_notice" in plan:
        due_at = making.wall_ms + _SWAPPED_MS_MAX
    else:
        connection.execute(
            """UPDATE notices SET due_at = ? WHERE attempts = 0 AND due_at > ? AND type = ?
            AND instr(plan, '"swap_notice"')""",
            (making.wall_ms + 1, making.wall_ms + 1, kind),
        )
    connection.execute(
        "INSERT INTO notices (number, user_id, type, made_at, records, due_at, plan) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, user_id, kind, making.moment.now_ms, json.dumps(written, ensure_ascii=False),
         None if "lose_notice" in plan else due_at, json.dumps(plan)),
    )  # fmt: skip


def _visible(kind: str, number: int, record: Mapping[str, Any]) -> Line:
    return Line(
        kind,
        number,
        reference=record["yurRef"],
        batch_number=record.get("batNbr", ""),
        debtor_account=record.get("dbtAcc") or record.get("accNbr", ""),
        creditor_account=record.get("crtAcc") or record.get("oppAcc", ""),
        creditor_name=str(record.get("crtNam") or record.get("oppsiteName", "")).rstrip(),
        currency=CURRENCIES.get(record["ccyNbr"], ""),
        amount=_amount_text(record["trsAmt"]),
    )


def _amount_text(amount: str | float) -> str:
    """The wire text whatever form the record has, without its sign."""
    return (amount if isinstance(amount, str) else f"{amount:.2f}").lstrip("-")


def _message(row: sqlite3.Row) -> Json:
    head = {
        "funcode": "BBNOTICE",
        "userid": row["user_id"],
        "notnbr": format_serial(row["number"]),
        "nottim": china_time(row["made_at"]).strftime("%Y%m%d%H%M%S%f")[:17],
        "nottyp": row["type"],
    }
    return {"head": head, "body": {"bbnoticez1": json.loads(row["records"])}}


def _forged(row: sqlite3.Row, wall_ms: int, how: str) -> Notice:
    """The opposite of what is true."""
    message = _message(row)
    for record in message["body"]["bbnoticez1"]:
        if row["type"] == PAYMENTS:
            record |= {"reqSts": "FIN", "rtnFlg": "F" if record["rtnFlg"] == "S" else "S"}
        else:
            record |= {"trxDir": "D" if record["trxDir"] == "C" else "C"}
    return Notice(row["number"], row["user_id"], message, wall_ms, forged=how)


def _replayed(connection: sqlite3.Connection, row: sqlite3.Row, back: int) -> list[Notice]:
    old = connection.execute(
        """SELECT * FROM notices WHERE user_id = ? AND number < ? AND sent_at IS NOT NULL
        ORDER BY number DESC LIMIT 1 OFFSET ?""",
        (row["user_id"], row["number"], back - 1),
    ).fetchone()
    if old is None:
        return []
    return [Notice(old["number"], old["user_id"], _message(old), old["sent_at"], old["attempts"], repeated=True)]
