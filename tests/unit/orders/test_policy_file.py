"""A policy holds when it is right and two people signed it; every fault is named."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from company import NAME, Company

from yinqi.orders.policy import Need, Tier
from yinqi.orders.policy_file import POLICY_FILE, PolicyInvalid, load_policy, read_policy


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path / "policy")


def test_a_policy_that_two_people_signed_holds(company: Company) -> None:
    found = load_policy(company.folder)
    assert (found.signers, found.policy.company, found.policy.version) == (("chen", "zhou"), NAME, 1)
    assert found.policy.rules[0].tier_of(100_001) == Tier(5_000_000, (Need("checker", 1),))
    assert found.order_lifetime == timedelta(hours=24)
    assert set(found.keys) == {key.key_id for key in company.keys.values()}


def test_one_persons_signature_is_not_enough(company: Company) -> None:
    company.publish("chen")
    with pytest.raises(PolicyInvalid, match=r"signatures of 2 people.*valid are those of chen"):
        load_policy(company.folder)


def test_a_policy_changed_after_signing_is_refused(company: Company) -> None:
    file = company.folder / POLICY_FILE
    file.write_text(file.read_text("utf-8").replace("50000.00", "90000.00"), "utf-8")
    with pytest.raises(PolicyInvalid, match="valid are those of nobody"):
        load_policy(company.folder)


def test_an_older_policy_is_a_downgrade_however_well_signed(company: Company) -> None:
    with pytest.raises(PolicyInvalid, match="version 1 is older than version 2"):
        load_policy(company.folder, version_min=2)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('currency = "CNY"', 'currency = "RMB"', "not an ISO 4217"),
        ('categories = ["*"]', 'categories = ["GIFT"]', "'GIFT': allowed are"),
        ('up_to = "50000.00"', 'up_to = "500.00"', "must be above the tier before"),
        ('{ up_to = "1000.00" }', "{ }", "only the last tier may be without limit"),
        ("checker = 1, director = 1", "checker = 4, director = 2", "at most 5 approvals"),
        ("needs = { checker = 1 }", "needs = { boss = 1 }", "'boss' is no approver's role"),
        ("needs = { checker = 1 }", "needs = { maker = 1 }", "'maker' is no approver's role"),
        ("window_days = 7", "window_days = 7\nwindow_weeks = 1", "rule.0.window_weeks"),
        ('person = "li"', 'person = "lii"', "'lii' is no"),
        ('name = "li"', 'name = "erp"', "'erp' is there 2 times"),
        ('public_key = "04', 'public_key = "05', "130 hexadecimal digits"),
        ("version = 1", "version = 0", "version"),
        ("version = 1", "version = ", "is not TOML"),
    ],
)
def test_each_fault_is_named(company: Company, old: str, new: str, words: str) -> None:
    text = (company.folder / POLICY_FILE).read_text("utf-8")
    assert old in text
    with pytest.raises(PolicyInvalid, match=words):
        read_policy(text.replace(old, new, 1).encode())


def test_what_cannot_be_lent_is_named(company: Company) -> None:
    company.more = '[[delegation]]\ngiver = "erp"\ntaker = "nobody"\nrole = "maker"\nfirst_day = 2026-11-22\nlast_day = 2026-11-21\n'
    with pytest.raises(PolicyInvalid) as caught:
        company.publish()
    assert {one.field for one in caught.value.violations} == {
        "delegation.0.taker",
        "delegation.0.role",
        "delegation.0.last_day",
    }
