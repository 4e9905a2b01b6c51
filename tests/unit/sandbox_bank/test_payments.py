"""Submitting, executing, querying: received is not executed, and a reference counts once."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from .conftest import BankThread
from .wire_client import WireClient, batch, cents, line

CNY = "755915678910001"


def query(client: WireClient, *references: str) -> list[dict[str, Any]]:
    asked = {
        "bb1payqrx1": [client.range_of_receipt()],
        "bb1payqrx2": [{"yurRef": reference} for reference in references],
    }
    return list(client.call("BB1PAYQR", asked)["bb1payqrz1"])


def single(reference: str, **changes: str) -> dict[str, Any]:
    return {"bb1payopx1": [{**line(reference), "dbtAcc": CNY, **changes}]}


def test_a_batch_is_received_and_then_executed(bank: BankThread, client: WireClient) -> None:
    answer = client.call("BB1PAYBH", batch("B1", [line("R1", "100.00"), line("R2", "0.01")]))
    assert answer == {
        "bb1paybhz1": [{"batNbr": "B1", "batSts": "OPR", "dtlNum": "2", "errCod": "SUC0000", "errTxt": ""}],
        "bb1paybhz2": [],
    }
    report = bank.until_executed()
    assert report["totals"]["settled"] == 2
    found = {one["yurRef"]: one for one in query(client, "R1", "R2", "R3")}
    assert set(found) == {"R1", "R2"}
    assert {(one["reqSts"], one["rtnFlg"]) for one in found.values()} == {("FIN", "S")}
    assert cents(found["R1"]["trsAmt"]) == 10_000
    assert cents(report["accounts"][0]["booked"]) == 10_000_000_00 - 10_001


def test_a_thousand_lines_are_received_and_executed_fast(bank: BankThread, client: WireClient) -> None:
    lines = [line(f"R{n}", f"{n % 900 + 1}.{n % 100:02d}") for n in range(1000)]
    form = client.form("BB1PAYBH", batch("B1", lines))
    began = time.perf_counter()
    client.open(client.post(form).text, "BB1PAYBH")
    # Typically 0.1 s alone on two cores; the bound leaves room for a busy machine.
    assert time.perf_counter() - began < 1.5
    assert bank.until_executed()["totals"]["settled"] == 1000
    assert len(query(client, *[f"R{n}" for n in range(500)])) == 500


def test_a_refused_line_does_not_stop_the_others(bank: BankThread, client: WireClient) -> None:
    wrong = [
        line("AMT", "0.00"),
        line("CUR", ccyNbr="32"),
        line("ACC", crtAcc="6225 8801"),
        line("NAM", crtNam=" "),
        line("BNK", crtBrd="12345"),
        line("NOB", crtBrd="", crtBnk=""),
        line("CHN", stlChn="Z"),
        line("CAP", "1000000.01", stlChn="R"),
        line("TXT", nusAge="长" * 101),
        line("CTL", nusAge="a\x07"),
    ]
    answer = client.call("BB1PAYBH", batch("B1", [line("OK1"), *wrong, line("OK2")]))
    codes = {one["yurRef"]: one["errCod"] for one in answer["bb1paybhz2"]}
    assert codes == {
        "AMT": "AMT0001", "CUR": "CUR0001", "ACC": "ACC0001", "NAM": "ACC0001", "BNK": "BNK0001",
        "NOB": "BNK0001", "CHN": "CHN0001", "CAP": "CHN0001", "TXT": "TXT0001", "CTL": "TXT0001",
    }  # fmt: skip
    totals = bank.until_executed()["totals"]
    assert (totals["settled"], totals["rejected"]) == (2, 10)
    assert {(one["reqSts"], one["rtnFlg"]) for one in query(client, *codes)} == {("FIN", "F")}


def test_a_payment_in_another_currency_is_paid_from_its_own_account(bank: BankThread, client: WireClient) -> None:
    euro = line("EUR1", "12.30", ccyNbr="35", crtAcc="DE89370400440532013000", crtBrd="", crtBic="COBADEFFXXX")
    client.call("BB1PAYBH", batch("B1", [euro], "755915678932001"))
    bank.until_executed()
    assert bank.payment("EUR1")["times_debited"] == 1


def test_a_reference_seen_before_is_refused_as_duplicate_and_debited_once(bank: BankThread, client: WireClient) -> None:
    client.call("BB1PAYBH", batch("B1", [line("R1"), line("R1"), line("R2")]))
    again = client.call("BB1PAYBH", batch("B2", [line("R1"), line("R3")]))
    assert [(one["yurRef"], one["errCod"]) for one in again["bb1paybhz2"]] == [("R1", "DUP0001")]
    alone = client.call("BB1PAYOP", single("R2"))["bb1payopz1"][0]
    assert (alone["errCod"], alone["reqNbr"]) == ("DUP0001", "")
    report = bank.until_executed()
    assert report["totals"]["duplicates_refused"] == 3
    assert report["double_debits"] == 0
    assert {one["reference"]: one["times_debited"] for one in report["payments"]} == {"R1": 1, "R2": 1, "R3": 1}


def test_a_reference_is_free_again_after_thirteen_months(bank: BankThread, client: WireClient) -> None:
    client.call("BB1PAYOP", single("R1"))
    bank.until_executed()
    bank.control("clock", {"advance_days": 360})
    assert client.call("BB1PAYOP", single("R1"))["bb1payopz1"][0]["errCod"] == "DUP0001"
    bank.control("clock", {"advance_days": 60})
    assert client.call("BB1PAYOP", single("R1"))["bb1payopz1"][0]["errCod"] == "SUC0000"
    bank.until_executed()
    assert bank.control("book")["double_debited_references"] == ["R1"]


def test_a_finally_failed_reference_may_be_used_again_and_the_newest_record_counts(
    bank: BankThread, client: WireClient
) -> None:
    client.call("BB1PAYOP", single("R1", ccyNbr="32"))
    client.call("BB1PAYOP", single("R1"))
    bank.until_executed()
    newest = max(query(client, "R1"), key=lambda one: one["reqNbr"])
    assert (newest["reqSts"], newest["rtnFlg"]) == ("FIN", "S")
    assert len(query(client, "R1")) == 2
    assert bank.payment("R1")["times_debited"] == 1


def test_a_batch_number_seen_before_is_refused_whole(bank: BankThread, client: WireClient) -> None:
    client.call("BB1PAYBH", batch("B1", [line("R1")]))
    assert client.refusal("BB1PAYBH", batch("B1", [line("R2")])) == "BAT0001"
    assert bank.until_executed()["totals"]["received"] == 1


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda body: body["bb1paybhx1"][0].update(dtlNum="3"), "BAT0002"),
        (lambda body: body["bb1paybhx1"][0].update(dtlAmt="200.01"), "BAT0002"),
        (lambda body: body["bb1paybhx1"][0].update(dbtAcc="1"), "NTF0003"),
        (lambda body: body["bb1paybhx1"][0].update(dbtAcc="CLEARING-CNY"), "NTF0003"),
        (lambda body: body["bb1paybhx1"][0].update(ctnFlg="Y"), "NTF0005"),
        (lambda body: body["bb1paybhx1"][0].pop("batNbr"), "NTF0001"),
        (lambda body: body["bb1paybhx2"][1].update(yurRef="x" * 31), "NTF0001"),
        (lambda body: body["bb1paybhx2"][1].update(crtNam=7), "NTF0001"),
        (lambda body: body["bb1paybhx2"][1].pop("conNbr"), "NTF0001"),
        (lambda body: body.update(bb1paybhx2=[]), "NTF0001"),
        (lambda body: body.update(bb1paybhx2=body["bb1paybhx2"] * 501), "NTF0004"),
    ],
)
def test_a_batch_that_does_not_hold_together_is_refused_whole(
    bank: BankThread, client: WireClient, spoil: Any, code: str
) -> None:
    body = batch("B1", [line("R1"), line("R2")])
    spoil(body)
    assert client.refusal("BB1PAYBH", body) == code
    assert bank.book()["totals"]["received"] == 0


def test_a_function_unknown_is_said_so(client: WireClient) -> None:
    assert client.refusal("BB9NOTHING", {}) == "NTF0002"


def test_a_payment_without_funds_fails_at_execution_and_the_next_one_still_goes(
    bank: BankThread, client: WireClient
) -> None:
    lines = [line("BIG", "499999.00"), line("TOO", "5.00"), line("FIT", "1.00")]
    client.call("BB1PAYBH", batch("B1", lines, "755915678910002"))
    bank.until_executed()
    assert {one["yurRef"]: one["errCod"] for one in query(client, "BIG", "TOO", "FIT")} == {
        "BIG": "SUC0000", "TOO": "FUN0001", "FIT": "SUC0000",
    }  # fmt: skip


def test_a_batch_is_read_page_by_page(bank: BankThread, client: WireClient) -> None:
    client.call("BB1PAYBH", batch("B1", [line(f"R{n}", "1.00") for n in range(450)]))
    bank.until_executed()
    key, pages = "", []
    while True:
        answer = client.call("BB1QRYBD", {"bb1qrybdx1": [{"batNbr": "B1", "ctnKey": key}]})
        pages.append([one["yurRef"] for one in answer["bb1qrybdz1"]])
        more = answer["bb1qrybdy1"][0]
        if more["ctnFlg"] == "N":
            break
        key = more["ctnKey"]
    assert [len(page) for page in pages] == [200, 200, 50]
    assert [one for page in pages for one in page] == [f"R{n}" for n in range(450)]
    assert client.refusal("BB1QRYBD", {"bb1qrybdx1": [{"batNbr": "B2", "ctnKey": key}]}) == "NTF0007"


def test_without_query_permission_the_answer_is_empty_and_the_rights_say_why(
    bank: BankThread, client: WireClient
) -> None:
    client.call("BB1PAYOP", single("R1"))
    bank.control("permissions", {"query": False})
    assert query(client, "R1") == []
    assert client.call("DCLISACC", {})["dclisaccz1"][0]["qryFlg"] == "N"
    bank.control("permissions", {"query": True})
    assert len(query(client, "R1")) == 1


def test_calls_over_the_limit_are_refused(bank: BankThread, client: WireClient) -> None:
    bank.restart(queries_max=0)
    assert client.post(client.form("DCLISACC", {})).text.startswith("CDCServer:LIM0001")
    client.call("BB1PAYOP", single("R1"))


def test_the_control_api_refuses_nonsense_in_words(bank: BankThread) -> None:
    for path, content in [
        ("clock", {"advance_days": -1}),
        ("clock", {"advance_weeks": 1}),
        ("accounts", {"account": "x y"}),
        ("accounts", {"account": CNY}),
        ("entries", {"account": CNY, "kind": "fee", "amount": "5"}),
        ("permissions", {"query": "no"}),
    ]:
        response = httpx.post(f"{bank.url}/control/{path}", json=content, trust_env=False)
        assert (response.status_code, list(response.json())) == (400, ["error"]), response.text
