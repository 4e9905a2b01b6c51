"""Concurrent calls become batches; each caller gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from yinqi.kernel.errors import InvalidRequest, Overloaded
from yinqi.runtime.coalescer import Coalescer


class Doubler:
    """Doubles numbers and remembers the batches; waits at the gate while it is closed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.gate.wait()
        if 1300 in items:
            raise InvalidRequest("UNLUCKY", "1300 is not allowed")
        return [2 * item for item in items]


async def test_calls_that_come_together_are_one_batch_and_answers_keep_their_order() -> None:
    doubler = Doubler()
    coalescer = Coalescer(doubler.handle, batch_max=100)
    assert await asyncio.gather(*(coalescer.submit(n) for n in range(20))) == [2 * n for n in range(20)]
    assert doubler.batches == [list(range(20))]


async def test_while_one_batch_is_handled_the_next_one_gathers() -> None:
    doubler = Doubler()
    doubler.gate.clear()
    coalescer = Coalescer(doubler.handle, batch_max=100)
    first = asyncio.ensure_future(coalescer.submit(1))
    await asyncio.sleep(0.01)
    rest = asyncio.gather(*(coalescer.submit(n) for n in (2, 3, 4)))
    await asyncio.sleep(0.01)
    doubler.gate.set()
    assert await first == 2
    assert await rest == [4, 6, 8]
    assert doubler.batches == [[1], [2, 3, 4]]


async def test_a_batch_has_a_greatest_size() -> None:
    doubler = Doubler()
    coalescer = Coalescer(doubler.handle, batch_max=8)
    await asyncio.gather(*(coalescer.submit(n) for n in range(20)))
    assert [len(batch) for batch in doubler.batches] == [8, 8, 4]


async def test_a_cancelled_caller_harms_nobody() -> None:
    doubler = Doubler()
    doubler.gate.clear()
    coalescer = Coalescer(doubler.handle, batch_max=100)
    calls = [asyncio.ensure_future(coalescer.submit(n)) for n in (1, 2, 3)]
    await asyncio.sleep(0.01)
    calls[1].cancel()
    late = asyncio.ensure_future(coalescer.submit(4))
    gone = asyncio.ensure_future(coalescer.submit(5))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    doubler.gate.set()
    assert (await calls[0], await calls[2], await late) == (2, 6, 8)
    assert doubler.batches == [[1, 2, 3], [4]]  # the one cancelled before its batch began was never done


async def test_an_error_reaches_every_caller_of_its_batch_and_nobody_else() -> None:
    coalescer = Coalescer(Doubler().handle, batch_max=2)
    results = await asyncio.gather(*(coalescer.submit(n) for n in (1, 1300, 2, 3)), return_exceptions=True)
    assert [isinstance(result, InvalidRequest) for result in results] == [True, True, False, False]


async def test_a_handler_that_loses_an_answer_is_found_out() -> None:
    async def forgetful(items: Sequence[int]) -> list[int]:
        return [1]

    coalescer = Coalescer(forgetful, batch_max=10)
    results = await asyncio.gather(coalescer.submit(1), coalescer.submit(2), return_exceptions=True)
    assert all(isinstance(result, RuntimeError) for result in results)


async def test_a_full_queue_refuses() -> None:
    doubler = Doubler()
    doubler.gate.clear()
    coalescer = Coalescer(doubler.handle, batch_max=10, queue_max=2)
    first = asyncio.ensure_future(coalescer.submit(1))
    await asyncio.sleep(0.01)
    waiting = [asyncio.ensure_future(coalescer.submit(n)) for n in (2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await coalescer.submit(4)
    doubler.gate.set()
    await asyncio.gather(first, *waiting)


async def test_nothing_is_left_behind_however_calls_and_batches_interleave() -> None:
    coalescer = Coalescer(Doubler().handle, batch_max=3)

    async def caller(number: int) -> None:
        for n in range(50):
            assert await coalescer.submit(number * 100 + n) == 2 * (number * 100 + n)
            if n % 7 == number % 7:
                await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(*(caller(number) for number in range(1, 9)))
