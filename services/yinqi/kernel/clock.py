"""Where time comes from: the only place that reads the machine's clock."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Protocol

# Chinese banks book by Beijing time whatever the machine's zone is.
BANK_ZONE = timezone(timedelta(hours=8), "Asia/Shanghai")


class Clock(Protocol):
    """Tells the time; passed in wherever time matters so that a run can be repeated."""

    def now(self) -> datetime:
        """Return the current instant, time zone UTC."""
        ...

    def today(self) -> date:
        """Return the current banking date (Asia/Shanghai)."""
        ...

    def steady_s(self) -> float:
        """Return seconds on a clock that nobody sets, so that it never jumps; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 (its one home)

    def today(self) -> date:
        return self.now().astimezone(BANK_ZONE).date()

    def steady_s(self) -> float:
        return time.monotonic()


class FixedClock:
    """A clock that stands still until it is moved; for tests and simulation."""

    def __init__(self, instant: datetime) -> None:
        if instant.tzinfo is None:
            raise ValueError("instant needs a time zone")
        self._instant = instant.astimezone(UTC)
        self._steady = timedelta(0)

    def now(self) -> datetime:
        return self._instant

    def today(self) -> date:
        return self._instant.astimezone(BANK_ZONE).date()

    def steady_s(self) -> float:
        return self._steady.total_seconds()

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._instant += by
        self._steady += by

    def jump(self, by: timedelta) -> None:
        """Set the clock forward or back; no time passes."""
        self._instant += by


def epoch_ns() -> int:
    """Return nanoseconds since 1970, for span start and end times (OpenTelemetry counts so)."""
    return time.time_ns()
