"""Who may speak to the bank, and what it refuses before any function runs."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from yinqi import crypto

from .conftest import BankThread
from .wire_client import USER_ID, BadAnswer, GatewayAnswer, WireClient, batch, canonical, line


def test_a_signed_message_is_answered_and_the_answer_verifies(client: WireClient) -> None:
    head, body = client.exchange("DCLISACC", {})
    assert head["resultcode"] == "SUC0000"
    assert [one["accNbr"] for one in body["dclisaccz1"]][:2] == ["755915678910001", "755915678910002"]


def _raise_the_amount(message: dict[str, Any]) -> None:
    message["request"]["body"]["bb1paybhx2"][0]["trsAmt"] = "999.00"


def _swap_the_creditor(message: dict[str, Any]) -> None:
    message["request"]["body"]["bb1paybhx2"][0]["crtAcc"] = "6225880199999999"


def _shorten_the_signature(message: dict[str, Any]) -> None:
    message["signature"]["sigdat"] = message["signature"]["sigdat"][:-4]


def _move_the_signing_time(message: dict[str, Any]) -> None:
    message["signature"]["sigtim"] = str(int(message["signature"]["sigtim"]) + 1)


@pytest.mark.parametrize(
    "tamper", [_raise_the_amount, _swap_the_creditor, _shorten_the_signature, _move_the_signing_time]
)
def test_a_tampered_message_is_refused_and_leaves_no_trace(
    bank: BankThread, client: WireClient, tamper: Callable[[dict[str, Any]], None]
) -> None:
    with pytest.raises(GatewayAnswer, match="CDCServer:SIG0001"):
        client.exchange("BB1PAYBH", batch("B1", [line("R1")]), tamper=tamper)
    assert bank.book()["totals"]["received"] == 0


def test_another_key_cannot_sign_for_the_user(client: WireClient) -> None:
    client.new_signing_key()
    with pytest.raises(GatewayAnswer, match="CDCServer:SIG0001"):
        client.exchange("DCLISACC", {})


@pytest.mark.parametrize("minutes", [-61, 61])
def test_a_signing_time_more_than_an_hour_off_is_refused(client: WireClient, minutes: int) -> None:
    with pytest.raises(GatewayAnswer, match="CDCServer:SIG0002"):
        client.exchange("DCLISACC", {}, clock_skew=dt.timedelta(minutes=minutes))


def test_moving_the_business_clock_does_not_touch_the_signing_window(bank: BankThread, client: WireClient) -> None:
    bank.control("clock", {"advance_days": 3})
    assert client.exchange("DCLISACC", {})[0]["resultcode"] == "SUC0000"


def test_a_request_number_works_once(client: WireClient) -> None:
    reqid = "20261122120000000abc"
    client.call("DCLISACC", {}, reqid=reqid)
    with pytest.raises(GatewayAnswer, match="CDCServer:REQ0002"):
        client.exchange("DCLISACC", {}, reqid=reqid)
    with pytest.raises(GatewayAnswer, match="CDCServer:REQ0001"):
        client.exchange("DCLISACC", {}, reqid="2026112212")


def test_a_replayed_submit_is_refused_after_a_restart_too(bank: BankThread, client: WireClient) -> None:
    form = client.form("BB1PAYBH", batch("B1", [line("R1")]))
    client.post(form)
    bank.restart()
    assert client.post(form).text.startswith("CDCServer:REQ0002")
    assert bank.until_executed()["totals"]["received"] == 1


def test_text_in_the_form_that_is_no_ciphertext_is_a_gateway_error(client: WireClient) -> None:
    good = client.form("DCLISACC", {})
    iv = client.padded
    not_json = base64.b64encode(crypto.sm4_cbc_encrypt(client.sm4_key, iv, b"hello")).decode()
    twins = base64.b64encode(crypto.sm4_cbc_encrypt(client.sm4_key, iv, b'{"a":1,"a":2}')).decode()
    for data in ("%%%", "QUJD", base64.b64encode(b"x" * 64).decode(), not_json, twins):
        assert client.post({**good, "DATA": data}).text.startswith("CDCServer:ENC0001"), data
    assert client.post({**good, "ALG": "RSA"}).text.startswith("ErrMsg:FRM0001")
    assert client.post({**good, "FUNCODE": "BB1PAYQR"}).text.startswith("ErrMsg:FRM0001")
    assert client.post({**good, "UID": "../etc"}).text.startswith("ErrMsg:USR0001")
    assert client.post({}).text.startswith("ErrMsg:FRM0001")


def test_a_bank_started_first_waits_for_the_users_keys(bank: BankThread) -> None:
    client = WireClient(bank.url, bank.directory / "keys")
    with pytest.raises(GatewayAnswer, match="CDCServer:KEY0001"):
        client.exchange("DCLISACC", {})
    client.install_keys()
    client.call("DCLISACC", {})


def test_rotated_keys_are_read_again(bank: BankThread, client: WireClient) -> None:
    client.call("DCLISACC", {})
    renewed = WireClient(bank.url, bank.directory / "keys")
    renewed.install_keys()
    renewed.call("DCLISACC", {})


def test_a_body_over_the_limit_is_refused(client: WireClient) -> None:
    assert client.post({"UID": USER_ID, "DATA": "A" * 5_000_000}).status_code == 413


def test_names_with_blanks_and_markup_survive_signing_and_come_back(bank: BankThread, client: WireClient) -> None:
    name = "  A <b>&amp;</b>  \u2028 “引号” 𠮷 \\ / "
    client.call("BB1PAYOP", {"bb1payopx1": [{**line("R1", crtNam=name), "dbtAcc": "755915678910001"}]})
    asked = {"bb1payqrx1": [{"begDat": "20261001", "endDat": "20261231"}], "bb1payqrx2": [{"yurRef": "R1"}]}
    assert client.call("BB1PAYQR", asked)["bb1payqrz1"][0]["crtNam"].rstrip() == name.rstrip()


def test_an_answer_with_a_spoilt_signature_does_not_verify(bank: BankThread, client: WireClient) -> None:
    bank.control("script", '[[rule]]\nwhen = { function = "DCLISACC" }\nwrong_signature = true')
    with pytest.raises(BadAnswer):
        client.exchange("DCLISACC", {})
    client.call("DCLISACC", {})


def test_the_canonical_form_is_the_contracts_one() -> None:
    message = {"b": "é<>&/", "a": [1.5, {"d": "", "c": " x "}]}
    assert canonical(message) == '{"a":[1.5,{"c":" x ","d":""}],"b":"é<>&/"}'.encode()
