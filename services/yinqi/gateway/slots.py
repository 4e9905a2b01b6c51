"""Whose turn it is at a bank's door. A pure rule over the rows that all replicas share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Slot:
    """A call that waits for its turn or has it.

    Attributes:
        position: order of arrival, of all replicas. company: for whom; turns go round the companies.
        holder: the process. leased_until: a row that its process does not renew by then counts for nothing.
    """

    ticket_id: str
    position: int
    company: str
    holder: str
    is_taken: bool
    leased_until: datetime


def split(slots: Iterable[Slot], now: datetime) -> tuple[list[Slot], list[Slot]]:
    """Return (those that live, those whose process has not renewed them)."""
    living: list[Slot] = []
    dead: list[Slot] = []
    for slot in slots:
        (living if slot.leased_until > now else dead).append(slot)
    return living, dead


def next_turns(living: Sequence[Slot], slots_max: int) -> list[Slot]:
    """Return the waiting calls that may begin now: each time the company with the fewest, then the oldest.

    Never more than `slots_max` together with those that have begun.
    """
    taken = [slot for slot in living if slot.is_taken]
    running = Counter(slot.company for slot in taken)
    waiting = sorted((slot for slot in living if not slot.is_taken), key=lambda slot: slot.position)
    turns: list[Slot] = []
    for _ in range(min(slots_max - len(taken), len(waiting))):
        chosen = min(waiting, key=lambda slot: (running[slot.company], slot.position))
        waiting.remove(chosen)
        running[chosen.company] += 1
        turns.append(chosen)
    return turns
