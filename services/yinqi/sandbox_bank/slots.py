"""How many calls run at a time, and where the bank stops taking more (contract §7)."""

from __future__ import annotations

import threading

from yinqi.sandbox_bank.functions import SUBMITS


class Slots:
    """Counts running calls by kind; the transport takes one when a call begins and gives it back when it has ended."""

    def __init__(self, submits_max: int, queries_max: int) -> None:
        self._max = {"submit": submits_max, "query": queries_max}
        self._running = {"submit": 0, "query": 0}
        self._lock = threading.Lock()

    def take(self, function: str) -> bool:
        """Count a call; False when its kind is full, and then nothing is counted."""
        kind = _kind(function)
        with self._lock:
            if self._running[kind] >= self._max[kind]:
                return False
            self._running[kind] += 1
        return True

    def give_back(self, function: str) -> None:
        """A call that was taken has ended."""
        with self._lock:
            self._running[_kind(function)] -= 1


def _kind(function: str) -> str:
    return "submit" if function in SUBMITS else "query"
