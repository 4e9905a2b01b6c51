"""Slots that replicas share: never more than the bank takes, turn by turn, and given back whatever happens."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from yinqi.gateway.limits import Limits, run_all
from yinqi.gateway.metadata import METADATA
from yinqi.gateway.profile import Concurrency
from yinqi.gateway.repository import SqlSlots
from yinqi.gateway.slots import Slot, next_turns, split
from yinqi.kernel.clock import FixedClock, SystemClock
from yinqi.kernel.errors import Overloaded
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.runtime.database import Database

NOW = dt.datetime(2026, 11, 22, 4, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(seconds=10)
Open = Callable[..., Limits]


def slot(position: int, company: str, *, taken: bool = False, until: dt.datetime = LATER) -> Slot:
    return Slot(f"T{position}", position, company, "GW", taken, until)


def test_turns_go_round_the_companies_however_many_calls_one_of_them_has() -> None:
    queue = [slot(n, "loud") for n in range(50)] + [slot(100, "quiet"), slot(101, "small")]
    assert [one.company for one in next_turns(queue, 5)] == ["loud", "quiet", "small", "loud", "loud"]
    running = [slot(200 + n, "loud", taken=True) for n in range(3)]
    assert [one.company for one in next_turns(running + queue, 5)] == ["quiet", "small"]


def test_no_turn_is_given_beyond_the_limit() -> None:
    assert next_turns([slot(n, "a", taken=True) for n in range(3)] + [slot(9, "b")], 3) == []
    assert next_turns([slot(n, "a", taken=True) for n in range(5)] + [slot(9, "b")], 3) == []


def test_rows_whose_process_is_silent_count_for_nothing() -> None:
    living, dead = split([slot(1, "a"), slot(2, "b", until=NOW)], NOW)
    assert [one.position for one in living] == [1]
    assert [one.position for one in dead] == [2]


@pytest.fixture
async def open_limits(database_url: str) -> AsyncIterator[Open]:
    """Make replicas on one database, SQLite and PostgreSQL; each has connections of its own."""
    async with AsyncExitStack() as stack:

        def open_one(holder: str = "GW1", *, clock: FixedClock | None = None, **numbers: int) -> Limits:
            database = Database.open(database_url, writers=2)
            METADATA.create_all(database.write_engine)
            concurrency = Concurrency(**{"submit": 2, "waiting_max": 1, **numbers})
            its = Limits(
                "demo_bank", concurrency, database, clock or SystemClock(), TimeOrderedIds(SystemClock()), holder=holder
            )
            stack.callback(database.close)
            stack.push_async_callback(its.close)
            return its

        yield open_one


async def test_no_more_run_than_there_are_slots_and_no_more_wait_than_there_are_places(open_limits: Open) -> None:
    its = open_limits()
    tickets = await its.reserve("submit", ["A"] * 3)
    with pytest.raises(Overloaded, match="demo_bank"):
        await its.reserve("submit", ["B"])
    await its.reserve("query", ["A"] * 12)  # another class has slots of its own
    await tickets[0].take()
    await tickets[1].take()
    third = asyncio.create_task(tickets[2].take())
    await asyncio.sleep(0.05)
    assert not third.done()
    tickets[0].give_back()
    await asyncio.wait_for(third, 30)
    for ticket in tickets:
        ticket.give_back()
        ticket.give_back()


async def test_the_queue_is_one_for_all_replicas(open_limits: Open) -> None:
    one, other = open_limits("GW1"), open_limits("GW2")
    tickets = await one.reserve("submit", ["A"] * 3)
    with pytest.raises(Overloaded):
        await other.reserve("submit", ["B"])
    tickets[0].give_back()
    tickets[1].give_back()
    tickets[2].give_back()
    await one.close()
    (elsewhere,) = await other.reserve("submit", ["B"])
    await asyncio.wait_for(elsewhere.take(), 30)


async def test_a_refused_reservation_takes_nothing(open_limits: Open) -> None:
    its = open_limits()
    with pytest.raises(Overloaded):
        await its.reserve("submit", ["A"] * 4)
    assert len(await its.reserve("submit", ["A"] * 3)) == 3


async def test_a_caller_whose_deadline_passes_leaves_the_queue(open_limits: Open) -> None:
    its = open_limits(submit=1, waiting_max=3)  # places are given back in the background
    running, waiting = await its.reserve("submit", ["A", "A"])
    await running.take()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting.take(), 0.05)
    running.give_back()
    (again,) = await its.reserve("submit", ["A"])
    await asyncio.wait_for(again.take(), 30)


async def test_the_slot_of_a_process_that_died_comes_back_when_its_lease_ends(open_limits: Open) -> None:
    dead_clock, clock = FixedClock(NOW), FixedClock(NOW)
    dead, alive = open_limits("GW1", clock=dead_clock, submit=1), open_limits("GW2", clock=clock, submit=1)
    (lost,) = await dead.reserve("submit", ["A"])
    await lost.take()
    (ours,) = await alive.reserve("submit", ["B"])
    waiting = asyncio.create_task(ours.take())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    clock.advance(dt.timedelta(seconds=16))
    await asyncio.wait_for(waiting, 30)


async def test_two_replicas_never_run_more_than_the_bank_takes_and_nobody_starves(open_limits: Open) -> None:
    replicas = [open_limits("GW1", submit=3, waiting_max=200), open_limits("GW2", submit=3, waiting_max=200)]
    running, peak = 0, 0
    ended: Counter[str] = Counter()
    order: list[str] = []

    async def call(limits: Limits, company: str) -> None:
        nonlocal running, peak
        (ticket,) = await limits.reserve("submit", [company])
        await ticket.take()
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.002)
        running -= 1
        ended[company] += 1
        order.append(company)
        ticket.give_back()

    loud = [call(replicas[n % 2], "LOUD") for n in range(60)]
    quiet = [call(replicas[n % 2], f"QUIET{n}") for n in range(6)]
    await asyncio.wait_for(asyncio.gather(*loud, *quiet), 120)
    assert peak == 3
    assert ended == {"LOUD": 60, **{f"QUIET{n}": 1 for n in range(6)}}
    assert max(order.index(f"QUIET{n}") for n in range(6)) < 40  # the loud one's queue was longer


async def test_calls_that_never_began_give_their_places_back(open_limits: Open) -> None:
    its = open_limits(submit=1, waiting_max=3)
    tickets = await its.reserve("submit", ["A"] * 3)

    async def work(index: int) -> None:
        await tickets[index].take()
        try:
            await asyncio.sleep(60)
        finally:
            tickets[index].give_back()

    task = asyncio.create_task(run_all([work(i) for i in range(3)], tickets))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await its.close()
    rows = await its._database.read(lambda connection: SqlSlots(connection).find("demo_bank", "submit"))
    assert rows == []


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
