"""The rules of approval (经办、复核): who must have agreed before a line may be sent. Values in, a verdict out.

A vote counts if its key was valid when it was given, and its giver holds the role, himself or by a delegation, both
when it was given and now. Each vote fills one place; nobody fills two, and neither does a right lent to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from yinqi.kernel.clock import BANK_ZONE

ANY = "*"
MAKER, VOUCHER = "maker", "voucher"  # roles with a meaning of their own; all others are the company's


class Refusal(StrEnum):
    """Why a line may not be sent, whatever approvals come."""

    NO_RULE = "NO_RULE"
    SIGNATURE_REQUIRED = "SIGNATURE_REQUIRED"
    MAKER_ROLE_MISSING = "MAKER_ROLE_MISSING"
    ORDER_FROM_FUTURE = "ORDER_FROM_FUTURE"
    ORDER_TOO_OLD = "ORDER_TOO_OLD"
    REFUSED_BY_APPROVER = "REFUSED_BY_APPROVER"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"


class Need(NamedTuple):
    """So many people of a role."""

    role: str
    people: int


class Tier(NamedTuple):
    """What amounts up to a limit need.

    Attributes:
        up_to: minor units, None: without limit.
        needs_code: whoever approves gives a one-time code beside his signature.
    """

    up_to: int | None
    needs: tuple[Need, ...]
    needs_code: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """What payments of some accounts and categories in a currency need.

    Attributes:
        accounts, categories: those it is for; ANY: all.
        tiers: ascending; above the last nothing may be paid.
        is_by_order: the order's total counts, not only the line's amount.
        window: payments to the same creditor within it count together, so that a sum cannot be split; 0: off.
        allow_vouched: the payment service may sign for callers that do not.
        maker_may_approve: whoever made the order may be one of its approvers.
    """

    accounts: frozenset[str]
    categories: frozenset[str]
    currency: str
    tiers: tuple[Tier, ...]
    is_by_order: bool = False
    window: timedelta = timedelta()
    allow_vouched: bool = False
    maker_may_approve: bool = False

    def covers(self, line: Payable) -> bool:
        """Return whether the rule is for this line."""
        return (
            self.currency == line.currency
            and (ANY in self.accounts or line.debtor_account in self.accounts)
            and (ANY in self.categories or line.category in self.categories)
        )

    def tier_of(self, minor_units: int) -> Tier | None:
        """Return the tier of an amount, None if it is above the last."""
        return next((t for t in self.tiers if t.up_to is None or minor_units <= t.up_to), None)


class Delegation(NamedTuple):
    """A right lent for some days, both ends included (授权代办)."""

    giver: str
    taker: str
    role: str
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a company's policy.

    Attributes:
        roles: by person or system.
        release_days: how long after it was made, or after the line's execution date, an order may be released.
        clock_skew: how far a signer's clock may be ahead.
    """

    version: int
    company: str
    roles: Mapping[str, frozenset[str]]
    rules: tuple[Rule, ...]
    delegations: tuple[Delegation, ...] = ()
    release_days: int = 30
    clock_skew: timedelta = timedelta(minutes=5)

    def has_role(self, person: str, role: str) -> bool:
        """Return whether the person holds the role himself."""
        return role in self.roles.get(person, ())

    def rule_of(self, line: Payable) -> Rule | None:
        """Return the first rule that is for the line."""
        return next((rule for rule in self.rules if rule.covers(line)), None)


class Payable(NamedTuple):
    """What the rules look at of a line. `execution_date`: ISO 8601 or ""."""

    debtor_account: str
    creditor_account: str
    category: str
    currency: str
    minor_units: int
    execution_date: str = ""


class Vote(NamedTuple):
    """A decision whose signature holds."""

    person: str
    approves: bool
    at: datetime


class OrderFacts(NamedTuple):
    """What the rules look at of an order whose signature holds.

    Attributes:
        maker: whose key signed it, or for whom the payment service vouches.
        totals: by currency.
    """

    maker: str
    is_vouched: bool
    created_at: datetime
    totals: tuple[tuple[str, int], ...]
    votes: tuple[Vote, ...]


class Verdict(NamedTuple):
    """Whether a line may be sent: nothing refuses it and nothing is missing.

    Attributes:
        needs_code: approvals of it are given with a one-time code. Who takes the approval asks for it; no verdict can.
    """

    refusal: Refusal | None = None
    missing: tuple[Need, ...] = ()
    needs_code: bool = False

    @property
    def passes(self) -> bool:
        """Whether it may be sent."""
        return self.refusal is None and not self.missing


def judge(policy: Policy, line: Payable, order: OrderFacts, counted: int, now: datetime) -> Verdict:
    """Return whether the line of the order may be sent now.

    Args:
        counted: minor units to the same creditor within the rule's window, this line included.
    """
    rule = policy.rule_of(line)
    if rule is None:
        return Verdict(Refusal.NO_RULE)
    # A line that is refused now may pass later under the approvals given meanwhile.
    may_need_code = any(tier.needs_code for tier in rule.tiers)
    if refusal := _refusal(policy, rule, line, order, now):
        return Verdict(refusal, needs_code=may_need_code)
    amount = max(line.minor_units, counted if rule.window else 0)
    if rule.is_by_order:
        amount = max(amount, dict(order.totals).get(line.currency, 0))
    tier = rule.tier_of(amount)
    if tier is None:
        return Verdict(Refusal.LIMIT_EXCEEDED, needs_code=may_need_code)
    missing = missing_of(tier.needs, _rights(policy, rule, order, now)) if tier.needs else ()
    return Verdict(missing=missing, needs_code=tier.needs_code)


