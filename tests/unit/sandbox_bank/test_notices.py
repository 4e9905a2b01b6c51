"""Notices: what is told, how long it is repeated, and how they are spoilt; last, on a real wire."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from yinqi import crypto

from .conftest import BankThread
from .plain_bank import CNY, PlainBank
from .wire_client import PLACEHOLDER, USER_ID, WireClient, batch, canonical, line

PAYMENTS, ENTRIES = "YQN02030", "YQN01010"


def notifying(*faults: str) -> PlainBank:
    script = "".join(f'[[rule]]\nwhen = {{ function = "{PAYMENTS}" }}\n{fault}\n' for fault in faults)
    return PlainBank(script, notice_url="in-process")


def payments_of(notices: list[Any]) -> list[tuple[str, str, str]]:
    """Reference, state and flag of every payment record, in the order sent."""
    return [
        (record["yurRef"], record["reqSts"], record["rtnFlg"])
        for one in notices
        if one.notice["head"]["nottyp"] == PAYMENTS
        for record in one.notice["body"]["bbnoticez1"]
    ]


def settle(bank: PlainBank, *references: str) -> None:
    for reference in references:
        bank.pay(reference)
        bank.passes(1)


# --- what is told ---


def test_a_settled_payment_and_its_entry_are_told_once() -> None:
    bank = notifying()
    settle(bank, "R1")
    payment, entry = bank.notices()
    assert payment.notice["head"] == {
        "funcode": "BBNOTICE",
        "userid": "U1",
        "notnbr": "000000000000001",
        "nottim": "20261102080001000",
        "nottyp": PAYMENTS,
    }
    (record,) = payment.notice["body"]["bbnoticez1"]
    answer = bank.ask("R1").response
    assert answer
    assert record == answer["body"]["bb1payqrz1"][0]
    (booked,) = entry.notice["body"]["bbnoticez1"]
    assert booked == {"accNbr": CNY, **bank.day(bank.today)[0][0]}
    bank.passes(1_000)
    assert bank.notices() == []


def test_each_state_that_matters_is_told_and_a_refusal_in_the_answer_is_not() -> None:
    bank = notifying()
    bank.bank.load_script(
        """
        [[rule]]
        when = { reference = "WRF" }
        suspicious = { after_seconds = 60, then = "F" }
        [[rule]]
        when = { reference = "BACK" }
        return = true
        """
    )
    bank.pay("WRF", "BACK")
    bank.pay("BAD", trsAmt="1")
    bank.passes(1)
    bank.passes(60)
    bank.passes(days=1)
    told = payments_of(bank.notices())
    assert told == [("WRF", "WRF", ""), ("BACK", "FIN", "S"), ("WRF", "FIN", "F"), ("BACK", "FIN", "B")]


def test_an_entry_of_nobodys_payment_is_told_to_every_user() -> None:
    bank = notifying()
    bank.pay("R1")
    bank.bank.load_script(f'[[entry]]\naccount = "{CNY}"\nkind = "credit"\namount = "8888.00"')
    (credit,) = [one for one in bank.notices() if one.notice["body"]["bbnoticez1"][0].get("trxCod") == "CRE"]
    assert credit.user_id == "U1"


def test_what_happened_before_notices_were_asked_for_is_not_told() -> None:
    bank = PlainBank()
    settle(bank, "R1")
    bank.bank.notify("in-process")
    settle(bank, "R2")
    assert payments_of(bank.notices()) == [("R2", "FIN", "S")]
    bank.bank.notify("")
    settle(bank, "R3")
    assert bank.notices() == []


def test_many_payments_of_a_moment_share_notices_of_fifty() -> None:
    bank = notifying()
    bank.send("BB1PAYBH", batch("B1", [line(f"R{n}") for n in range(120)]))
    bank.passes(1)
    sizes = [len(one.notice["body"]["bbnoticez1"]) for one in bank.notices()]
    assert sizes == [50, 50, 20] * 2


def test_an_unacknowledged_notice_comes_again_later_and_later_with_the_same_number_and_body() -> None:
    bank = notifying()
    settle(bank, "R1")
    first, *_ = bank.notices(acknowledged=False)
    waits = []
    for _ in range(11):
        wait_ms = bank.bank.wait_ms()
        assert wait_ms is not None
        waits.append(wait_ms // 1000)
        bank.passes(wait_ms / 1000)
        again, *_ = bank.notices(acknowledged=False)
        assert (again.number, again.notice) == (first.number, first.notice)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    bank.passes(300)
    bank.notices()
    bank.passes(10_000)
    assert bank.notices() == []
    assert bank.bank.notice_counts()["waiting"] == 0


# --- how they are spoilt ---


def test_a_lost_notice_never_comes() -> None:
    bank = notifying("lose_notice = true")
    settle(bank, "R1")
    bank.passes(1_000)
    assert payments_of(bank.notices()) == []


def test_a_delayed_notice_is_overtaken() -> None:
    bank = notifying("times = 1\ndelay_notice = { milliseconds = 5000 }")
    settle(bank, "R1", "R2")
    assert payments_of(bank.notices()) == [("R2", "FIN", "S")]
    bank.passes(5)
    assert payments_of(bank.notices()) == [("R1", "FIN", "S")]


def test_swapped_notices_change_places_and_the_last_goes_out_alone() -> None:
    bank = notifying("nth = [1, 3]\ntimes = 2\nswap_notice = true")
    settle(bank, "R1", "R2", "R3")
    bank.passes(1)
    assert [one[0] for one in payments_of(bank.notices())] == ["R2", "R1"]
    bank.passes(60)
    assert [one[0] for one in payments_of(bank.notices())] == ["R3"]


def test_a_duplicated_notice_comes_again_though_acknowledged() -> None:
    bank = notifying("duplicate_notice = { copies = 2 }")
    settle(bank, "R1")
    assert payments_of(bank.notices()) == [("R1", "FIN", "S")] * 3


def test_a_forged_notice_says_the_opposite_before_the_truth() -> None:
    bank = notifying("forge_notice = true")
    bank.pay("BAD", account=CNY, trsAmt="99999999.00")
    bank.passes(1)
    forged, genuine = bank.notices()
    assert (forged.forged, genuine.forged) == ("wrong_key", "")
    assert forged.number == genuine.number
    assert payments_of([forged, genuine]) == [("BAD", "FIN", "S"), ("BAD", "FIN", "F")]


def test_a_replayed_notice_is_the_old_one_with_its_old_time() -> None:
    bank = notifying("nth = 3\nreplay_notice = { back = 2 }")
    sent = []
    for reference in ("R1", "R2", "R3"):
        settle(bank, reference)
        sent += bank.notices()
    (replayed,) = [one for one in sent if one.repeated]
    (original,) = [one for one in sent if one.number == replayed.number and not one.repeated]
    assert (replayed.notice, replayed.signed_at_ms) == (original.notice, original.signed_at_ms)
    assert bank.counts() == {"replay_notice": 1}


# --- on the wire ---


class Company:
    """An HTTP server that opens notices with another crypto library and acknowledges as told."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.answers: list[tuple[int, str]] = []
        company = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"])).decode()
                company.forms.append({name: values[0] for name, values in parse_qs(content).items()})
                status, body = company.answers.pop(0) if company.answers else (200, " SUC0000\n")
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/notices"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def company() -> Iterator[Company]:
    company = Company()
    yield company
    company.close()


