"""Every fault of the catalogue: its example parses, fires in a day's traffic, and is counted."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from yinqi.sandbox_bank.fault_catalog import FAULTS
from yinqi.sandbox_bank.fault_script import parse_script
from yinqi.sandbox_bank.tables import example

from .plain_bank import CNY, OTHER, PlainBank
from .wire_client import batch, line

DOCUMENT = Path(__file__).parents[3] / "docs" / "sandbox-bank.md"
RECIPES = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text("utf-8").partition("## Recipes")[2], re.DOTALL)


def a_day_of_traffic(bank: PlainBank) -> None:
    """Payments, queries and notices of all kinds for a day and a bit, the first minutes and the morning densely."""
    for n, seconds in enumerate([10] * 13 + [600] * 12 + [3_600] * 14):
        lines = [
            line(f"REF-{n}-{i}", f"{100 + n}.{i:02d}", crtNam="某公司(已注销)" if i == 3 else "某公司")
            for i in range(18)
        ]
        if n % 6 == 0:
            bank.send("BB1PAYBH", batch(f"B{n}", lines))
        bank.pay(f"BIG-{n}", trsAmt="60000.99", crtAcc="6225880000000042")
        bank.pay(f"REF-{n}-1", f"SWEEP-{n}", account=OTHER)
        bank.ask(f"REF-{n}-1", f"BIG-{n}")
        returned = {"begDat": "20261102", "endDat": "20261105"}
        bank.send("BB1QRYOB", {"bb1qryobx1": [returned]})
        bank.page(bank.today)
        bank.passes(seconds)
        bank.notices()
    bank.passes(days=3)
    bank.page(bank.today)
    bank.notices()


@pytest.mark.parametrize("name", FAULTS)
def test_the_example_of_every_fault_parses_fires_and_is_counted(name: str) -> None:
    bank = PlainBank(example(FAULTS[name]), notice_url="in-process")
    a_day_of_traffic_until(bank, name)
    assert bank.counts()[name] > 0
    (rule,) = bank.bank.fired()["rules"]
    assert rule["applied"] == sum(bank.counts().values())
    assert bank.bank.fired(limit=1)["fired"][0]["fault"] == name
    integrity = bank.judged()["integrity"]
    assert not any(
        count for broken, count in integrity.items() if (name, broken) != ("double_debit", "debited_without_payment")
    )


def a_day_of_traffic_until(bank: PlainBank, name: str) -> None:
    try:
        a_day_of_traffic(bank)
    except AssertionError:  # A page that did not come, because that is the fault.
        assert FAULTS[name].scope in ("message", "query")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda text: text.partition("\n")[0].strip("# "))
def test_every_recipe_of_the_manual_parses_and_each_of_its_rules_fires(recipe: str) -> None:
    assert parse_script(recipe).rules
    bank = PlainBank(recipe, notice_url="in-process")
    with contextlib.suppress(AssertionError):  # A page that did not come, because that is the fault.
        a_day_of_traffic(bank)
    assert not [rule["name"] for rule in bank.bank.fired()["rules"] if not rule["applied"]]


def test_the_manual_names_every_fault() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert [name for name in FAULTS if f"`{name}`" not in text] == []


def test_accounts_of_the_traffic_are_the_banks_own() -> None:
    assert PlainBank().send("NTQACINF", {"ntqacinfx1": [{"accNbr": CNY}, {"accNbr": OTHER}]}).outcome == "SUC0000"
