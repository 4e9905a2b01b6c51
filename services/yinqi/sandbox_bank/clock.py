"""The bank's two clocks: real time for signatures, business time for its book."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

CHINA = dt.timezone(dt.timedelta(hours=8), "UTC+8")
DAY_MS = 86_400_000

WallClock = Callable[[], int]


def system_wall_ms() -> int:
    """Real time in milliseconds since 1970; the only place where the sandbox bank asks the machine."""
    return time.time_ns() // 1_000_000


def china_time(at_ms: int) -> dt.datetime:
    """The bank's local time of an instant."""
    return dt.datetime.fromtimestamp(at_ms / 1000, CHINA)


def china_date(at_ms: int) -> dt.date:
    """The bank's local date of an instant."""
    return china_time(at_ms).date()


def start_of_day_ms(day: dt.date) -> int:
    """First instant of a local day."""
    return int(dt.datetime.combine(day, dt.time(), CHINA).timestamp()) * 1000


class BusinessClock:
    """Real time plus an offset that only grows, or a frozen instant. Its state is kept in the book by the caller."""

    def __init__(self, wall_ms: WallClock, offset_ms: int = 0, frozen_at_ms: int | None = None) -> None:
        self.wall_ms = wall_ms
        self.offset_ms = offset_ms
        self.frozen_at_ms = frozen_at_ms

    def now_ms(self) -> int:
        """Business time in milliseconds since 1970."""
        return self.wall_ms() + self.offset_ms if self.frozen_at_ms is None else self.frozen_at_ms

    def advance(self, by_ms: int) -> None:
        """Move business time forward; it never goes back because booked days are closed."""
        if by_ms < 0:
            raise ValueError("the business clock only moves forward")
        if self.frozen_at_ms is None:
            self.offset_ms += by_ms
        else:
            self.frozen_at_ms += by_ms

    def freeze(self) -> None:
        """Stop business time at this instant."""
        self.frozen_at_ms = self.now_ms()

    def unfreeze(self) -> None:
        """Let business time run again from where it stands."""
        if self.frozen_at_ms is not None:
            self.offset_ms = self.frozen_at_ms - self.wall_ms()
            self.frozen_at_ms = None
