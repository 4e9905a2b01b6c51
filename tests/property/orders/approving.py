"""A company that makes, approves, amends and lends as it likes, a thief who tries everything, and a judge who counts by hand.

`machine(steps)` is a Hypothesis state machine over the door that the gateway uses (`judge_lines`), with real signatures.
The judge shares no code with the rules: it tries every way to put people into places.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from yinqi.api.payment.v1 import payment_pb2
from yinqi.orders.evidence import Evidence, Line, check_orders, judge_lines, reason_of
from yinqi.orders.keys import Algorithm, PrivateKey, Signed
from yinqi.orders.line_tree import joined
from yinqi.orders.order import NewOrder, sign_decision, sign_order
from yinqi.orders.policy import Delegation, Need, Policy, Rule, Tier
from yinqi.orders.policy_file import RegisteredKey, SignedPolicy

START = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
PEOPLE = ("zhang", "li", "wang", "zhao", "erp")
MAKERS = ("erp", "erp", "zhang", "zhang", *PEOPLE)  # mostly those who may
ROLES = ("maker", "checker", "director")
LIMITS = (100, 1_000, 10_000)  # no approval, one checker, checker and director, two checkers and a director
KEYS = {name: PrivateKey.generate(name, Algorithm.ED25519) for name in PEOPLE}
AMOUNTS = st.sampled_from([1, 2, 3, 50, 100, 101, 500, 1_000, 1_001, 9_999, 10_001])
COUNTS: Counter[str] = Counter()
WINDOW = timedelta(days=2)
NEEDS: tuple[dict[str, int], ...] = ({}, {"checker": 1}, {"checker": 1, "director": 1}, {"checker": 2, "director": 1})


@dataclass
class Made:
    """An order, its evidence as the thief keeps it, and what the judge knows of it."""

    order: NewOrder
    maker: str
    made_at: datetime
    amounts: list[tuple[int, str]]
    decisions: list[Signed] = field(default_factory=list)
    said: list[tuple[str, bool, datetime]] = field(default_factory=list)


def line(number: int, minor_units: int, creditor: str) -> bytes:
    message = payment_pb2.PaymentInstruction(end_to_end_id=f"E{number}")
    message.debtor_account.identification = "A"
    message.creditor_account.identification = creditor
    message.instructed_amount.currency = "CNY"
    message.instructed_amount.minor_units = minor_units
    return message.SerializeToString()


class Approving(RuleBasedStateMachine):
    """Makers, checkers, roles, delegation, limits, amendments."""

    orders = Bundle("orders")

    @initialize()
    def begin(self) -> None:
        self.now = START
        self.serial = itertools.count()
        self.roles = {"zhang": {"maker", "checker"}, "li": {"checker"}, "wang": {"director", "checker"}}
        self.roles |= {"zhao": {"director"}, "erp": {"maker"}}
        self.lent: list[Delegation] = []
        self.sent: dict[str, tuple[datetime, int]] = {}
        self.sums: list[tuple[datetime, str, int]] = []

    def signed_policy(self) -> SignedPolicy:
        tiers = [
            Tier(limit, tuple(Need(*one) for one in sorted(need.items())))
            for limit, need in zip((*LIMITS, None), NEEDS, strict=True)
        ]
        rule_ = Rule(frozenset("*"), frozenset("*"), "CNY", tuple(tiers), window=WINDOW)
        roles = {name: frozenset(its) for name, its in self.roles.items()}
        policy = Policy(1, "company", roles, (rule_,), tuple(self.lent), release_days=3)
        keys = {n: RegisteredKey(n, k.public_key(), date(2026, 1, 1), date(2027, 1, 1)) for n, k in KEYS.items()}
        return SignedPolicy(policy, keys, timedelta(days=1), ())

    # --- what people do ---

    @rule(
        target=orders,
        maker=st.sampled_from(MAKERS),
        amounts=st.lists(AMOUNTS, min_size=1, max_size=3),
        to=st.sampled_from("XY"),
    )
    def make(self, maker: str, amounts: list[int], to: str) -> Made:
        number = next(self.serial)
        lines = [line(number * 10 + i, amount, to) for i, amount in enumerate(amounts)]
        order = sign_order(
            f"O{number}", lines, company="company", key=KEYS[maker], now=self.now, lifetime=timedelta(hours=1),
            random_bytes=lambda count: number.to_bytes(count, "big"),
        )  # fmt: skip
        return Made(order, maker, self.now, [(amount, to) for amount in amounts])

    @rule(made=orders, person=st.sampled_from(PEOPLE), approves=st.sampled_from([True, True, True, False]))
    def decide(self, made: Made, person: str, approves: bool) -> None:
        made.decisions.append(
            sign_decision(made.order.digest, approves=approves, shown="seen", key=KEYS[person], now=self.now)
        )
        made.said.append((person, approves, self.now))

    @rule(person=st.sampled_from(PEOPLE), role=st.sampled_from(ROLES), holds=st.booleans())
    def change_role(self, person: str, role: str, holds: bool) -> None:
        (self.roles.setdefault(person, set()).add if holds else self.roles.setdefault(person, set()).discard)(role)

    @rule(
        giver=st.sampled_from(PEOPLE),
        taker=st.sampled_from(PEOPLE),
        role=st.sampled_from(ROLES[1:]),
        days=st.integers(0, 2),
        starts=st.integers(0, 1),
    )
    def lend(self, giver: str, taker: str, role: str, days: int, starts: int) -> None:
        first = self.day(self.now) + timedelta(days=starts)
        self.lent = [*self.lent[-2:], Delegation(giver, taker, role, first, first + timedelta(days=days))]

    @rule(hours=st.sampled_from([1, 12, 30]))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(target=orders, made=orders, amount=AMOUNTS)
    def amend(self, made: Made, amount: int) -> Made:
        """The maker orders it anew with another amount; the thief keeps the old decisions beside the new order."""
        amended = self.make(made.maker, [amount], made.amounts[0][1])
        amended.decisions = list(made.decisions)
        return amended

    # --- what a thief with the whole payment service asks the door ---

    @rule(made=orders, other=orders, trick=st.sampled_from(["", "", "", "", "swap", "bend", "amount", "cut"]))
    def release(self, made: Made, other: Made, trick: str) -> None:
        evidence = Evidence(made.order.signed, joined(made.order.leaves), tuple(made.decisions))
        lines = list(made.order.lines)
        if trick == "swap":
            evidence = evidence._replace(decisions=tuple(other.decisions) + evidence.decisions)
        if trick == "bend":
            content = bytearray(evidence.order.content)
            content[-1] ^= 1
            evidence = evidence._replace(order=evidence.order._replace(content=bytes(content)))
        if trick == "amount":
            message = payment_pb2.PaymentInstruction.FromString(lines[0])
            message.instructed_amount.minor_units += 1
            lines[0] = message.SerializeToString()
        if trick == "cut":
            evidence = evidence._replace(leaves=evidence.leaves[32:])
        for number, content in enumerate(lines, 1):
            self.ask(
                made,
                evidence,
                content,
                number,
                is_forged=trick in ("bend", "cut") or (trick == "amount" and number == 1),
            )

    def ask(self, made: Made, evidence: Evidence, content: bytes, number: int, *, is_forged: bool) -> None:
        signed = self.signed_policy()
        amount, creditor = made.amounts[number - 1]
        key = f"{made.order.digest.hex()}/{number}"
        counted = amount + sum(units for at, to, units in self.sums if to == creditor and at > self.now - WINDOW)
        if key in self.sent:
            return
        (verdict,) = judge_lines(
            [Line(content, evidence.digest, number)],
            check_orders([evidence], signed),
            signed,
            lambda _: counted,
            self.now,
        )
        passes = not reason_of(verdict)
        may = not is_forged and self.may_go(made, counted)
        COUNTS["asked"] += 1
        COUNTS["passed" if passes else "refused"] += 1
        assert passes == may, (reason_of(verdict), amount, counted, made.said, self.roles, self.lent)
        if passes:
            self.sent[key] = (self.now, amount)
            self.sums.append((self.now, creditor, amount))

    # --- the judge ---

    def may_go(self, made: Made, counted: int) -> bool:
        if "maker" not in self.roles.get(made.maker, ()) or (self.day(self.now) - self.day(made.made_at)).days > 3:
            return False
        need = NEEDS[sum(counted > limit for limit in LIMITS)]
        speaks = {p for p, _, at in made.said if self.rights(p, at, made.maker)}
        if any(not approves and p in speaks and self.rights(p, at, made.maker) for p, approves, at in made.said):
            return False
        places = [role for role, count in need.items() for _ in range(count)]
        people = sorted({p for p, approves, _ in made.said if approves})
        return any(self.fits(order, places, made) for order in itertools.permutations(people, len(places)))

    def fits(self, people: tuple[str, ...], places: list[str], made: Made) -> bool:
        choices = []
        for person, role in zip(people, places, strict=True):
            rights = {r for p, ok, at in made.said if ok and p == person for r in self.rights(p, at, made.maker)}
            choices.append([holder for holder, its in rights if its == role])
        return any(len(set(holders)) == len(holders) for holders in itertools.product(*choices))

    def rights(self, person: str, at: datetime, maker: str) -> set[tuple[str, str]]:
        if person == maker:
            return set()
        own = {(person, role) for role in self.roles.get(person, ()) if role != "maker"}
        days = (self.day(at), self.day(self.now))
        lent = {
            (d.giver, d.role)
            for d in self.lent
            if d.taker == person != d.giver != maker and d.role in self.roles.get(d.giver, ())
            and all(d.first_day <= day <= d.last_day for day in days)
        }  # fmt: skip
        return own | lent

    @staticmethod
    def day(instant: datetime) -> date:
        return (instant + timedelta(hours=8)).date()


def run(examples: int, steps: int, **more: Any) -> Counter[str]:
    """Run the machine; return how many lines were asked for, passed and refused."""
    COUNTS.clear()
    run_state_machine_as_test(
        Approving,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), **more,
        ),
    )  # fmt: skip
    return Counter(COUNTS)
