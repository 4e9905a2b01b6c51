"""Electronic receipts: one per settled debit, one more after a return, each signed by the bank for itself."""

from __future__ import annotations

import base64
import json
from typing import Any

from yinqi import crypto

from .conftest import BankThread
from .wire_client import PLACEHOLDER, WireClient, batch, canonical, line

RETURNED = "[[rule]]\nwhen = { reference = 'R2' }\nreturn = { after_days = 0, code = 'RTN0007' }"


def receipts(client: WireClient, *references: str) -> list[dict[str, Any]]:
    asked = {"dcsigrecx1": [{"yurref": one} for one in references]}
    return list(client.call("DCSIGREC", asked)["dcsigrecz1"])


def facts_of(client: WireClient, record: dict[str, Any]) -> dict[str, Any]:
    """What a receipt says, its signature checked with the bank's key."""
    content = base64.b64decode(record["rcpfil"], validate=True)
    message = json.loads(content)
    assert canonical(message) == content
    raw = base64.b64decode(message["signature"]["sigdat"], validate=True)
    message["signature"]["sigdat"] = PLACEHOLDER
    bank_key = bytes.fromhex((client.keys_dir / "bank_public_key.hex").read_text().strip())
    crypto.VerifyKey.from_bytes(bank_key).verify(canonical(message), raw, identity=client.padded)
    return dict(message["receipt"])


def test_a_settled_debit_has_a_receipt_that_says_who_was_paid_what_and_when(
    bank: BankThread, client: WireClient
) -> None:
    client.call("BB1PAYBH", batch("B1", [line("R1", "100.00"), line("R3", crtAcc="6225 8801")]))
    bank.until_executed()
    (record,) = receipts(client, "R1", "R3", "R9")
    said = facts_of(client, record)
    assert (record["yurref"], record["rcptyp"], record["rcpnbr"]) == ("R1", "PAY", said["rcpnbr"])
    assert (said["yurref"], said["trsamt"], said["trxdir"], said["ccynbr"]) == ("R1", "100.00", "D", "10")
    assert (said["accnbr"], said["crtacc"], said["crtnam"]) == (
        "755915678910001",
        line("R1")["crtAcc"],
        line("R1")["crtNam"],
    )
    assert said["trxdat"] == bank.control("clock")["business_date"]
    assert bank.payment("R1")["times_debited"] == 1


def test_a_return_has_a_receipt_of_its_own_and_a_copy_is_the_same_to_the_byte(
    bank: BankThread, client: WireClient
) -> None:
    bank.control("script", RETURNED)
    client.call("BB1PAYBH", batch("B1", [line("R1"), line("R2")]))
    bank.until_executed()
    bank.until(lambda: len(receipts(client, "R2")) == 2, "the return")
    found = receipts(client, "R1", "R2")
    assert [(one["yurref"], one["rcptyp"]) for one in found] == [("R1", "PAY"), ("R2", "PAY"), ("R2", "RET")]
    debit, back = (facts_of(client, one) for one in found[1:])
    assert (back["trxdir"], back["orgseq"], back["trsamt"]) == ("C", debit["trxseq"], debit["trsamt"])
    bank.restart()
    assert receipts(client, "R1", "R2") == found


def test_who_may_not_query_sees_no_receipt(bank: BankThread, client: WireClient) -> None:
    client.call("BB1PAYBH", batch("B1", [line("R1")]))
    bank.until_executed()
    bank.control("permissions", {"query": False})
    assert receipts(client, "R1") == []
