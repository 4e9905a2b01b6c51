"""Callers whose role may not do what they asked for: refused each time, told of once in a while."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog

from yinqi.runtime.identity import Principal

_log = structlog.get_logger(__name__)
_AGAIN_AFTER_S = 60.0
_REMEMBERED_MAX = 1_000

# Gets the caller and the method's name; awaited before the caller hears its refusal.
Tell = Callable[[Principal, str], Awaitable[None]]


class Denials:
    """Tells of each caller and method once a minute: a flood of refusals must not become one of log lines and alerts.

    Args:
        tell: hears of a denial beside the log; what it raises is logged, and the call is refused all the same.
        monotonic: seconds.
    """

    def __init__(self, tell: Tell | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def note(self, principal: Principal, method: str) -> None:
        """Say that the caller was refused, unless that was said a moment ago."""
        key, now = (principal.name, method), self._monotonic()
        if now - self._told.get(key, -_AGAIN_AFTER_S) < _AGAIN_AFTER_S:
            return
        self._told[key] = now
        self._told.move_to_end(key)
        while len(self._told) > _REMEMBERED_MAX:
            self._told.popitem(last=False)
        _log.warning(
            "a caller's role may not do this", caller=principal.name, method=method, service=principal.is_service
        )
        if self._tell is None:
            return
        try:
            await self._tell(principal, method.rpartition("/")[2])
        except Exception as error:  # noqa: BLE001 (the refusal stands, whoever could not be told)
            _log.error("a denial could not be told", exc_info=error, method=method)
