"""Concurrent unary calls become one batch: one use case, one commit, an answer for each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace

from yinqi.kernel.errors import Overloaded

T = TypeVar("T")
R = TypeVar("R")


class Coalescer(Generic[T, R]):
    """Gathers items while a batch is being handled and hands them on as the next batch.

    Args:
        handle: takes n items, returns n results in the same order. If it raises, every caller of that batch
            gets the error.
        batch_max: most items in one batch.
        delay_ms: how long the first item of a batch waits for company. 0: until the loop has run once, which
            is enough when the callers come in bursts.
        queue_max: most items waiting; above it `submit` raises `Overloaded`.
        concurrency: batches handled at once. 1 gives the largest batches.
    """

    def __init__(
        self,
        handle: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        batch_max: int,
        delay_ms: float = 0,
        queue_max: int = 10_000,
        concurrency: int = 1,
    ) -> None:
        self._handle = handle
        self._batch_max = batch_max
        self._delay_s = delay_ms / 1000
        self._queue_max = queue_max
        self._concurrency = concurrency
        self._waiting: deque[tuple[T, asyncio.Future[R], trace.SpanContext]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, item: T) -> R:
        """Return the result for this item; cancelling one caller does not touch the others.

        Raises:
            Overloaded: too many items wait. Nothing was done with this one.
        """
        if len(self._waiting) >= self._queue_max:
            raise Overloaded("QUEUE_FULL", "Too many requests are waiting; try again in a second.")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, trace.get_current_span().get_span_context()))
        if len(self._tasks) < self._concurrency:
            # A context of its own: the batch belongs to no single caller's trace.
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
        return await future

    async def _work(self) -> None:
        try:
            await asyncio.sleep(self._delay_s)
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._batch_max, len(self._waiting)))]
                # A caller that has gone away before its batch began gets nothing done.
                batch = [entry for entry in batch if not entry[1].cancelled()]
                if batch:
                    await self._handle_batch(batch)
        finally:
            # No await between the last look at the queue and this line, or an item could be left behind.
            self._tasks = {task for task in self._tasks if task is not asyncio.current_task()}

    async def _handle_batch(self, batch: list[tuple[T, asyncio.Future[R], trace.SpanContext]]) -> None:
        # One caller: the batch is its own; several: none of them is the parent.
        parent = batch[0][2] if len(batch) == 1 else trace.INVALID_SPAN_CONTEXT
        token = otel_context.attach(trace.set_span_in_context(trace.NonRecordingSpan(parent)))
        try:
            results = await self._handle([item for item, _, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"handle returned {len(results)} results for {len(batch)} items")
        except BaseException as error:
            for _, future, _ in batch:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else RuntimeError("batch cancelled"))
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future, _), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        finally:
            otel_context.detach(token)
