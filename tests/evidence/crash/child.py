"""A process that is going to be killed: forked from one that has everything imported, it says what it answered."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from tests.evidence.crash.paths import Path_, Say

from yinqi.kernel.errors import StorageFull
from yinqi.runtime import checkpoint

Fact = tuple[str, ...]
_DEADLINE_S = 120.0
_PR_SET_PTRACER = 0x59616D61
DISK_FULL = 75
"""How a process ends that was told the disk is full (EX_TEMPFAIL)."""


class Child:
    """The forked process as its parent sees it.

    Args:
        make: builds the path on a folder.
        once: walk the path once and end in order; else over and over until killed.
        name: prefix of everything it makes.
        checkpoints: move the log into the store at every commit, not every 2,000 rows.
    """

    def __init__(
        self, make: Callable[[Path, Say], Path_], folder: Path, name: str, *, once: bool, checkpoints: bool = False
    ) -> None:
        self._told, told = os.pipe()
        released, self._release = os.pipe()
        sys.stdout.flush()
        gc.freeze()  # what is collected in the child need not be copied for it first
        self.process_id = os.fork()
        if self.process_id == 0:
            os.close(self._told)
            os.close(self._release)
            _live(partial(_walk, make, folder, name, once, checkpoints), told, released)
        os.close(told)
        os.close(released)
        self._rest = b""
        self.facts: list[Fact] = []

    def await_word(self, kind: str, *, times: int = 1) -> bool:
        """Read until the process has said a word of this kind so often; False if it ended before."""
        end_at = time.monotonic() + _DEADLINE_S
        while sum(fact[0] == kind for fact in self.facts) < times:
            if time.monotonic() > end_at:
                os.kill(self.process_id, signal.SIGKILL)
                raise AssertionError(f"the process did not say {kind} within {_DEADLINE_S:g} s")
            if not self._read(1.0):
                return False
        return True

    def release(self) -> None:
        """Let it walk on from `ready`."""
        os.write(self._release, b"g")

    def kill(self) -> None:
        os.kill(self.process_id, signal.SIGKILL)

    def wait(self) -> int:
        """Return how it ended (exit code, or minus the signal), having read all that it said."""
        end_at = time.monotonic() + _DEADLINE_S
        while self._read(1.0):
            if time.monotonic() > end_at:
                self.kill()
        os.close(self._told)
        os.close(self._release)
        return os.waitstatus_to_exitcode(os.waitpid(self.process_id, 0)[1])

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._told], [], [], timeout_s)[0]:
            return True
        received = os.read(self._told, 65536)
        *lines, self._rest = (self._rest + received).split(b"\n")
        self.facts += [tuple(json.loads(line)) for line in lines]
        return bool(received)


def _live(walk: Callable[[Say, int], Coroutine[Any, Any, None]], told: int, released: int) -> None:
    code = 1
    try:
        gc.disable()  # it does not live long enough
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, -1)
        # What the services log about their deaths is not the evidence.
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])

        def say(*fact: object) -> None:
            os.write(told, json.dumps([str(part) for part in fact]).encode() + b"\n")

        asyncio.run(walk(say, released))
        code = 0
    except StorageFull:
        code = DISK_FULL
    except BaseException:  # noqa: BLE001 (a forked child must not go on as its parent)
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)


async def _walk(
    make: Callable[[Path, Say], Path_], folder: Path, name: str, once: bool, checkpoints: bool, say: Say, released: int
) -> None:
    say("alive")
    if checkpoints:
        checkpoint.ROWS_BETWEEN = 1
    path = make(folder, say)
    await path.start()
    number = 0
    while True:
        number += 1
        await path.prepare(f"{name}{number}")
        say("ready")
        if once and os.read(released, 1) != b"g":
            return
        await path.act(f"{name}{number}")
        if once:
            break
    say("done")
    path.close()
