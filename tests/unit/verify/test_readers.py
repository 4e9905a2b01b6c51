"""The verifier's own readers beside the libraries and rules that it does not use."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yinqi.api.payment.v1 import order_pb2, payment_pb2
from yinqi.orders import policy as rules
from yinqi.orders.line_tree import leaves_of, path_of, root_of
from yinqi.verify.forms import from_base64, from_hex, read_canonical
from yinqi.verify.orders import _root
from yinqi.verify.policy import Policy, Vote, are_filled, minor_units
from yinqi.verify.protobuf import Message

NOW = datetime(2026, 11, 22, 4, tzinfo=UTC)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=("Cs",))),
    number=st.integers(-(2**63), 2**63 - 1),
    count=st.integers(-(2**31), 2**31 - 1),
    content=st.binary(),
    seconds=st.integers(0, 253_402_300_799),
)
def test_messages_are_read_as_the_library_reads_them(
    text: str, number: int, count: int, content: bytes, seconds: int
) -> None:
    order = order_pb2.PaymentOrder(order_id=text, line_count=count, nonce=content)
    order.created_at.FromSeconds(seconds)
    order.totals.add(currency="CNY", minor_units=number)
    order.totals.add(currency="EUR")
    found = Message(order.SerializeToString())
    assert (found.text(1), found.number(7), found.content(6)) == (text, count, content)
    assert found.instant(4) == datetime.fromtimestamp(seconds, UTC)
    assert [(one.text(1), one.number(2)) for one in found.messages(8)] == [("CNY", number), ("EUR", 0)]


def test_a_field_that_comes_twice_counts_as_in_the_library() -> None:
    first, second = payment_pb2.PaymentInstruction(end_to_end_id="A"), payment_pb2.PaymentInstruction(end_to_end_id="B")
    first.instructed_amount.currency, second.instructed_amount.minor_units = "CNY", 7
    content = first.SerializeToString() + second.SerializeToString()
    theirs, ours = payment_pb2.PaymentInstruction.FromString(content), Message(content)
    amount = ours.message(8)
    assert (ours.text(1), amount.text(1), amount.number(2)) == (
        theirs.end_to_end_id,
        theirs.instructed_amount.currency,
        theirs.instructed_amount.minor_units,
    )


@pytest.mark.parametrize("content", [b"\x0a", b"\x0a\x05ab", b"\xff" * 11, b"\x0b", b"\x09\x00"])
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        Message(content)


def test_paths_lead_to_the_root_only_from_their_own_place() -> None:
    for count in (1, 2, 3, 5, 8, 13):
        lines = [b"line %d" % number for number in range(count)]
        leaves = leaves_of(lines)
        for index, line in enumerate(lines):
            path = [{"digest": digest.hex(), "is_left": is_left} for is_left, digest in path_of(leaves, index)]
            assert _root(line, index, count, path) == root_of(leaves)
            assert _root(b"other", index, count, path) != root_of(leaves)
            assert _root(line, index, count, [*path, {"digest": "00" * 32, "is_left": False}]) == b""
            if path:
                assert _root(line, index ^ 1, count, path) != root_of(leaves)


@pytest.mark.parametrize("line", [b'{"a": 1}', b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'{"a":1.0}', b'{"a":NaN}', b"[1]", b'{"a":"\\u0041"}', b"\xff"])  # fmt: skip
def test_a_line_has_one_form(line: bytes) -> None:
    with pytest.raises(ValueError):
        read_canonical(line)


def test_binary_has_one_form() -> None:
    for read, given_ in (
        (from_hex, "AB"),
        (from_hex, "abc"),
        (from_base64, "YR=="),
        (from_base64, "YQ"),
        (from_hex, 1),
    ):
        with pytest.raises(ValueError):
            read(given_)


def test_amounts_are_read_by_the_currency() -> None:
    assert [minor_units(*one) for one in (("1.50", "CNY"), ("-2", "CNY"), ("100.00", "JPY"), ("1.234", "KWD"))] == [
        150,
        -200,
        100,
        1234,
    ]
    with pytest.raises(ValueError):
        minor_units("1.001", "CNY")


def test_places_are_filled_as_the_rules_fill_them() -> None:
    dice = random.Random(5)
    people, roles = ["an", "bo", "cai", "ding"], ["checker", "director"]
    filled = 0
    for _ in range(600):
        held = {person: [role for role in roles if dice.random() < 0.5] for person in people}
        lent = [
            (giver, taker, role, date(2026, 11, dice.choice((1, 23))), date(2026, 11, 30))
            for giver in people
            for taker in people
            for role in held[giver]
            if giver != taker and dice.random() < 0.15
        ]
        needs = {role: count for role in roles if (count := dice.randrange(3))}
        voters, may = [person for person in people if dice.random() < 0.6], dice.random() < 0.3
        ours = Policy(
            0,
            1,
            {},
            {
                "person": [{"name": name, "roles": its} for name, its in held.items()],
                "delegation": [
                    dict(zip(("giver", "taker", "role", "first_day", "last_day"), one, strict=True)) for one in lent
                ],
            },
        )
        mine = are_filled(needs, ours, "an", {"maker_may_approve": may}, [Vote(person, NOW) for person in voters])
        theirs = judged(held, lent, needs, voters, may=may)
        assert mine is theirs, (held, lent, needs, voters, may)
        filled += mine
    assert 100 < filled < 500


def judged(held: dict[str, list[str]], lent: list[tuple[str, str, str, date, date]], needs: dict[str, int], voters: list[str], *, may: bool) -> bool:  # fmt: skip
    """What orders/policy.py says."""
    places = tuple(rules.Need(role, count) for role, count in sorted(needs.items()))
    rule = rules.Rule(frozenset("*"), frozenset("*"), "CNY", (rules.Tier(None, places),), allow_vouched=True, maker_may_approve=may)  # fmt: skip
    policy = rules.Policy(
        1,
        "c",
        {name: frozenset(its) for name, its in held.items()},
        (rule,),
        tuple(rules.Delegation(*one) for one in lent),
    )
    order = rules.OrderFacts("an", True, NOW, (), tuple(rules.Vote(person, True, NOW) for person in voters))
    return rules.judge(policy, rules.Payable("1", "2", "SUPP", "CNY", 1), order, 1, NOW).passes
