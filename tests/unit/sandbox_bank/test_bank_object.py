"""The bank without a network: time is what the caller says, and the same calls give the same book."""

from __future__ import annotations

import datetime as dt
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from yinqi.sandbox_bank.bank import Bank
from yinqi.sandbox_bank.config import BankConfig
from yinqi.sandbox_bank.keys import KeyRing
from yinqi.sandbox_bank.sealed import Delivery, SealedBank

from .wire_client import CHINA, WireClient, batch, line

BEGIN_MS = int(dt.datetime(2026, 3, 31, 23, 59, 58, tzinfo=CHINA).timestamp() * 1000)


class VirtualTime:
    """A wall clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS

    def __call__(self) -> int:
        return self.now_ms


class ClientInVirtualTime(WireClient):
    def __init__(self, keys_dir: Path, time: VirtualTime) -> None:
        super().__init__("http://unused", keys_dir)
        self.time = time

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.time() / 1000, CHINA)


class BankWithDoor(Bank):
    """The bank with its envelope around it."""

    door: SealedBank

    def exchange(self, form: dict[str, str]) -> Delivery:
        return self.door.exchange(form)


def open_bank(directory: Path, time: VirtualTime) -> tuple[BankWithDoor, ClientInVirtualTime]:
    bank = BankWithDoor(BankConfig(database=directory / "bank.db"), time, lambda: "token")
    bank.door = SealedBank(bank, KeyRing(directory / "keys"))
    client = ClientInVirtualTime(directory / "keys", time)
    client.install_keys()
    return bank, client


def report_of(bank: Bank) -> dict[str, Any]:
    return bank.judge()


def test_nothing_is_executed_before_its_time_and_midnight_decides_the_booking_date(tmp_path: Path) -> None:
    time = VirtualTime()
    bank, client = open_bank(tmp_path, time)
    assert bank.exchange(client.form("BB1PAYBH", batch("B1", [line("EARLY")]))).outcome == "SUC0000"
    assert (bank.tick(), bank.wait_ms()) == (0, 300)
    time.now_ms += 300
    assert (bank.tick(), bank.wait_ms()) == (1, None)
    time.now_ms = BEGIN_MS + 1_900
    bank.exchange(client.form("BB1PAYBH", batch("B2", [line("LATE")])))
    time.now_ms += 300
    bank.tick()
    with bank.book.read() as connection:
        days = [tuple(row) for row in connection.execute("SELECT reference, debited_on FROM payments")]
    assert days == [("EARLY", "2026-03-31"), ("LATE", "2026-04-01")]


def test_the_same_calls_at_the_same_times_give_the_same_book(tmp_path: Path) -> None:
    reports = []
    for run in ("one", "two"):
        time = VirtualTime()
        bank, client = open_bank(tmp_path / run, time)
        bank.load_script("seed = 5\n[[rule]]\nwhen = { chance = 0.4 }\nsuspicious = true\nreturn = true")
        bank.exchange(client.form("BB1PAYBH", batch("B1", [line(f"R{n}") for n in range(50)])))
        for _ in range(6):
            time.now_ms += 1_000
            bank.tick()
        bank.move_clock(lambda clock: clock.advance(86_400_000))
        reports.append(report_of(bank))
    assert reports[0] == reports[1]
    assert reports[0]["totals"]["returned"] > 5


def test_one_reference_sent_by_many_at_once_is_recorded_once(tmp_path: Path) -> None:
    bank, client = open_bank(tmp_path, time := VirtualTime())
    forms = [client.form("BB1PAYBH", batch(f"B{n}", [line("R1"), line(f"OWN{n}")])) for n in range(16)]
    with ThreadPoolExecutor(8) as senders:
        assert {delivery.outcome for delivery in senders.map(bank.exchange, forms)} == {"SUC0000"}
    time.now_ms += 1_000
    bank.tick()
    report = report_of(bank)
    assert report["totals"]["settled"] == 17
    assert report["totals"]["duplicates_refused"] == 15
    assert report["double_debits"] == 0
    assert not any(report["integrity"].values())


def test_the_judge_sees_a_double_debit_and_a_spoilt_book(tmp_path: Path) -> None:
    bank, client = open_bank(tmp_path, time := VirtualTime())
    bank.exchange(client.form("BB1PAYBH", batch("B1", [line("R1")])))
    time.now_ms += 1_000
    bank.tick()
    with bank.book.write() as connection:
        # A bank that forgot its duplicate rule: the same reference executed again.
        connection.execute("UPDATE payments SET due_at = 0, status = 'BNK', debit_serial = NULL")
    bank.tick()
    report = report_of(bank)
    assert report["double_debits"] == 1
    assert report["integrity"]["debited_without_payment"] == 1
    with bank.book.write() as connection:
        connection.execute("UPDATE accounts SET booked = booked + 1 WHERE owner = 'company'")
    assert report_of(bank)["integrity"]["wrong_balances"] > 0


def test_a_payment_whose_execution_cannot_be_written_is_executed_later(tmp_path: Path) -> None:
    bank, client = open_bank(tmp_path, time := VirtualTime())
    bank.exchange(client.form("BB1PAYBH", batch("B1", [line("R1")])))
    time.now_ms += 1_000
    with bank.book.write() as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT raise(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.Error, match="disk full"):
        bank.tick()
    assert report_of(bank)["totals"]["in_process"] == 1
    with bank.book.write() as connection:
        connection.execute("DROP TRIGGER full")
    bank.tick()
    assert report_of(bank)["payments"][0]["times_debited"] == 1
