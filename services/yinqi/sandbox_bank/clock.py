"""The bank's two clocks: real time for signatures, business time for its book."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable

CHINA = dt.timezone(dt.timedelta(hours=8), "UTC+8")
DAY_MS = 86_400_000
RATE_MAX = 100_000

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
    """Business time: a straight line through (wall, business) with a slope; slope 0 is frozen, 60 a minute a second.

    Its state (`line`) is kept in the book by the caller.
    """

    def __init__(self, wall_ms: WallClock, line: tuple[int, int, float] | None = None) -> None:
        self.wall_ms = wall_ms
        self.line = line or (0, 0, 1.0)

    @property
    def rate(self) -> float:
        """Business milliseconds per real one."""
        return self.line[2]

    def now_ms(self) -> int:
        """Business time in milliseconds since 1970."""
        wall, business, rate = self.line
        # A rate of one is exact; floats would lose milliseconds over decades.
        return business + (self.wall_ms() - wall if rate == 1 else int((self.wall_ms() - wall) * rate))

    def wall_ms_until(self, at_ms: int) -> int | None:
        """Real milliseconds until a business instant; 0 when it is past, None when it never comes."""
        left = at_ms - self.now_ms()
        if left <= 0:
            return 0
        return math.ceil(left / self.rate) if self.rate else None

    def advance(self, by_ms: int) -> None:
        """Jump forward; business time never goes back because booked days are closed."""
        if by_ms < 0:
            raise ValueError("the business clock only moves forward")
        wall, business, rate = self.line
        self.line = (wall, business + by_ms, rate)

    def run(self, rate: float) -> None:
        """Let business time run at this rate from where it stands; 0 freezes it."""
        if not 0 <= rate <= RATE_MAX:
            raise ValueError(f"rate must be from 0 to {RATE_MAX}")
        self.line = (self.wall_ms(), self.now_ms(), rate)
