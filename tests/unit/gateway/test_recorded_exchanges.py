"""The adapter reads what a bank really sent, byte for byte."""

from __future__ import annotations

import base64
import json
import urllib.parse
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from yinqi.crypto import SigningKey, VerifyKey, sm4_cbc_decrypt
from yinqi.gateway.adapters.cdc import accounts, queries, submissions
from yinqi.gateway.adapters.cdc.envelope import canonical, open_answer
from yinqi.gateway.keystore import BankKeys
from yinqi.gateway.model import BankAccount, Instruction, Submission
from yinqi.gateway.ports import Answer, Outgoing, WireAnswer
from yinqi.gateway.profile import Profile
from yinqi.gateway.status import BankStatus
from yinqi.kernel.money import Money

RECORDED = json.loads((Path(__file__).parent / "recorded" / "exchanges.json").read_text("utf-8"))
KEYS = RECORDED["keys"]
IDENTITY = b"U123456789000000"
DAY = date(2026, 11, 22)
CURRENCIES = {"10": "CNY", "35": "EUR"}
CNY = BankAccount("755915678910001", "CNY", "", "demo_bank")
EUR = BankAccount("755915678932001", "EUR", "", "demo_bank")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> BankKeys:
    file = tmp_path_factory.mktemp("keys") / "bank.hex"
    file.write_text(KEYS["bank_public_key"])
    return BankKeys(SigningKey.generate(), bytes.fromhex(KEYS["sm4_key"]), file)


def request_of(exchange: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    form = dict(urllib.parse.parse_qsl(exchange["request"], strict_parsing=True))
    plain = sm4_cbc_decrypt(bytes.fromhex(KEYS["sm4_key"]), IDENTITY, base64.b64decode(form["DATA"]))
    return plain, json.loads(plain)


def recorded(function: str, keys: BankKeys, index: int = 0) -> Answer:
    found = [e for e in RECORDED["exchanges"] if f"FUNCODE={function}&" in e["request"]][index]
    head = request_of(found)[1]["request"]["head"]
    outgoing = Outgoing(function, head["reqid"], b"", b"")
    wire = WireAnswer(found["status"], found["answer"].encode())
    return open_answer(wire, outgoing, KEYS["user_id"], keys.now(), datetime.fromisoformat(RECORDED["recorded_at"]))


def test_every_request_was_sent_in_its_canonical_form_and_verifies() -> None:
    company = VerifyKey.from_bytes(bytes.fromhex(KEYS["company_public_key"]))
    assert len(RECORDED["exchanges"]) == 8
    for exchange in RECORDED["exchanges"]:
        plain, message = request_of(exchange)
        assert plain == canonical(message)
        sigdat = base64.b64decode(message["signature"]["sigdat"])
        message["signature"]["sigdat"] = "__signature_sigdat__"
        company.verify(canonical(message), sigdat, IDENTITY)


def test_every_answer_opens(keys: BankKeys) -> None:
    for exchange in RECORDED["exchanges"]:
        function = dict(urllib.parse.parse_qsl(exchange["request"]))["FUNCODE"]
        assert recorded(function, keys).result_code == "SUC0000"


def lines(*numbers: int) -> list[Submission]:
    blank = Instruction("", "", "", "", Money("CNY", 1))
    return [Submission(f"YQRECORDED{number:04d}", 1, blank) for number in numbers]


def test_the_batch_answer_lists_only_the_line_refused_at_once(keys: BankKeys, profile: Profile) -> None:
    answer = recorded("BB1PAYBH", keys)
    told = submissions.read_batch(answer, lines(*range(6)), profile, "BT01A20377A23784290AE1F13A")
    assert [one.status for one in told] == [BankStatus.PROCESSING, BankStatus.REJECTED, *[BankStatus.PROCESSING] * 4]
    assert (told[1].reason_code, told[1].proprietary_code) == ("AC04", "ACT0009")
    assert told[1].reason_text == "收款账户已销户 creditor account closed"


def test_the_single_answer_is_processing(keys: BankKeys, profile: Profile) -> None:
    (told,) = submissions.read_single(recorded("BB1PAYOP", keys), lines(6), profile)
    assert told.status is BankStatus.PROCESSING


def test_the_query_tells_each_payment_apart(keys: BankKeys, profile: Profile) -> None:
    found = {r.instruction_id[-1]: r for r in queries.read_query(recorded("BB1PAYQR", keys), profile, CURRENCIES)}
    assert {number: (r.status.value, r.reason_code) for number, r in found.items()} == {
        "0": ("SETTLED", ""),
        "1": ("REJECTED", "AC04"),
        "2": ("REJECTED", "AC04"),
        "3": ("UNKNOWN", "SUSPICIOUS"),
        "4": ("RETURNED", "BE01"),
        "5": ("SETTLED", ""),
        "6": ("SETTLED", ""),
    }
    assert found["0"].amount == Money("CNY", 123450)
    assert found["5"].amount == Money("CNY", 5)  # came as the number 0.05
    assert (found["0"].booking_date, found["0"].account_servicer_reference) == (DAY, "000000000000001")
    assert (found["4"].booking_date, found["4"].account_servicer_reference) == (DAY, "000000000000003")
    assert found["3"].booking_date is None


def test_balances_are_exact_whether_text_or_number(keys: BankKeys) -> None:
    now = datetime.fromisoformat(RECORDED["recorded_at"])
    cny, eur = accounts.read_balances(recorded("NTQADINF", keys), [CNY, EUR], CURRENCIES, now)
    assert (cny.booked, cny.available, cny.frozen) == (
        Money("CNY", 999875311),
        Money("CNY", 999874077),
        Money("CNY", 1234),
    )
    assert eur.available == Money("EUR", 500000000)
    assert (eur.frozen, eur.bank_date) == (Money("EUR", 0), DAY)


def test_entries_carry_reference_direction_and_balance(keys: BankKeys) -> None:
    page = accounts.read_entries(recorded("trsQryByBreakPoint", keys), CNY, DAY)
    assert [(e.instruction_id[-1], e.is_credit, e.amount.minor_units) for e in page.entries] == [
        ("0", False, 123450),
        ("4", False, 1234),
        ("5", False, 5),
        ("4", True, 1234),
        ("6", False, 1234),
    ]
    first = page.entries[0]
    assert (first.counterparty_name, first.remittance_information) == ("收款有限公司", "货款 invoice 7")
    assert first.balance_after == Money("CNY", 999876550)
    assert (page.opening_balance, page.closing_balance) == (Money("CNY", 1000000000), Money("CNY", 999875311))
    assert (page.has_more, page.is_final) == (False, False)
    echoed = accounts.entry_body(CNY, DAY, page.next_cursor)["trsqryy1"]
    assert echoed == recorded("trsQryByBreakPoint", keys).body["trsqryy1"]


def test_returns_name_the_debit_and_the_reason(keys: BankKeys, profile: Profile) -> None:
    (found,), next_key = queries.read_returns(recorded("BB1QRYOB", keys), profile, CURRENCIES)
    assert (found.instruction_id, found.status, found.reason_code) == ("YQRECORDED0004", BankStatus.RETURNED, "BE01")
    assert (found.account_servicer_reference, found.booking_date, next_key) == ("000000000000003", DAY, "")
