"""Answers that are shared for a moment: a hundred open pages ask a sister service as often as one."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_ENTRIES_MAX = 200
# A slow answer is kept longer: asking takes at most a twentieth of the sister's time. An error is not: people wait.
_REST_FACTOR = 20.0
# One answer that was slow by chance must not freeze the page.
_REST_MAX_S = 5.0


@dataclass(slots=True)
class _Entry(Generic[T]):
    task: asyncio.Task[T]
    started: float
    ended: float | None = None


class Fresh(Generic[T]):
    """Answers by key, asked at most once per `age_max_s` and key; errors are shared like answers.

    Args:
        age_max_s: how old an answer may be, seconds; stretched when asking takes long.
        monotonic: seconds from any start.
    """

    def __init__(self, age_max_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._age_max_s = age_max_s
        self._monotonic = monotonic
        self._entries: OrderedDict[object, _Entry[T]] = OrderedDict()

    async def get(self, key: object, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the shared answer, or wait for the one being asked; a page that goes away stops nobody's question."""
        entry = self._entries.get(key)
        if entry is None or self._is_old(entry):
            entry = self._ask(key, ask)
        return await asyncio.shield(entry.task)

    def forget(self) -> None:
        """Ask again at the next call: something was changed."""
        self._entries.clear()

    def _is_old(self, entry: _Entry[T]) -> bool:
        if entry.task.cancelled():
            return True
        if entry.ended is None:
            return False
        failed = entry.task.exception() is not None
        rest_s = 0.0 if failed else min(_REST_MAX_S, _REST_FACTOR * (entry.ended - entry.started))
        age_max_s = max(self._age_max_s, rest_s)
        return self._monotonic() - entry.ended > age_max_s

    def _ask(self, key: object, ask: Callable[[], Awaitable[T]]) -> _Entry[T]:
        async def run() -> T:
            return await ask()

        entry = _Entry(asyncio.get_running_loop().create_task(run()), self._monotonic())

        def note_end(task: asyncio.Task[T]) -> None:
            entry.ended = self._monotonic()
            if not task.cancelled():
                task.exception()  # Looked at: an error nobody waits for any more is not a surprise.

        entry.task.add_done_callback(note_end)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > _ENTRIES_MAX:
            self._entries.popitem(last=False)
        return entry
