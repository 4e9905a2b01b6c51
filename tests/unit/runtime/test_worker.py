"""Loops outlive their errors, wake up when told, and end when told."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from yinqi.kernel.errors import Unavailable
from yinqi.runtime import worker
from yinqi.runtime.worker import backoff_s, every, pause


async def test_an_action_runs_again_and_again_until_stopped() -> None:
    stop = asyncio.Event()
    runs = 0

    async def action() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            stop.set()

    await asyncio.wait_for(every(0.001, action, stop=stop, name="test"), 5)
    assert runs == 3


async def test_work_left_over_is_done_at_once() -> None:
    stop = asyncio.Event()
    left = [3, 2, 1, 0]

    async def action() -> int:
        now = left.pop(0)
        if not left:
            stop.set()
        return now

    await asyncio.wait_for(every(60, action, stop=stop, name="test"), 5)  # never rests: there was more each time
    assert left == []


async def test_a_wake_up_ends_the_rest_and_none_is_lost() -> None:
    stop, wake = asyncio.Event(), asyncio.Event()
    runs = 0

    async def action() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            wake.set()  # during the action: must not be missed
        else:
            stop.set()

    await asyncio.wait_for(every(60, action, stop=stop, name="test", wake=wake), 5)
    assert runs == 3


async def test_an_error_is_logged_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # A logger of its own: one that was used before logging was set up cannot be captured.
    monkeypatch.setattr(worker, "_log", structlog.get_logger("fresh"))
    stop = asyncio.Event()
    runs = 0

    async def action() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise Unavailable("BANK_AWAY", "no answer")
        if runs == 2:
            raise ZeroDivisionError
        stop.set()

    with structlog.testing.capture_logs() as logs:
        await asyncio.wait_for(every(0.001, action, stop=stop, name="dispatch", backoff_max_s=0.01), 5)
    assert runs == 3
    assert [(log["log_level"], log["worker"], log["failures"]) for log in logs] == [
        ("warning", "dispatch", 1),
        ("error", "dispatch", 2),
    ]


def test_backoff_doubles_and_has_a_greatest_value() -> None:
    assert [backoff_s(n, 0.1, 1.0) for n in (1, 2, 3, 4, 5, 1000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


async def test_a_pause_ends_early_only_by_an_event() -> None:
    event = asyncio.Event()
    assert not await pause(0.001, event)
    assert not await pause(0.001)
    event.set()
    assert await pause(60, event)
