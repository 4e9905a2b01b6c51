"""Slots, places in the queue, and giving both back whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from yinqi.gateway.limits import Limits, run_all
from yinqi.gateway.profile import Concurrency
from yinqi.kernel.errors import Overloaded


def limits(submit: int = 2, waiting_max: int = 1) -> Limits:
    return Limits("demo_bank", Concurrency(submit=submit, waiting_max=waiting_max))


async def test_no_more_run_than_there_are_slots_and_no_more_wait_than_there_are_places() -> None:
    its = limits()
    tickets = its.reserve("submit", 3)
    with pytest.raises(Overloaded, match="demo_bank"):
        its.reserve("submit")
    its.reserve("query", 12)  # another class has slots of its own
    await tickets[0].take()
    await tickets[1].take()
    third = asyncio.create_task(tickets[2].take())
    await asyncio.sleep(0)
    assert not third.done()
    tickets[0].give_back()
    await third
    for ticket in tickets:
        ticket.give_back()
        ticket.give_back()
    assert len(its.reserve("submit", 3)) == 3


async def test_a_refused_reservation_takes_nothing() -> None:
    its = limits()
    with pytest.raises(Overloaded):
        its.reserve("submit", 4)
    assert len(its.reserve("submit", 3)) == 3


async def test_a_caller_that_is_cancelled_while_waiting_gives_its_place_back() -> None:
    its = limits(submit=1)
    running, waiting = its.reserve("submit", 2)
    await running.take()
    task = asyncio.create_task(waiting.take())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    running.give_back()
    (again,) = its.reserve("submit")
    await asyncio.wait_for(again.take(), 1)


async def test_calls_that_never_began_give_their_places_back() -> None:
    its = limits(submit=1, waiting_max=3)
    tickets = its.reserve("submit", 3)

    async def work(index: int) -> None:
        await tickets[index].take()
        try:
            await asyncio.sleep(60)
        finally:
            tickets[index].give_back()

    task = asyncio.create_task(run_all([work(i) for i in range(3)], tickets))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    tickets = its.reserve("submit", 4)
    await asyncio.wait_for(tickets[0].take(), 1)


async def test_all_calls_end_before_the_first_error_is_raised() -> None:
    ended = []

    async def work(index: int) -> None:
        await asyncio.sleep(0)
        if index == 0:
            raise Overloaded("QUEUE_FULL", "full")
        await asyncio.sleep(0.01)
        ended.append(index)

    with pytest.raises(Overloaded):
        await run_all([work(i) for i in range(3)])
    assert ended == [1, 2]
