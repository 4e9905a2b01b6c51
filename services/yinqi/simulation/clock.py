"""The clocks of a simulated world: one true time, and one per process that may be wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta

from yinqi.kernel.clock import BANK_ZONE

BEGIN = datetime(2026, 11, 23, 14, 0, tzinfo=BANK_ZONE)  # a Monday
_BEGIN_UTC = BEGIN.astimezone(UTC)
_MORNING = time(9, 0)


class WorldTime:
    """True time: the loop's, plus the nights that were jumped over (timers do not run during a night)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jumped = timedelta(0)

    def seconds(self) -> float:
        """Return seconds since the story began, nights left out."""
        return self._loop.time()

    def now(self) -> datetime:
        """Return the true instant, UTC."""
        return _BEGIN_UTC + self._jumped + timedelta(seconds=self._loop.time())

    def wall_ms(self) -> int:
        """Return the true instant in milliseconds since 1970, as the bank counts."""
        return int(self.now().timestamp() * 1000)

    def to_next_morning(self) -> None:
        """Jump to nine o'clock of the next day at the bank."""
        now = self.now().astimezone(BANK_ZONE)
        morning = datetime.combine(now.date() + timedelta(days=1), _MORNING, BANK_ZONE)
        self._jumped += morning - now


class ServiceClock:
    """The clock of one process: true time, wrong by `skew`. Implements `kernel.clock.Clock`."""

    def __init__(self, world: WorldTime) -> None:
        self._world = world
        self.skew = timedelta(0)

    def now(self) -> datetime:
        return self._world.now() + self.skew

    def today(self) -> date:
        return self.now().astimezone(BANK_ZONE).date()

    def steady_s(self) -> float:
        return (self._world.now() - _BEGIN_UTC).total_seconds()
