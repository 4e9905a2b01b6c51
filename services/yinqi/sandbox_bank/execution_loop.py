"""The loop that lets received payments happen, woken by new work and by the clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from yinqi.sandbox_bank.bank import Bank

_IDLE_MS_MAX = 500  # Business days pass without anybody calling; look now and then.
_log = logging.getLogger(__name__)


class ExecutionLoop:
    """Runs `Bank.tick` whenever something may be due."""

    def __init__(self, bank: Bank, workers: ThreadPoolExecutor, happened: Callable[[], None]) -> None:
        """`happened` is called on the event loop after each step that may have something to tell."""
        self._bank, self._workers, self._happened = bank, workers, happened
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Look again now; call from the event loop."""
        self._wake.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the loop for as long as the block lasts; a step under way is finished."""
        task = asyncio.create_task(self._run())
        task.add_done_callback(_stop_on_failure)
        try:
            yield
        finally:
            self._stopping = True
            self.wake()
            await task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            self._wake.clear()
            # A book that cannot be written (full disk) must not end executions for good: say so and try again.
            try:
                executed = await loop.run_in_executor(self._workers, self._bank.tick)
                self._happened()
                wait_ms = 0 if executed else await loop.run_in_executor(self._workers, self._wait_ms)
            except sqlite3.Error:
                _log.exception("the book cannot be written, trying again 账簿写入失败")
                wait_ms = _IDLE_MS_MAX
            limit_ms = _IDLE_MS_MAX if wait_ms is None else min(wait_ms, _IDLE_MS_MAX)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), limit_ms / 1000)

    def _wait_ms(self) -> int | None:
        """Notices have a loop of their own: one that waits for the company must not keep this one awake."""
        return self._bank.wait_ms(notices=False)


def _stop_on_failure(task: asyncio.Task[None]) -> None:
    """A bank that no longer executes must not go on accepting."""
    if not task.cancelled() and task.exception() is not None:
        _log.critical("execution loop failed, stopping", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)
