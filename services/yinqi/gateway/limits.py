"""How many calls a bank takes at a time, per class; the rest waits here, and not without end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from yinqi.gateway.profile import Concurrency
from yinqi.kernel.errors import Overloaded

T = TypeVar("T")
CLASSES = ("submit", "query", "other")


class Limits:
    """The slots of one profile. Not shared between replicas: give each its part of the bank's limit."""

    def __init__(self, profile_name: str, concurrency: Concurrency) -> None:
        self._profile_name = profile_name
        self._waiting_max = concurrency.waiting_max
        self._slots: Mapping[str, asyncio.Semaphore] = {
            name: asyncio.Semaphore(getattr(concurrency, name)) for name in CLASSES
        }
        self._free: dict[str, int] = {name: getattr(concurrency, name) for name in CLASSES}

    def reserve(self, call_class: str, count: int = 1) -> list[Ticket]:
        """Return tickets for calls; each must be used or given back.

        Raises:
            Overloaded: so many cannot wait. Nothing was reserved.
        """
        if self._free[call_class] - count < -self._waiting_max:
            raise Overloaded(
                "BANK_QUEUE_FULL",
                f"Too many calls wait for bank {self._profile_name} ({call_class}); try again in a few seconds.",
                "等待该银行的请求过多，请稍后重试。",
                metadata={"bank_profile": self._profile_name, "call_class": call_class},
            )
        self._free[call_class] -= count
        return [Ticket(self, call_class) for _ in range(count)]

    async def _take(self, call_class: str) -> None:
        await self._slots[call_class].acquire()

    def _give_back(self, call_class: str, *, was_taken: bool) -> None:
        self._free[call_class] += 1
        if was_taken:
            self._slots[call_class].release()


class Ticket:
    """A place in the queue, then a slot."""

    __slots__ = ("_call_class", "_is_over", "_is_taken", "_limits")

    def __init__(self, limits: Limits, call_class: str) -> None:
        self._limits = limits
        self._call_class = call_class
        self._is_taken = False
        self._is_over = False

    async def take(self) -> None:
        """Wait for the slot; a caller that is cancelled gives its place back."""
        try:
            await self._limits._take(self._call_class)
        except BaseException:
            self.give_back()
            raise
        if self._is_over:
            self._limits._slots[self._call_class].release()
            raise asyncio.CancelledError
        self._is_taken = True

    def abandon(self) -> None:
        """Give the place back if the slot was never taken (the call was cancelled before it began)."""
        if not self._is_taken:
            self.give_back()

    def give_back(self) -> None:
        """Free the slot or the place; later calls do nothing."""
        if not self._is_over:
            self._is_over = True
            self._limits._give_back(self._call_class, was_taken=self._is_taken)


async def run_all(calls: Sequence[Coroutine[Any, Any, T]], tickets: Sequence[Ticket] = ()) -> list[T]:
    """Run calls side by side to their ends and return their results; then raise the first error, if any.

    Args:
        tickets: of these calls; places of calls that never began are given back.
    """
    try:
        results = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        for ticket in tickets:
            ticket.abandon()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
