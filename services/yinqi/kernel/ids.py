"""Where identifiers come from: the only place that draws randomness for them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

from yinqi.kernel.clock import Clock

RandomBytes = Callable[[int], bytes]

# A bank's reference field is 30 characters or more (CMB yurRef ≤ 30); ours stay below it.
INSTRUCTION_ID_LENGTH = 26


class IdSource(Protocol):
    """Makes new identifiers."""

    def new_ids(self, prefix: str, count: int) -> list[str]:
        """Return `count` unique ids of INSTRUCTION_ID_LENGTH characters, ascending with time to the millisecond."""
        ...


class TimeOrderedIds:
    """`<prefix:2><12 hex digits of milliseconds><12 hex digits of randomness>`: 26 characters, upper case."""

    def __init__(self, clock: Clock, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        self._clock = clock
        self._random_bytes = random_bytes

    def new_ids(self, prefix: str, count: int) -> list[str]:
        if len(prefix) != 2:
            raise ValueError("prefix must have two characters")
        head = f"{prefix}{int(self._clock.now().timestamp() * 1000):012X}"
        randomness = self._random_bytes(6 * count).hex().upper()
        return [head + randomness[i : i + 12] for i in range(0, 12 * count, 12)]
