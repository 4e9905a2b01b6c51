"""Balances and statement: every page in order, every entry explained, the sums meet."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from .conftest import BankThread
from .wire_client import WireClient, batch, cents, line

CNY = "755915678910001"


def business_date(bank: BankThread) -> dt.date:
    return dt.date.fromisoformat(bank.control("clock")["business_date"])


def wire_date(day: dt.date) -> str:
    return day.strftime("%Y%m%d")


def read_day(client: WireClient, day: dt.date, account: str = CNY) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All entries of a day and its balances, checking each page's totals on the way."""
    entries: list[dict[str, Any]] = []
    cursor: list[dict[str, Any]] = []
    while True:
        asked = {"trsqryx1": [{"accNbr": account, "trxDat": wire_date(day)}], "trsqryy1": cursor}
        answer = client.call("trsQryByBreakPoint", asked)
        page, totals = answer["trsqryz1"], answer["trsqryz2"][0]
        assert sum(-cents(one["trsAmt"]) for one in page if one["trxDir"] == "D") == cents(totals["debAmt"])
        assert sum(one["trxDir"] == "C" for one in page) == int(totals["crdNum"])
        entries += page
        cursor = answer["trsqryy1"]
        if cursor[0]["ctnFlag"] == "N":
            return entries, answer["trsqryz3"][0]


def test_the_pages_of_a_day_add_up_to_its_balances(bank: BankThread, client: WireClient) -> None:
    bank.control("entries", {"account": CNY, "kind": "credit", "amount": "2500.00", "counterparty_name": "客户"})
    client.call("BB1PAYBH", batch("B1", [line(f"R{n}", f"{n + 1}.07") for n in range(450)]))
    bank.until_executed()
    bank.control("entries", {"account": CNY, "kind": "fee", "amount": "5.00"})
    entries, day = read_day(client, business_date(bank))
    assert len(entries) == 452
    assert cents(day["opnBal"]) + sum(cents(one["trsAmt"]) for one in entries) == cents(day["clsBal"])
    running = cents(day["opnBal"])
    for one in entries:
        running += cents(one["trsAmt"])
        assert cents(one["acctBal"]) == running
    assert [one["trxSeq"] for one in entries] == sorted({one["trxSeq"] for one in entries})
    assert [one["trxCod"] for one in (entries[0], entries[1], entries[-1])] == ["CRE", "PAY", "FEE"]
    assert {one["yurRef"] for one in entries if one["trxCod"] == "PAY"} == {f"R{n}" for n in range(450)}


def test_the_last_cursor_of_a_day_yields_only_newer_entries(bank: BankThread, client: WireClient) -> None:
    asked: dict[str, Any] = {"trsqryx1": [{"accNbr": CNY, "trxDat": wire_date(business_date(bank))}]}
    bank.control("entries", {"account": CNY, "kind": "fee", "amount": "1.00"})
    first = client.call("trsQryByBreakPoint", asked)
    asked["trsqryy1"] = first["trsqryy1"]
    again = client.call("trsQryByBreakPoint", asked)
    assert (len(first["trsqryz1"]), len(again["trsqryz1"])) == (1, 0)
    bank.control("entries", {"account": CNY, "kind": "fee", "amount": "2.00"})
    asked["trsqryy1"] = again["trsqryy1"]
    assert [cents(one["trsAmt"]) for one in client.call("trsQryByBreakPoint", asked)["trsqryz1"]] == [-200]


def test_a_changed_cursor_is_refused(bank: BankThread, client: WireClient) -> None:
    asked: dict[str, Any] = {"trsqryx1": [{"accNbr": CNY, "trxDat": wire_date(business_date(bank))}]}
    cursor = client.call("trsQryByBreakPoint", asked)["trsqryy1"][0]
    for change in ({"curSeq": "000000000000001"}, {"accNbr": "1"}, {"extra": "x"}):
        asked["trsqryy1"] = [{**cursor, **change}]
        assert client.refusal("trsQryByBreakPoint", asked) == "NTF0007"


