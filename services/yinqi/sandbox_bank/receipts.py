"""Electronic receipts (电子回单): what proves a debit or a return by itself, signed once and for ever (contract §5, DCSIGREC)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from yinqi.sandbox_bank.asked import Asked
from yinqi.sandbox_bank.fields import CURRENCY_CODES, format_amount, format_request_number, format_serial
from yinqi.sandbox_bank.looseness import Records
from yinqi.sandbox_bank.submission import records, reference

RECEIPTS_MAX = 100
FACTS = "rcpdoc"  # of a record that is not signed yet


def receipts(connection: sqlite3.Connection, asked_of: Asked) -> Records:
    """DCSIGREC: the receipts of the references asked for: one per settled debit, one more after a return.

    Returns:
        Records with their facts under `FACTS`; whoever seals the answer signs them.
    """
    references = [reference(record, "yurref") for record in records(asked_of.body, "dcsigrecx1", RECEIPTS_MAX)]
    rows = connection.execute(
        """SELECT payments.*, accounts.name AS account_name FROM payments JOIN accounts ON account = debtor_account
        WHERE user_id = ? AND reference IN (SELECT value FROM json_each(?)) AND status = 'FIN'
        AND return_flag IN ('S', 'B') AND debit_serial IS NOT NULL AND (? IS NULL OR received_at < ?)
        ORDER BY request_number""",
        (asked_of.user_id, json.dumps(references), asked_of.hidden_from_ms, asked_of.hidden_from_ms),
    ).fetchall()
    debits = [_receipt(row, "PAY") for row in rows]
    return debits + [_receipt(row, "RET") for row in rows if row["return_serial"] is not None]


def signed_once(connection: sqlite3.Connection, number: str, sign: Callable[[], bytes]) -> bytes:
    """Return the receipt's file as it was first signed, inside the caller's transaction."""
    row = connection.execute("SELECT content FROM receipts WHERE number = ?", (number,)).fetchone()
    if row is not None:
        return bytes(row[0])
    content = sign()
    connection.execute("INSERT INTO receipts VALUES (?, ?)", (number, content))
    return content


def _receipt(row: sqlite3.Row, kind: str) -> dict[str, Any]:
    is_return = kind == "RET"
    serial = row["return_serial" if is_return else "debit_serial"]
    number = f"RC{format_serial(serial)}"
    facts = {
        "rcpnbr": number,
        "rcptyp": kind,
        "userid": row["user_id"],
        "yurref": row["reference"],
        "reqnbr": format_request_number(row["request_number"]),
        "accnbr": row["debtor_account"],
        "accnam": row["account_name"],
        "ccynbr": CURRENCY_CODES[row["currency"]],
        "trsamt": format_amount(row["amount"]),
        "trxdir": "C" if is_return else "D",
        "trxdat": row["returned_on" if is_return else "debited_on"],
        "trxseq": format_serial(serial),
        "orgseq": format_serial(row["debit_serial"]) if is_return else "",
        "crtacc": row["creditor_account"],
        "crtnam": row["creditor_name"],
        "trxtxt": row["return_text"] if is_return else row["memo"],
    }
    return {"yurref": row["reference"], "rcpnbr": number, "rcptyp": kind, FACTS: facts}