def _refusal(policy: Policy, rule: Rule, line: Payable, order: OrderFacts, now: datetime) -> Refusal | None:
    if order.is_vouched and not rule.allow_vouched:
        return Refusal.SIGNATURE_REQUIRED
    if not order.is_vouched and not policy.has_role(order.maker, MAKER):
        return Refusal.MAKER_ROLE_MISSING
    if order.created_at > now + policy.clock_skew:
        return Refusal.ORDER_FROM_FUTURE
    begins = _day(order.created_at)
    if line.execution_date:
        begins = max(begins, date.fromisoformat(line.execution_date))
    if (_day(now) - begins).days > policy.release_days:
        return Refusal.ORDER_TOO_OLD
    if any(not vote.approves and _may_speak(policy, rule, vote, order, now) for vote in order.votes):
        return Refusal.REFUSED_BY_APPROVER
    return None


class Right(NamedTuple):
    """What one vote may count as: the person who gave it, whose right it is, and the role."""

    person: str
    holder: str
    role: str


def _rights(policy: Policy, rule: Rule, order: OrderFacts, now: datetime) -> tuple[Right, ...]:
    found: dict[Right, None] = {}
    for vote in order.votes:
        if vote.approves:
            found.update(dict.fromkeys(_rights_of(policy, rule, vote, order, now)))
    return tuple(found)


def _rights_of(policy: Policy, rule: Rule, vote: Vote, order: OrderFacts, now: datetime) -> list[Right]:
    """Return as what a vote counts: by the giver's own roles, and by those lent to him."""
    if vote.at > now + policy.clock_skew or vote.at < order.created_at - policy.clock_skew:
        return []
    if vote.person == order.maker and not rule.maker_may_approve:
        return []
    own = [Right(vote.person, vote.person, role) for role in sorted(policy.roles.get(vote.person, ()))]
    lent = [
        Right(vote.person, one.giver, one.role)
        for one in policy.delegations
        if one.taker == vote.person
        and one.giver != vote.person
        and (one.giver != order.maker or rule.maker_may_approve)
        and policy.has_role(one.giver, one.role)
        and one.first_day <= _day(vote.at) <= one.last_day
        and one.first_day <= _day(now) <= one.last_day
    ]
    return [right for right in (*own, *lent) if right.role not in (MAKER, VOUCHER)]


def _may_speak(policy: Policy, rule: Rule, vote: Vote, order: OrderFacts, now: datetime) -> bool:
    """Whether a refusal counts: its giver holds a role that the rule asks for at any amount."""
    asked = {need.role for tier in rule.tiers for need in tier.needs}
    return any(right.role in asked for right in _rights_of(policy, rule, vote, order, now))


def vote_counts(policy: Policy, vote: Vote, order: OrderFacts, now: datetime) -> bool:
    """Return whether a vote can count for any line of the order under any rule."""
    return any(_may_speak(policy, rule, vote, order, now) for rule in policy.rules)


def who_could(policy: Policy, role: str, order: OrderFacts, now: datetime) -> tuple[str, ...]:
    """Return who could approve as that role now: holds it, himself or lent, and has not approved, as far as that helps."""
    given = {vote.person for vote in order.votes if vote.approves}
    return tuple(
        person
        for person in sorted(policy.roles)
        if person not in given
        and any(
            right.role == role and right.holder not in given
            for rule in policy.rules
            for right in _rights_of(policy, rule, Vote(person, True, now), order, now)
        )
    )


@lru_cache(maxsize=1024)
def missing_of(needs: tuple[Need, ...], rights: tuple[Right, ...]) -> tuple[Need, ...]:
    """Return the needs that the rights leave open, under the assignment that fills most places."""
    places = [need.role for need in needs for _ in range(need.people)]
    filled = _best(tuple(places), rights, frozenset(), frozenset())
    left = list(filled)
    missing: list[Need] = []
    for need in needs:
        has = left.count(need.role)
        if has < need.people:
            missing.append(Need(need.role, need.people - has))
    return tuple(missing)


def _best(
    places: tuple[str, ...], rights: tuple[Right, ...], persons: frozenset[str], holders: frozenset[str]
) -> tuple[str, ...]:
    """Return the roles of the places that can be filled at most, no person and no holder twice."""
    if not places:
        return ()
    role, rest = places[0], places[1:]
    best: tuple[str, ...] = ()
    for right in rights:
        if right.role == role and right.person not in persons and right.holder not in holders:
            found = (role, *_best(rest, rights, persons | {right.person}, holders | {right.holder}))
            if len(found) > len(best):
                best = found
            if len(best) == len(places):
                return best
    without = _best(rest, rights, persons, holders)
    return without if len(without) > len(best) else best


def _day(instant: datetime) -> date:
    return instant.astimezone(BANK_ZONE).date()
