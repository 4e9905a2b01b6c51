"""When a bank was asked, counted from the last send by a clock that does not jump."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from yinqi.gateway.model import Attempt, SendState
from yinqi.kernel.clock import Clock

_KEPT_MAX = 20_000
_Key = tuple[str, int, datetime | None]


class SinceSent:
    """Knows how long ago attempts ended, whatever was done to the wall clock meanwhile.

    A wall clock that is set forward between a send and a question would end the bank's safe window at once, and an order that
    is still on its way would pass for one that never counted. So the window must be over on the steady clock too. What an
    earlier process or another replica sent counts from the moment this process first met it, which is never earlier.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._met_s: dict[_Key, float] = {}

    def ended(self, keys: Iterable[tuple[str, int]], at: datetime) -> None:
        """Note attempts (payment, number) that just ended, at the instant that the registry will have."""
        for instruction_id, attempt in keys:
            self._meet((instruction_id, attempt, at))

    def asked_at(
        self, attempts: Sequence[Attempt], at: datetime, safe_window: timedelta, last_byte_after: timedelta
    ) -> datetime:
        """Return when a question that leaves now was asked, as the safe window counts it.

        Args:
            attempts: of the payment, on record.
            at: what the wall clock says.
            last_byte_after: how long after its record a message may still have left, for attempts without an end.
        """
        earliest = at
        for one in attempts:
            if one.state is SendState.NOT_SENT:
                continue
            since = timedelta(seconds=self._meet((one.instruction_id, one.attempt, one.ended_at)))
            if since < safe_window + (last_byte_after if one.ended_at is None else timedelta(0)):
                earliest = min(earliest, (one.ended_at or one.claimed_at) + since)
        return earliest

    def _meet(self, key: _Key) -> float:
        """Return the seconds since this process first met an attempt as it stands."""
        now_s = self._clock.steady_s()
        if key not in self._met_s and len(self._met_s) >= _KEPT_MAX:
            del self._met_s[next(iter(self._met_s))]  # met anew, it only waits longer
        return now_s - self._met_s.setdefault(key, now_s)
