"""The safe window is over when it is over on a clock that nobody sets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from yinqi.gateway.model import Attempt, SendState
from yinqi.gateway.since_sent import SinceSent
from yinqi.kernel.clock import FixedClock
from yinqi.kernel.money import Money

BEGIN = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
WINDOW, LAST_BYTE = timedelta(seconds=30), timedelta(seconds=10)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
SENT = Attempt(
    "YQ1", 1, SendState.IN_DOUBT, "demo_bank", "755", "622", Money("CNY", 1), "", "EX1", BEGIN, BEGIN + SECOND
)
CRASHED = replace(SENT, ended_at=None)


def asked(since: SinceSent, clock: FixedClock, attempt: Attempt) -> datetime:
    return since.asked_at([attempt], clock.now(), WINDOW, LAST_BYTE)


@pytest.mark.parametrize("jump", [timedelta(0), HOUR, -HOUR])
def test_a_jump_of_the_clock_does_not_end_the_window(jump: timedelta) -> None:
    clock = FixedClock(BEGIN + SECOND)
    since = SinceSent(clock)
    since.ended([("YQ1", 1)], clock.now())
    clock.jump(jump)
    clock.advance(WINDOW - SECOND)
    assert asked(since, clock, SENT) < BEGIN + SECOND + WINDOW
    clock.advance(SECOND)
    assert asked(since, clock, SENT) == clock.now() == BEGIN + SECOND + WINDOW + jump


def test_what_another_process_sent_counts_from_when_this_one_first_met_it() -> None:
    clock = FixedClock(BEGIN + HOUR)
    since = SinceSent(clock)
    assert asked(since, clock, SENT) == SENT.ended_at
    clock.advance(WINDOW)
    assert asked(since, clock, SENT) == clock.now()


def test_an_attempt_without_an_end_may_still_be_leaving() -> None:
    clock = FixedClock(BEGIN + HOUR)
    since = SinceSent(clock)
    assert asked(since, clock, CRASHED) == BEGIN
    clock.advance(WINDOW + LAST_BYTE - SECOND)
    assert asked(since, clock, CRASHED) < BEGIN + LAST_BYTE + WINDOW
    clock.advance(SECOND)
    assert asked(since, clock, CRASHED) == clock.now()


def test_an_attempt_that_ended_after_it_was_met_is_met_anew() -> None:
    clock = FixedClock(BEGIN)
    since = SinceSent(clock)
    asked(since, clock, CRASHED)
    clock.advance(WINDOW + LAST_BYTE)
    late = replace(SENT, ended_at=clock.now())
    assert asked(since, clock, late) == late.ended_at


def test_what_never_left_bounds_nothing() -> None:
    clock = FixedClock(BEGIN)
    assert asked(SinceSent(clock), clock, replace(SENT, state=SendState.NOT_SENT)) == BEGIN
