"""An asyncio event loop without sockets whose time jumps to the next thing that is to happen."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn

Task = asyncio.Task[Any]


class NothingLeft(RuntimeError):
    """Nothing is scheduled and nothing is ready: whoever waits would wait for ever."""


class Owner:
    """A process in the loop: its tasks, in the order they began, so that all of them can die at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks: dict[Task, None] = {}
        self.is_alive = True

    def kill(self) -> None:
        """End all tasks where they stand."""
        self.is_alive = False
        for task in list(self.tasks):
            task.cancel()


OWNER: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("yinqi_simulation_owner", default=None)


def spawn(owner: Owner, work: Coroutine[Any, Any, Any]) -> Task:
    """Run `work` as a task of `owner`; tasks begun by it are the owner's too."""
    context = contextvars.Context()
    context.run(OWNER.set, owner)
    return asyncio.get_running_loop().create_task(work, context=context)


class _Handle(asyncio.TimerHandle):
    """What is to be called, at once or at its time; asyncio's own asks for its loop's debugging each time."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
        when: float = 0.0,
    ) -> None:
        self._callback, self._args, self._loop, self._when = callback, args, loop, when
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = self._scheduled = False
        self._repr = self._source_traceback = None

    def cancel(self) -> None:
        self._cancelled, self._callback, self._args = True, _nothing, ()  # what it would have held lives no longer


def _nothing() -> None:
    """What a cancelled handle would do."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in the order it became so; when nothing is, it is the time of the next timer.

    Half of what a story costs is steps of this loop, so it does what asyncio's does and nothing besides: no sockets, no
    debugging, timers compared as tuples.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._soon: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._timers_made = 0
        self.set_task_factory(_owned_task)

    def time(self) -> float:
        return self._now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _Handle(callback, args, self, context, when)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, handle))
        return handle

    def _run_once(self) -> None:
        """Run what is ready now; what it makes ready comes in the next round."""
        soon, timers = self._soon, self._timers
        if not soon and not self._stopping:  # type: ignore[attr-defined]
            self._jump()
        while timers and timers[0][0] <= self._now_s:
            soon.append(heapq.heappop(timers)[2])
        for _ in range(len(soon)):
            handle = soon.popleft()
            if not handle._cancelled:
                handle._run()

    def _jump(self) -> None:
        """Move time to the earliest timer that somebody still waits for."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise NothingLeft("nothing is left to happen, and somebody still waits")
        self._now_s = max(self._now_s, timers[0][0])

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("there are no threads in a simulation")

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody needs to be woken."""


def _owned_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    context: contextvars.Context | None = None,
) -> Task:
    task: Task = asyncio.Task(work, loop=loop, context=context)
    owner = OWNER.get() if context is None else context.get(OWNER)
    if owner is not None:
        owner.tasks[task] = None
        task.add_done_callback(lambda done: owner.tasks.pop(done, None))
        if not owner.is_alive:
            task.cancel()
    return task