def test_a_closed_day_stays_as_it_was_and_the_next_opens_where_it_closed(bank: BankThread, client: WireClient) -> None:
    today = business_date(bank)
    client.call("BB1PAYBH", batch("B1", [line("R1", "7.00")]))
    bank.until_executed()
    bank.control("clock", {"advance_days": 1})
    client.call("BB1PAYBH", batch("B2", [line("R2", "9.00")]))
    bank.until_executed()
    first, day_one = read_day(client, today)
    second, day_two = read_day(client, today + dt.timedelta(days=1))
    assert [one["yurRef"] for one in first + second] == ["R1", "R2"]
    assert (day_one["dayEnd"], day_two["dayEnd"]) == ("Y", "N")
    assert cents(day_one["clsBal"]) == cents(day_two["opnBal"])
    _, future = read_day(client, today - dt.timedelta(days=1))
    assert cents(future["opnBal"]) == cents(future["clsBal"]) == 10_000_000_00


def test_a_day_of_the_future_is_refused(bank: BankThread, client: WireClient) -> None:
    tomorrow = wire_date(business_date(bank) + dt.timedelta(days=1))
    assert client.refusal("trsQryByBreakPoint", {"trsqryx1": [{"accNbr": CNY, "trxDat": tomorrow}]}) == "NTF0006"
    assert client.refusal("trsQryByBreakPoint", {"trsqryx1": [{"accNbr": CNY, "trxDat": "2026-1-1"}]}) == "NTF0001"


def test_balances_show_what_is_booked_frozen_and_left(bank: BankThread, client: WireClient) -> None:
    bank.control("clock", {"freeze": True})
    client.call("BB1PAYBH", batch("B1", [line("R1", "300.00")]))
    waiting = client.call("NTQADINF", {"ntqadinfx1": [{"accNbr": CNY}, {"accNbr": "1"}]})["ntqadinfz1"]
    assert [cents(waiting[0][name]) for name in ("onlBal", "avlBal", "frezBalnace", "preBal")] == [
        10_000_000_00, 9_999_700_00, 300_00, 10_000_000_00,
    ]  # fmt: skip
    assert (waiting[1]["errCod"], waiting[1]["onlBal"]) == ("NTF0003", "")
    bank.control("clock", {"freeze": False})
    bank.until_executed()
    settled = client.call("NTQADINF", {"ntqadinfx1": [{"accNbr": CNY}]})["ntqadinfz1"][0]
    assert [cents(settled[name]) for name in ("onlBal", "avlBal", "frezBalnace")] == [9_999_700_00, 9_999_700_00, 0]


def test_one_bad_account_voids_the_whole_answer_of_the_older_function(client: WireClient) -> None:
    assert client.refusal("NTQACINF", {"ntqacinfx1": [{"accNbr": CNY}, {"accNbr": "1"}]}) == "NTF0003"
    assert len(client.call("NTQACINF", {"ntqacinfx1": [{"accNbr": CNY}]})["ntqacinfz1"]) == 1
    assert client.refusal("NTQADINF", {"ntqadinfx1": [{"accNbr": CNY}] * 31}) == "NTF0004"


def test_amounts_come_as_text_and_as_number_and_texts_with_trailing_blanks(
    bank: BankThread, client: WireClient
) -> None:
    client.call("BB1PAYBH", batch("B1", [line(f"R{n}") for n in range(6)]))
    bank.until_executed()
    entries, _ = read_day(client, business_date(bank))
    assert {type(one["trsAmt"]) for one in entries} == {str, float}
    names = [one["oppsiteName"] for one in entries]
    assert {name.rstrip() for name in names} == {line("R")["crtNam"]}
    assert any(name != name.rstrip() for name in names)


@pytest.mark.parametrize("currency", ["JPY", "SEK"])
def test_an_account_can_be_opened_while_the_bank_runs(bank: BankThread, client: WireClient, currency: str) -> None:
    bank.control("accounts", {"account": "NEW-1", "currency": currency, "opening": "50.00"})
    balance = client.call("NTQADINF", {"ntqadinfx1": [{"accNbr": "NEW-1"}]})["ntqadinfz1"][0]
    assert cents(balance["onlBal"]) == 5000
