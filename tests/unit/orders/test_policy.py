"""Who must have agreed: makers, roles, delegation, limits and splits, rule by rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from yinqi.orders.policy import (
    Delegation,
    Need,
    OrderFacts,
    Payable,
    Policy,
    Refusal,
    Rule,
    Tier,
    Verdict,
    Vote,
    judge,
    vote_counts,
)

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ROLES = {"erp": "maker", "zhang": "maker checker", "li": "checker", "wang": "director", "zhao": "checker director"}
RULE = Rule(
    frozenset({"A"}),
    frozenset({"SUPP"}),
    "CNY",
    (Tier(100, ()), Tier(1_000, (Need("checker", 1),)), Tier(9_000, (Need("checker", 1), Need("director", 1)))),
    window=timedelta(days=7),
)
POLICY = Policy(1, "company", {name: frozenset(roles.split()) for name, roles in ROLES.items()}, (RULE,))


def line(minor_units: int = 500, **changes: object) -> Payable:
    return Payable("A", "X", "SUPP", "CNY", minor_units)._replace(**changes)


def order(*votes: Vote, maker: str = "erp", **changes: object) -> OrderFacts:
    return OrderFacts(maker, False, NOW, (("CNY", 500),), votes)._replace(**changes)


def yes(person: str, at: datetime = NOW) -> Vote:
    return Vote(person, True, at)


def verdict(
    line: Payable, order: OrderFacts, policy: Policy = POLICY, counted: int = 0, now: datetime = NOW
) -> Verdict:
    return judge(policy, line, order, counted or line.minor_units, now)


MISSING_CHECKER = Verdict(missing=(Need("checker", 1),))


def test_amounts_ask_for_what_their_tier_asks() -> None:
    assert verdict(line(100), order()).passes
    assert verdict(line(101), order()) == MISSING_CHECKER
    assert verdict(line(1_001), order(yes("li"))) == Verdict(missing=(Need("director", 1),))
    assert verdict(line(1_001), order(yes("li"), yes("wang"))).passes
    assert verdict(line(9_001), order(yes("li"), yes("wang"))).refusal is Refusal.LIMIT_EXCEEDED


def test_no_rule_means_no_payment() -> None:
    for change in ({"debtor_account": "B"}, {"category": "SALA"}, {"currency": "EUR"}):
        assert verdict(line(1, **change), order()).refusal is Refusal.NO_RULE


def test_nobody_approves_his_own_order() -> None:
    assert verdict(line(), order(yes("zhang"), maker="zhang")) == MISSING_CHECKER
    allowed = replace(POLICY, rules=(replace(RULE, maker_may_approve=True),))
    assert verdict(line(), order(yes("zhang"), maker="zhang"), allowed).passes
    assert not vote_counts(POLICY, yes("zhang"), order(maker="zhang"), NOW)


def test_one_person_fills_one_place_however_many_roles_and_votes() -> None:
    assert verdict(line(1_001), order(yes("zhao"), yes("zhao"))).missing in (
        (Need("checker", 1),),
        (Need("director", 1),),
    )
    assert verdict(line(1_001), order(yes("zhao"), yes("li"))).passes
    assert verdict(line(1_001), order(yes("zhao"), yes("wang"))).passes


def test_a_signer_without_the_makers_role_orders_nothing() -> None:
    assert verdict(line(1), order(maker="li")).refusal is Refusal.MAKER_ROLE_MISSING


def test_vouching_counts_only_where_the_rule_allows_it() -> None:
    vouched = order(is_vouched=True, maker="cli:dev")
    assert verdict(line(1), vouched).refusal is Refusal.SIGNATURE_REQUIRED
    assert verdict(line(1), vouched, replace(POLICY, rules=(replace(RULE, allow_vouched=True),))).passes


def test_a_role_taken_away_takes_the_vote_along() -> None:
    gone = replace(POLICY, roles={**POLICY.roles, "li": frozenset()})
    assert verdict(line(), order(yes("li"))).passes
    assert verdict(line(), order(yes("li")), gone) == MISSING_CHECKER


@pytest.mark.parametrize(
    ("voted", "released", "passes"), [(0, 0, True), (-1, 0, False), (0, 1, True), (0, 2, False), (2, 2, False)]
)
def test_a_lent_right_counts_on_its_days_only(voted: int, released: int, passes: bool) -> None:
    first = date(2026, 11, 22)
    lent = replace(POLICY, delegations=(Delegation("li", "erp2", "checker", first, first + DAY),))
    made = order(yes("erp2", NOW + voted * DAY), created_at=NOW - 2 * DAY)
    assert verdict(line(), made, lent, now=NOW + released * DAY).passes is passes


def test_a_makers_own_right_is_not_lent_to_approve_his_order() -> None:
    first = date(2026, 11, 22)
    lent = replace(POLICY, delegations=(Delegation("zhang", "qian", "checker", first, first),))
    assert verdict(line(), order(yes("qian")), lent).passes
    assert verdict(line(), order(yes("qian"), maker="zhang"), lent) == MISSING_CHECKER


def test_a_lent_right_and_its_owner_are_one_approval() -> None:
    first = date(2026, 11, 22)
    two = replace(RULE, tiers=(Tier(None, (Need("checker", 2),)),))
    lent = replace(POLICY, rules=(two,), delegations=(Delegation("li", "qian", "checker", first, first),))
    assert verdict(line(), order(yes("li"), yes("qian")), lent) == MISSING_CHECKER
    assert verdict(line(), order(yes("zhao"), yes("qian")), lent).passes


def test_a_sum_cannot_be_split_within_the_window() -> None:
    assert verdict(line(90), order(), counted=90).passes
    assert verdict(line(90), order(), counted=180) == MISSING_CHECKER
    assert verdict(line(90), order(yes("li")), counted=9_001).refusal is Refusal.LIMIT_EXCEEDED
    assert verdict(line(90), order(), replace(POLICY, rules=(replace(RULE, window=timedelta()),)), counted=180).passes


def test_the_orders_total_counts_where_the_rule_says_so() -> None:
    by_order = replace(POLICY, rules=(replace(RULE, is_by_order=True),))
    assert verdict(line(1), order(), by_order) == MISSING_CHECKER
    assert verdict(line(1), order(totals=(("CNY", 100),)), by_order).passes


def test_one_refusal_ends_an_order_if_its_giver_has_a_say() -> None:
    no = Vote("wang", False, NOW)
    assert verdict(line(), order(yes("li"), no)).refusal is Refusal.REFUSED_BY_APPROVER
    assert verdict(line(), order(yes("li"), no._replace(person="stranger"))).passes


def test_old_and_future_orders_and_votes_count_for_nothing() -> None:
    assert verdict(line(1), order(created_at=NOW + timedelta(minutes=6))).refusal is Refusal.ORDER_FROM_FUTURE
    assert verdict(line(1), order(), now=NOW + 31 * DAY).refusal is Refusal.ORDER_TOO_OLD
    assert verdict(line(1, execution_date="2026-12-20"), order(), now=NOW + 31 * DAY).passes
    assert verdict(line(), order(yes("li", NOW + timedelta(minutes=6)))) == MISSING_CHECKER
    assert verdict(line(), order(yes("li", NOW - DAY))) == MISSING_CHECKER, "given before the order was made"


def test_a_code_is_asked_for_by_the_tier_or_where_a_refused_line_may_pass_later() -> None:
    tiers = (Tier(100, ()), Tier(1_000, (Need("checker", 1),)), Tier(9_000, (Need("director", 1),), needs_code=True))
    asks = replace(POLICY, rules=(replace(RULE, tiers=tiers),))

    def needs_code(minor_units: int) -> bool:
        return judge(asks, line(minor_units), order(), minor_units, NOW).needs_code

    assert [needs_code(units) for units in (100, 1_000, 9_000, 9_001)] == [False, False, True, True]
