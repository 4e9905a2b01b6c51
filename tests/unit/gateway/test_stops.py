"""Stops as a rule: one person is enough to stop, two different people must agree to lift."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yinqi.gateway.model import BankAccount
from yinqi.gateway.stops import (
    Scope,
    ScopeKind,
    Stop,
    StopEventType,
    Word,
    held_words,
    lift,
    pull,
    require_known,
    stop_of,
)
from yinqi.kernel.errors import InvalidRequest, NotFound

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
ACCOUNT = BankAccount("755915678910001", "CNY", "制造", "demo_bank", "制造")
OTHER = BankAccount("755915678910002", "CNY", "销售", "other_bank", "销售")
BANK = Scope(ScopeKind.BANK, "demo_bank")


def word(person: str, reason: str = "because") -> Word:
    return Word(person, NOW, reason)


def pulled(by: str = "li.si") -> Stop:
    return pull(None, BANK, word(by), "ST1").stop


@pytest.mark.parametrize(
    "scope",
    [
        Scope(ScopeKind.HOUSE),
        BANK,
        Scope(ScopeKind.COMPANY, "制造"),
        Scope(ScopeKind.ACCOUNT, "755915678910001"),
    ],
)
def test_a_scope_holds_what_it_names_and_only_the_house_holds_all(scope: Scope) -> None:
    assert scope.covers(ACCOUNT)
    assert scope.covers(OTHER) is (scope.kind is ScopeKind.HOUSE)
    require_known(scope, [ACCOUNT, OTHER])
    stop = replace(pulled(), scope=scope)
    assert stop_of(ACCOUNT, [stop]) == stop
    assert stop_of(ACCOUNT, [replace(stop, lifted=word("wang.wu"))]) is None


@pytest.mark.parametrize("kind", [ScopeKind.BANK, ScopeKind.COMPANY, ScopeKind.ACCOUNT])
def test_a_slip_of_the_pen_stops_nothing_and_says_so(kind: ScopeKind) -> None:
    for name in ("demo_bnak", ""):
        with pytest.raises(NotFound, match="nothing was stopped"):
            require_known(Scope(kind, name), [ACCOUNT])


def test_a_reader_of_a_held_payment_learns_who_and_why_but_no_account_number() -> None:
    stop = pull(None, Scope(ScopeKind.ACCOUNT, ACCOUNT.identification), word("li.si", "账户疑似被盗"), "ST1").stop
    words = held_words(stop)
    assert "li.si" in words
    assert "账户疑似被盗" in words
    assert "****0001" in words
    assert ACCOUNT.identification not in words


@pytest.mark.parametrize("reason", ["", "   ", "two\nlines", "x" * 281])
def test_a_word_needs_a_reason_on_one_line(reason: str) -> None:
    with pytest.raises(InvalidRequest, match="say why"):
        word("li.si", reason)


def test_the_puller_may_be_one_of_the_two_who_lift_but_never_both() -> None:
    asked = lift(pulled("li.si"), word("li.si", "all clear"))
    assert asked.type is StopEventType.LIFT_ASKED
    assert lift(asked.stop, word("li.si", "really")).type is None
    lifted = lift(asked.stop, word("wang.wu"))
    assert lifted.type is StopEventType.LIFTED
    assert not lifted.stop.is_active


def test_a_second_pull_takes_an_asking_back_and_a_repeated_first_one_does_not() -> None:
    asked = lift(pulled("li.si"), word("wang.wu")).stop
    assert pull(asked, BANK, word("li.si"), "ST2").stop == asked
    again = pull(asked, BANK, word("zhao.liu", "not yet"), "ST2")
    assert again.type is StopEventType.LIFT_WITHDRAWN
    assert (again.stop.stop_id, again.stop.lift_asked) == ("ST1", None)


@given(st.lists(st.tuples(st.sampled_from(["pull", "lift"]), st.sampled_from("ABC")), max_size=12))
def test_whatever_is_said_a_stop_ends_only_by_two_people_in_a_row(words: list[tuple[str, str]]) -> None:
    stop = pulled("A")
    for verb, person in words:
        before = stop
        change = lift(stop, word(person)) if verb == "lift" else pull(stop, BANK, word(person, f"by {person}"), "ST2")
        stop = change.stop
        assert (change.type is None) == (stop == before)
        if not stop.is_active:
            assert stop.lift_asked is not None
            assert stop.lifted is not None
            assert stop.lift_asked.person != stop.lifted.person
            assert before.lift_asked == stop.lift_asked
            return
