"""Endings that only a real connection has: half open, cut in the middle, the call too many while others are slow."""

from __future__ import annotations

import datetime as dt
import threading
import time

import httpx
import pytest

from .conftest import BankThread
from .test_payments import query, single
from .wire_client import GatewayAnswer, WireClient


def test_a_half_open_connection_says_nothing_and_the_payment_counts(bank: BankThread, client: WireClient) -> None:
    bank.control("script", '[[rule]]\nwhen = { function = "BB1PAYOP" }\nhalf_open = { milliseconds = 3600000 }')
    with pytest.raises(httpx.ReadTimeout):
        client.http.post("/cdc", data=client.form("BB1PAYOP", single("R1")), timeout=0.5)
    assert len(query(client, "R1")) == 1


def test_a_bank_that_stops_does_not_wait_for_half_open_connections(bank: BankThread, client: WireClient) -> None:
    bank.control("script", '[[rule]]\nwhen = { function = "BB1PAYOP" }\nhalf_open = { milliseconds = 3600000 }')
    ended: list[str] = []

    def call() -> None:
        try:
            client.post(client.form("BB1PAYOP", single("R1")))
        except httpx.TransportError as error:
            ended.append(type(error).__name__)

    caller = threading.Thread(target=call)
    caller.start()
    bank.until(lambda: bank.control("faults")["counts"] == {"half_open": 1}, "the call to hang")
    bank.stop()
    caller.join(20)
    assert ended == ["RemoteProtocolError"]
    bank.start()


def test_an_answer_cut_in_the_middle_is_no_answer(bank: BankThread, client: WireClient) -> None:
    bank.control("script", '[[rule]]\nwhen = { function = "BB1PAYOP" }\ncut_answer = { bytes = 64 }')
    with client.http.stream("POST", "/cdc", data=client.form("BB1PAYOP", single("R1"))) as response:
        assert int(response.headers["content-length"]) > 64
        chunks = response.iter_raw()
        assert len(next(chunks)) == 64
        with pytest.raises(httpx.RemoteProtocolError):
            next(chunks)
    assert len(query(client, "R1")) == 1


def test_a_slow_call_still_runs_and_the_one_above_the_limit_is_refused(bank: BankThread, client: WireClient) -> None:
    bank.restart(submits_max=2)
    bank.control("script", '[[rule]]\nwhen = { reference = "SLOW*" }\ntimes = 2\nslow = { milliseconds = 4000 }')
    slow = [threading.Thread(target=client.call, args=("BB1PAYOP", single(f"SLOW{n}"))) for n in range(2)]
    for caller in slow:
        caller.start()
    bank.until(lambda: bank.control("faults")["counts"] == {"slow": 2}, "both slow calls to run")
    with pytest.raises(GatewayAnswer, match="LIM0001"):
        client.exchange("BB1PAYOP", single("R1"))
    for caller in slow:
        caller.join(20)
    limit = time.monotonic() + 20
    while True:  # Slots are given back a moment after the answer has left.
        try:
            client.call("BB1PAYOP", single("R2"))
            break
        except GatewayAnswer:
            assert time.monotonic() < limit
    assert query(client, "R1") == []


def test_a_clock_two_hours_off_refuses_good_signatures_and_dates_answers_wrongly(
    bank: BankThread, client: WireClient
) -> None:
    bank.control("script", "[[rule]]\nwhen = { function = 'DCLISACC' }\ntimes = 1\nclock_skew = { seconds = 7200 }")
    with pytest.raises(GatewayAnswer, match="SIG0002"):
        client.exchange("DCLISACC", {})
    client.call("DCLISACC", {})


def test_the_clock_is_moved_by_the_control_api(bank: BankThread) -> None:
    assert bank.control("clock", {"rate": 0})["frozen"]
    before = bank.control("clock")["now"]
    assert bank.control("clock")["now"] == before
    assert bank.control("clock", {"rate": 60})["rate"] == 60
    assert not bank.control("clock", {"freeze": False})["frozen"]
    ahead = (dt.datetime.fromisoformat(before) + dt.timedelta(days=40)).isoformat()
    assert bank.control("clock", {"jump_to": ahead})["business_date"] == ahead[:10]
    for wrong in (
        {"rate": -1},
        {"jump_to": "2001-01-01"},
        {"jump_to": "soon"},
        {"freeze": 1},
        {},
        {"advance_days": 10**9},
    ):
        assert bank.http.post("/control/clock", json=wrong).status_code == 400