def open_notice(form: dict[str, str], client: WireClient) -> tuple[dict[str, Any], bool]:
    """The message and whether the bank's signature over it verifies."""
    assert (form["UID"], form["FUNCODE"], form["ALG"]) == (USER_ID, "BBNOTICE", "SM")
    plain = crypto.sm4_cbc_decrypt(client.sm4_key, client.padded, base64.b64decode(form["DATA"], validate=True))
    message = json.loads(plain)
    assert plain == canonical(message)
    raw = base64.b64decode(message["signature"]["sigdat"], validate=True)
    message["signature"]["sigdat"] = PLACEHOLDER
    bank_key = bytes.fromhex((Path(client.keys_dir) / "bank_public_key.hex").read_text().strip())
    try:
        crypto.VerifyKey.from_bytes(bank_key).verify(canonical(message), raw, identity=client.padded)
    except crypto.CryptoError:
        return message["notice"], False
    return message["notice"], True


def test_notices_arrive_sealed_and_signed_and_are_repeated_until_acknowledged(
    bank: BankThread, client: WireClient, company: Company
) -> None:
    assert bank.control("notices", {"url": company.url})["url"] == company.url
    company.answers = [(500, ""), (200, "OK"), (200, "SUC0000")]
    client.call("BB1PAYBH", batch("B1", [line("R1")]))
    bank.until(lambda: bank.control("notices")["acknowledged"] == 2, "both notices to be acknowledged")
    opened = [open_notice(form, client) for form in company.forms]
    assert all(genuine for _, genuine in opened)
    numbers = [notice["head"]["notnbr"] for notice, _ in opened]
    assert len(numbers) == 4
    assert len(set(numbers)) == 2
    assert {notice["head"]["nottyp"] for notice, _ in opened} == {PAYMENTS, ENTRIES}


@pytest.mark.parametrize("how", ["wrong_key", "altered"])
def test_a_forged_notice_does_not_verify_and_a_replayed_one_is_the_same_to_the_byte(
    bank: BankThread, client: WireClient, company: Company, how: str
) -> None:
    bank.control("notices", {"url": company.url})
    bank.control(
        "script",
        f"""
        [[rule]]
        when = {{ function = "{PAYMENTS}" }}
        forge_notice = {{ how = "{how}" }}
        [[rule]]
        when = {{ function = "{ENTRIES}" }}
        replay_notice = true
        """,
    )
    client.call("BB1PAYBH", batch("B1", [line("R1")]))
    bank.until(lambda: len(company.forms) >= 4, "four notices")
    forged, payment, _, replayed = company.forms
    assert [open_notice(form, client)[1] for form in company.forms] == [False, True, True, True]
    assert open_notice(forged, client)[0]["body"]["bbnoticez1"][0]["rtnFlg"] == "F"
    assert replayed == payment
    assert bank.control("faults")["counts"] == {"forge_notice": 1, "replay_notice": 1}
