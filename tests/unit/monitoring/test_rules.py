"""What the screening rules promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from yinqi.kernel.money import Money
from yinqi.monitoring import rules
from yinqi.monitoring.model import ScreeningSubject
from yinqi.monitoring.rules import ScreeningRules
from yinqi.monitoring.rules_file import RulesInvalid, load_rules

SUBJECT = ScreeningSubject(
    instruction_id="YQ1",
    end_to_end_id="E2E-1",
    debtor_account="755000000000001",
    creditor_account="6225880000001234",
    creditor_name="苏州精密机械有限公司",
    amount=Money("CNY", 100_000),
)
TODAY = "2026-11-22"


def rule_of(subject: ScreeningSubject, facts: ScreeningRules) -> str:
    found = rules.find_block(subject, facts)
    return found.rule if found else ""


def test_the_limit_itself_passes_and_one_minor_unit_more_does_not() -> None:
    facts = ScreeningRules(amount_max={"CNY": 100_000})
    assert rule_of(SUBJECT, facts) == ""
    assert rule_of(replace(SUBJECT, amount=Money("CNY", 100_001)), facts) == "amount_over_limit"


def test_a_currency_without_a_limit_passes_unless_the_rules_say_otherwise() -> None:
    euros = replace(SUBJECT, amount=Money("EUR", 10**12))
    assert rule_of(euros, ScreeningRules(amount_max={"CNY": 1})) == ""
    assert rule_of(euros, ScreeningRules(blocks_unlisted_currency=True)) == "currency_not_allowed"


@pytest.mark.parametrize("account", ["6225 8800 0000 1234", "6225-8800-0000-1234", "６２２５８８００００００１２３４"])
def test_spelling_does_not_get_a_blocked_account_through(account: str) -> None:
    facts = ScreeningRules(blocked_accounts=frozenset({rules.normalise_account("6225880000001234")}))
    assert rule_of(replace(SUBJECT, creditor_account=account), facts) == "blocked_creditor"


@pytest.mark.parametrize("name", ["Evil Corp", "EVIL  CORP", "ＥＶＩＬ ｃｏｒｐ", " evil\u3000corp "])
def test_spelling_does_not_get_a_blocked_name_through(name: str) -> None:
    facts = ScreeningRules(blocked_names=frozenset({rules.normalise_name("Evil Corp")}))
    assert rule_of(replace(SUBJECT, creditor_name=name), facts) == "blocked_creditor"


def test_an_account_may_not_pay_itself() -> None:
    assert rule_of(replace(SUBJECT, creditor_account=SUBJECT.debtor_account), ScreeningRules()) == "creditor_is_debtor"


def test_descriptions_hold_no_whole_account_and_no_name() -> None:
    facts = ScreeningRules(
        blocked_accounts=frozenset({SUBJECT.creditor_account}),
        blocked_names=frozenset({rules.normalise_name(SUBJECT.creditor_name)}),
    )
    for subject in (SUBJECT, replace(SUBJECT, creditor_account="other")):
        found = rules.find_block(subject, facts)
        assert found is not None
        for text in (found.description, found.description_zh):
            assert SUBJECT.creditor_account not in text
            assert SUBJECT.creditor_name not in text


def test_repeats_are_counted_per_creditor_account_amount_and_day() -> None:
    key = rules.repeat_key(SUBJECT, TODAY)
    assert key == rules.repeat_key(replace(SUBJECT, instruction_id="YQ2", creditor_name="x"), TODAY)
    assert key == rules.repeat_key(replace(SUBJECT, execution_date="2026-11-01"), TODAY), "a past date means today"
    assert key != rules.repeat_key(replace(SUBJECT, execution_date="2026-11-23"), TODAY)
    assert key != rules.repeat_key(replace(SUBJECT, amount=Money("CNY", 1)), TODAY)
    assert key != rules.repeat_key(replace(SUBJECT, creditor_account="1"), TODAY)


def test_only_more_than_the_ordinary_number_is_a_possible_duplicate() -> None:
    facts = ScreeningRules(repeats_max=2)
    assert [rules.find_repeat(SUBJECT, n, facts) is not None for n in (1, 2, 3, 4)] == [False, False, True, True]
    assert rules.find_repeat(SUBJECT, 99, ScreeningRules(repeats_max=0)) is None


def test_the_shipped_rules_load() -> None:
    facts = load_rules()
    assert facts.amount_max["CNY"] == 5_000_000_000
    assert facts.amount_max["JPY"] == 500_000_000
    assert not facts.repeats_block


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[amount_limits]\n", "amount_limits"),
        ("[amount_limit]\nmaximum = 1\n", "amount_limit.maximum"),
        ('[amount_limit.max]\nCNY = "1.234"\n', "amount_limit.max.CNY"),
        ("[amount_limit.max]\nCNY = 5\n", "amount_limit.max.CNY"),
        ('[amount_limit.max]\nXXX = "5.00"\n', "amount_limit.max.XXX"),
        ('[possible_duplicate]\naction = "warn"\n', "possible_duplicate.action"),
        ("[possible_duplicate]\nrepeats_max = -1\n", "possible_duplicate.repeats_max"),
        ('[blocked_creditors]\nnames = [""]\n', "blocked_creditors.names"),
        ("[amount_limit\n", "rules.toml"),
    ],
)
def test_a_wrong_rules_file_is_refused_and_the_entry_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(RulesInvalid, match=named.replace(".", r"\.")):
        load_rules(path)


def test_a_missing_rules_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid, match="cannot be read"):
        load_rules(tmp_path / "absent.toml")
