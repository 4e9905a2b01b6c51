"""Loops that act at their own pace: one action, an interval, backoff on errors, an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from yinqi.kernel.errors import YinqiError

_log = structlog.get_logger(__name__)


async def pause(seconds: float, *events: asyncio.Event) -> bool:
    """Wait until `seconds` are over or one of the events is set; return whether an event ended the wait."""
    if any(event.is_set() for event in events):
        return True
    if not events:
        await asyncio.sleep(seconds)
        return False
    if len(events) == 1:  # the usual case, without a task
        try:
            async with asyncio.timeout(seconds):
                return await events[0].wait()
        except TimeoutError:
            return False
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()


def backoff_s(failures: int, base_s: float, max_s: float) -> float:
    """Return the pause after the n-th failure in a row: doubled each time, never above `max_s`."""
    return float(min(max_s, base_s * 2.0 ** min(failures - 1, 16)))


async def every(
    interval_s: float,
    action: Callable[[], Awaitable[object]],
    *,
    stop: asyncio.Event,
    name: str,
    wake: asyncio.Event | None = None,
    backoff_max_s: float = 10.0,
) -> None:
    """Run `action` again and again until `stop` is set.

    If the action returns a truthy value there may be more work and it runs again at once; otherwise it rests
    for `interval_s` or until `wake` is set (it is cleared before each run, so no wake-up is lost). An error is
    logged and followed by a pause that doubles up to `backoff_max_s`; it never ends the loop.
    """
    failures = 0
    rest = _Rest(stop, wake)
    try:
        while not stop.is_set():
            if wake is not None:
                wake.clear()
            try:
                more = await action()
                failures = 0
            except Exception as error:  # noqa: BLE001 (the loop must outlive its action; the error is logged)
                failures += 1
                rest_s = backoff_s(failures, min(0.1, max(interval_s, 0.01)), backoff_max_s)
                _log_failure(name, error, failures, rest_s)
                await pause(rest_s, stop)
                continue
            if more:
                await asyncio.sleep(0)
            else:
                await rest.take(interval_s)
    finally:
        rest.end()


class _Rest:
    """Rests that any of several events ends; its waiting tasks serve rest after rest, for most of a service's rests end by time."""

    def __init__(self, *events: asyncio.Event | None) -> None:
        self._events = [event for event in events if event is not None]
        self._waits: dict[asyncio.Event, asyncio.Task[Any]] = {}

    async def take(self, seconds: float) -> None:
        for event in self._events:
            if event not in self._waits or self._waits[event].done():
                self._waits[event] = asyncio.ensure_future(event.wait())
        await asyncio.wait(self._waits.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    def end(self) -> None:
        for wait in self._waits.values():
            wait.cancel()


def _log_failure(name: str, error: Exception, failures: int, rest_s: float) -> None:
    facts = {"worker": name, "failures": failures, "retry_in_s": round(rest_s, 3)}
    if isinstance(error, YinqiError):
        _log.warning("worker action failed", reason=error.reason, message=error.message, **facts)
    else:
        _log.error("worker action failed", exc_info=error, **facts)
