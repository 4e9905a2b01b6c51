"""An asyncio event loop without sockets whose time jumps to the next thing that is to happen."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Generator
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


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in the order it became so; when nothing is, it is the time of the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector = _Jump(self)
        self.set_task_factory(_owned_task)

    def time(self) -> float:
        return self._now_s

    def jump(self) -> None:
        """Move time to the earliest timer."""
        scheduled = self._scheduled  # type: ignore[attr-defined]
        if not scheduled:
            raise NothingLeft("nothing is left to happen, and somebody still waits")
        self._now_s = max(self._now_s, scheduled[0]._when)

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("there are no threads in a simulation")

    def _process_events(self, _event_list: object) -> None:
        """No sockets, no events."""

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody needs to be woken."""


class _Jump:
    """Stands where a loop has its selector: waiting takes no time here."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None or timeout > 0:
            self._loop.jump()
        return ()

    def close(self) -> None:
        """Nothing is open."""


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
