"""A bank that misbehaves as scripted, while its book stays sound."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import httpx
import pytest

from .conftest import BankThread
from .test_payments import query, single
from .test_statement import business_date, read_day, wire_date
from .wire_client import GatewayAnswer, WireClient, batch, cents, line

CNY = "755915678910001"


def state(client: WireClient, reference: str) -> tuple[str, str, str]:
    found = query(client, reference)[0]
    return found["reqSts"], found["rtnFlg"], found["errCod"]


def test_an_answer_lost_after_the_debit_shows_one_debit_whatever_is_sent_again(
    bank: BankThread, client: WireClient
) -> None:
    bank.control("script", '[[rule]]\nwhen = { function = "BB1PAYBH" }\nlose_answer = true')
    with pytest.raises(httpx.RemoteProtocolError):
        client.exchange("BB1PAYBH", batch("B1", [line("R1")]))
    bank.until_executed()
    assert state(client, "R1") == ("FIN", "S", "SUC0000")
    assert client.refusal("BB1PAYBH", batch("B1", [line("R1")])) == "BAT0001"
    again = client.call("BB1PAYBH", batch("B2", [line("R1")]))
    assert again["bb1paybhz2"][0]["errCod"] == "DUP0001"
    bank.until_executed()
    assert bank.payment("R1")["times_debited"] == 1


def test_a_lost_request_leaves_nothing_and_may_be_sent_again(bank: BankThread, client: WireClient) -> None:
    bank.control("script", '[[rule]]\nwhen = { reference = "R*" }\nlose_request = true')
    with pytest.raises(httpx.TransportError):
        client.exchange("BB1PAYBH", batch("B1", [line("R1")]))
    assert query(client, "R1") == []
    client.call("BB1PAYBH", batch("B1", [line("R1")]))
    bank.until_executed()
    assert bank.payment("R1")["times_debited"] == 1


def test_a_late_request_appears_after_an_empty_query(bank: BankThread, client: WireClient) -> None:
    bank.control("script", "[[rule]]\nwhen = { reference = 'R1' }\nlate_request = { milliseconds = 300 }")
    with pytest.raises(httpx.TransportError):
        client.exchange("BB1PAYBH", batch("B1", [line("R1")]))
    assert query(client, "R1") == []
    bank.until(lambda: query(client, "R1") != [], "the late request")


def test_a_gateway_error_may_hide_that_the_batch_was_processed(bank: BankThread, client: WireClient) -> None:
    script = (
        "[[rule]]\nwhen = { function = 'BB1PAYBH' }\ngateway_error = { processed = true, status = 502, text = 'bad' }"
    )
    bank.control("script", script)
    with pytest.raises(GatewayAnswer, match="bad"):
        client.exchange("BB1PAYBH", batch("B1", [line("R1")]))
    assert len(query(client, "R1")) == 1


@pytest.mark.parametrize(
    ("outcome", "debited", "final", "credits"),
    [
        ("S", "before", ("FIN", "S", "SUC0000"), 0),
        ("S", "at_resolution", ("FIN", "S", "SUC0000"), 0),
        ("F", "before", ("FIN", "F", "UNK0001"), 1),
        ("F", "at_resolution", ("FIN", "F", "UNK0001"), 0),
    ],
)
def test_a_suspicious_payment_resolves_when_its_time_has_come(
    bank: BankThread, client: WireClient, outcome: str, debited: str, final: tuple[str, str, str], credits: int
) -> None:
    suspicious = f"{{ after_seconds = 600, then = '{outcome}', debited = '{debited}' }}"
    bank.control("script", f"[[rule]]\nwhen = {{ line = 2 }}\nsuspicious = {suspicious}")
    client.call("BB1PAYBH", batch("B1", [line("R1"), line("R2"), line("R3")]))
    bank.until_executed()
    assert [state(client, one)[:2] for one in ("R1", "R2", "R3")] == [("FIN", "S"), ("WRF", ""), ("FIN", "S")]
    assert bank.payment("R2")["times_debited"] == (1 if debited == "before" else 0)
    assert client.call("BB1PAYOP", single("R2"))["bb1payopz1"][0]["errCod"] == "DUP0001"
    bank.control("clock", {"advance_seconds": 601})
    bank.until(lambda: state(client, "R2") == final, "the resolution")
    moved = bank.payment("R2")
    assert (moved["times_debited"], moved["times_credited"]) == (0 if final[1] == "F" and not credits else 1, credits)
    if credits:
        entries, _ = read_day(client, business_date(bank))
        reversal = next(one for one in entries if one["rvsFlg"] == "*")
        assert (reversal["yurRef"], cents(reversal["trsAmt"])) == ("R2", 10_000)


def test_a_scripted_refusal_comes_at_receipt_or_at_execution(bank: BankThread, client: WireClient) -> None:
    bank.control(
        "script",
        """
        [[rule]]
        when = { creditor_name = "*注销*" }
        refuse = { code = "ACT0009", text = "收款账户已销户" }
        [[rule]]
        when = { amount = "*.13" }
        refuse = { at = "receipt", code = "BNK0009" }
        [[rule]]
        when = { reference = "PARKED" }
        refuse = { flag = "U", code = "HLD0001" }
        """,
    )
    lines = [line("R1", crtNam="某某(注销)有限公司"), line("R2", "5.13"), line("R3"), line("PARKED")]
    answer = client.call("BB1PAYBH", batch("B1", lines))
    assert [one["yurRef"] for one in answer["bb1paybhz2"]] == ["R2"]
    bank.until_executed()
    assert [state(client, one) for one in ("R1", "R2", "R3", "PARKED")] == [
        ("FIN", "F", "ACT0009"), ("FIN", "F", "BNK0009"), ("FIN", "S", "SUC0000"), ("FIN", "U", "HLD0001"),
    ]  # fmt: skip
    assert client.call("BB1PAYOP", single("PARKED"))["bb1payopz1"][0]["errCod"] == "DUP0001"


def test_a_return_is_booked_on_its_day_and_listed(bank: BankThread, client: WireClient) -> None:
    bank.control("script", "[[rule]]\nwhen = { reference = 'R2' }\nreturn = { after_days = 1, code = 'RTN0007' }")
    first_day = business_date(bank)
    client.call("BB1PAYBH", batch("B1", [line("R1"), line("R2", "250.00")]))
    bank.until_executed()
    assert state(client, "R2") == ("FIN", "S", "SUC0000")
    bank.control("clock", {"advance_days": 3})
    returned_on = first_day + dt.timedelta(days=1)
    assert state(client, "R2") == ("FIN", "B", "RTN0007")
    asked = {"begDat": wire_date(first_day), "endDat": wire_date(first_day + dt.timedelta(days=6))}
    listed = client.call("BB1QRYOB", {"bb1qryobx1": [asked]})
    assert listed["bb1qryoby1"] == [{"ctnFlg": "N", "ctnKey": ""}]
    (one,) = listed["bb1qryobz1"]
    assert (one["yurRef"], one["bckDat"], one["bckCod"]) == ("R2", wire_date(returned_on), "RTN0007")
    assert client.call("BB1PAYQB", {"bb1payqbx1": [{**asked, "accNbr": CNY}]})["bb1payqbz1"][0]["yurRef"] == "R2"
    entries, day = read_day(client, returned_on)
    assert [(e["trxCod"], e["trxSeq"], e["orgSeq"]) for e in entries] == [("RET", one["trxSeqBackward"], one["trxSeq"])]
    assert cents(day["clsBal"]) - cents(day["opnBal"]) == 25_000
    assert client.call("BB1PAYOP", single("R2"))["bb1payopz1"][0]["errCod"] == "SUC0000"
    bank.until_executed()
    assert bank.book()["double_debits"] == 0


def test_returns_are_asked_for_a_week_at_most_and_not_far_back(bank: BankThread, client: WireClient) -> None:
    today = business_date(bank)
    long = {"begDat": wire_date(today - dt.timedelta(days=7)), "endDat": wire_date(today)}
    old = {"begDat": wire_date(today - dt.timedelta(days=70)), "endDat": wire_date(today - dt.timedelta(days=69))}
    assert client.refusal("BB1QRYOB", {"bb1qryobx1": [long]}) == "NTF0006"
    assert client.refusal("BB1QRYOB", {"bb1qryobx1": [old]}) == "NTF0006"


def test_fees_and_credits_come_at_day_end_and_on_their_day(bank: BankThread, client: WireClient) -> None:
    bank.control(
        "script",
        f"""
        [[rule]]
        every = 2
        fee = {{ amount = "5.00", at = "day_end", text = "手续费" }}
        [[entry]]
        account = "{CNY}"
        kind = "credit"
        amount = "8888.00"
        on_day = 1
        [[entry]]
        account = "{CNY}"
        amount = "20.00"
        at = "day_end"
        """,
    )
    first_day = business_date(bank)
    client.call("BB1PAYBH", batch("B1", [line("R1"), line("R2"), line("R3")]))
    bank.until_executed()
    assert [one["trxCod"] for one in read_day(client, first_day)[0]] == ["PAY", "PAY", "PAY"]
    bank.control("clock", {"advance_days": 1})
    closed, _ = read_day(client, first_day)
    assert sorted(cents(one["trsAmt"]) for one in closed[3:]) == [-2000, -500]
    opened, _ = read_day(client, first_day + dt.timedelta(days=1))
    assert [(one["trxCod"], cents(one["trsAmt"])) for one in opened] == [("CRE", 888_800)]
    bank.restart()
    assert len(read_day(client, first_day)[0]) == 5


def test_a_slow_answer_still_comes(bank: BankThread, client: WireClient) -> None:
    bank.control("script", "[[rule]]\nslow = { milliseconds = 50 }")
    client.call("DCLISACC", {})


def test_a_fault_meant_once_happens_once_across_restarts(bank: BankThread, client: WireClient) -> None:
    bank.control("script", "[[rule]]\nwhen = { function = 'BB1PAYOP' }\nnth = 2\nlose_answer = true")
    client.call("BB1PAYOP", single("R1"))
    bank.restart()
    with pytest.raises(httpx.TransportError):
        client.exchange("BB1PAYOP", single("R2"))
    bank.restart()
    client.call("BB1PAYOP", single("R3"))


def test_chance_is_decided_by_seed_and_reference_alone(bank: BankThread, client: WireClient) -> None:
    bank.control("script", "seed = 3\n[[rule]]\nname = 'luck'\nwhen = { chance = 0.3 }\nrefuse = { at = 'receipt' }")
    one_by_one = {n for n in range(20) if client.call("BB1PAYOP", single(f"R{n}"))["bb1payopz1"][0]["rtnFlg"] == "F"}
    assert 0 < len(one_by_one) < 20
    fresh = client.call("BB1PAYBH", batch("B1", [line(f"R{n}") for n in sorted(one_by_one, reverse=True)]))
    assert {one["yurRef"] for one in fresh["bb1paybhz2"]} == {f"R{n}" for n in one_by_one}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("[[rule]]\nrefuze = true", "refuze is not known"),
        ("[[rule]]\nname = 'a'", "a: no fault"),
        ("[[rule]]\nrefuse = { at = 'never' }", "refuse.at must be one of receipt, execution"),
        ("[[rule]]\nwhen = { chance = 2 }\nslow = true", "chance must be"),
        ("[[rule]]\nslow = true\nrefuse = true", "a rule of its own"),
        ("[[entry]]\naccount = '1'\namount = '5'", "two decimals"),
        ("[rule]\nslow = true", "[[rule]]"),
        ("= nonsense", "neither TOML nor JSON"),
    ],
)
def test_a_wrong_script_is_refused_in_words_and_the_old_one_stays(bank: BankThread, script: str, words: str) -> None:
    response = bank.http.post("/control/script", content=script)
    assert response.status_code == 400
    assert words in response.json()["error"]


def test_the_example_of_the_docs_is_a_valid_script(bank: BankThread) -> None:
    text = (Path(__file__).parents[3] / "docs" / "sandbox-bank.md").read_text("utf-8")
    example = text.split("## Fault script")[1].split("```toml")[1].split("```")[0]
    assert bank.control("script", example) == {"rules": 7, "entries": 1}
