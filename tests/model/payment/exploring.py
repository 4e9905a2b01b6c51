"""Walks every state that one payment can reach, and says what is wrong with one, with the way that leads there."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from tests.model.payment.one_payment import BACK, BOOKED, REFUSED, Explorer, Step, Stored, World

from yinqi.payment.model import BankWord, StatusReport
from yinqi.payment.status import BEFORE_RELEASE, IN_FLIGHT, PaymentStatus

S, W = PaymentStatus, BankWord
# The fields of a world before what may still go wrong.
_CORE = World._fields.index("faults")
# Final statuses and the words that do not fit them.
_CONTRADICTS = {
    S.SETTLED: {W.REJECTED},
    S.RETURNED: {W.REJECTED},
    S.REJECTED: {W.SETTLED, W.RETURNED},
    S.CANCELLED: {W.PROCESSING, W.SETTLED, W.REJECTED, W.RETURNED},
}
# The steps that may take a payment out of SUBMITTING or UNKNOWN: the bank's word, a permit, an end of waiting, people.
_WAYS_OUT = ("record", "hear late", "resend", "recover", "people")


class Violation(Exception):
    """A state that must not be reachable; the message tells the way to it."""


@dataclass(frozen=True, slots=True)
class Explored:
    """How much there was to see: states apart from how many faults are left, the steps out of them, and how they end."""

    states: int
    steps: int
    final: int
    in_queue: int


class _Map:
    """The states found so far, each with the way to it, and the ways back that need no fault.

    A state met again with no more faults and crashes left than before can do nothing new and is not walked again.
    """

    def __init__(self, beginning: World) -> None:
        self.worlds = [beginning]
        self.came_from = [(-1, "")]
        self.ways_back: list[list[int]] = [[]]
        self._best: dict[tuple[Any, ...], list[int]] = {beginning[:_CORE]: [0]}

    def find(self, world: World, number: int, name: str) -> tuple[int, bool]:
        """Return the number of the state that can do all this one can, and whether it is this very one, new."""
        known = self._best.setdefault(world[:_CORE], [])
        for other in known:
            its = self.worlds[other]
            if its.faults >= world.faults and its.crashes >= world.crashes:
                return other, False
        known.append(len(self.worlds))
        self.worlds.append(world)
        self.came_from.append((number, name))
        self.ways_back.append([])
        return len(self.worlds) - 1, True

    @property
    def states(self) -> int:
        return len(self._best)


def explore(explorer: Explorer, beginning: World, states_max: int = 2_000_000) -> Explored:
    """Visit every reachable state, those with fewer faults first, and check each; then that each can come to an end.

    Raises:
        Violation: with the way to the first state that is wrong.
    """
    found = _Map(beginning)
    budget = beginning.faults + beginning.crashes
    waiting: list[deque[int]] = [deque() for _ in range(budget + 1)]  # by faults and crashes spent
    waiting[0].append(0)
    steps = 0
    for queue in waiting:
        while queue:
            number = queue.popleft()
            world = found.worlds[number]
            for step in explorer.steps(world):
                steps += 1
                after = step.world
                known, is_new = found.find(after, number, step.name)
                spent = budget - after.faults - after.crashes
                if spent == budget - world.faults - world.crashes:
                    found.ways_back[known].append(number)
                if is_new:
                    waiting[spent].append(known)
                problem = _wrong_step(explorer, world, step) or (is_new and _wrong_state(explorer, after))
                if problem:
                    raise Violation(_story(explorer, found, number, step, problem))
            if found.states > states_max:
                raise Violation(f"more than {states_max} states: the model is not bounded")
    _check_all_can_end(explorer, found)
    kinds = {world[:_CORE]: explorer.stored(world) for world in found.worlds}.values()
    return Explored(
        found.states, steps, sum(kind.payment.is_final for kind in kinds), sum(kind.is_in_queue for kind in kinds)
    )


def _wrong_state(explorer: Explorer, world: World) -> str:
    """The invariants of a state."""
    stored = explorer.stored(world)
    status = stored.payment.status
    if world.debits > 1:
        return "the money left twice"
    if not stored.payment.is_final and not stored.has_an_owner:
        return "it is not final, and nobody will act"
    if stored.payment.submission_attempts == 0 and status in IN_FLIGHT:
        return "in flight without an attempt"
    if status is S.CANCELLED and (world.bank or explorer.will_leave(world)):
        return "cancelled, and yet it leaves"
    if status in BEFORE_RELEASE and (world.may_have_left or explorer.will_leave(world)):
        return "it may be released anew, and it may have left before"
    if world.is_fickle or stored.payment.contradiction:
        return ""
    if status in (S.SETTLED, S.RETURNED) and not any(what in (BOOKED, BACK) for _, what in world.bank):
        return "settled in our books, not at the bank"
    if status is S.REJECTED and (world.debits or explorer.will_leave(world)):
        return "refused in our books, and the money leaves"
    if status is S.REJECTED and not any(what == REFUSED for _, what in world.bank) and stored.doubt is None:
        return "refused, and neither bank nor people said so"
    return ""


def _wrong_step(explorer: Explorer, world: World, step: Step) -> str:
    """The invariants of a move."""
    before, after = explorer.stored(world), explorer.stored(step.world)
    was, is_ = before.payment.status, after.payment.status
    if was in (S.SUBMITTING, S.UNKNOWN) and was is not is_ and not step.name.startswith(_WAYS_OUT):
        return f"{was} was left by `{step.name}`"
    if step.heard is not None and was is not is_ and before.payment.is_final and (was, is_) != (S.SETTLED, S.RETURNED):
        return f"{step.heard.word} overwrites {was}"
    if step.name == "recover" and is_ is not S.UNKNOWN:
        return f"a crash made {is_} of {was}"
    if step.heard is not None and _is_silent(before, step.heard, after):
        return f"the bank says {step.heard.word} of what is {was}, and nobody is told"
    return ""


def _is_silent(before: Stored, heard: StatusReport, after: Stored) -> bool:
    status = before.payment.status
    if heard.word not in _CONTRADICTS.get(status, ()) or after.payment.status is not status:
        return False
    is_outdated = 0 < heard.attempt < before.payment.submission_attempts and heard.word is W.REJECTED
    return not is_outdated and not (after.payment.contradiction and after.doubt is not None)


def _check_all_can_end(explorer: Explorer, found: _Map) -> None:
    """From every state an end (final, or people) can be reached, and nothing more has to go wrong for it."""
    ending = {number for number, world in enumerate(found.worlds) if explorer.stored(world).is_done}
    waiting = deque(ending)
    while waiting:
        for before in found.ways_back[waiting.popleft()]:
            if before not in ending:
                ending.add(before)
                waiting.append(before)
    for number, world in enumerate(found.worlds):
        if number not in ending:
            raise Violation(_story(explorer, found, number, Step("…", world), "it can never come to an end"))


def _story(explorer: Explorer, found: _Map, number: int, last: Step, problem: str) -> str:
    names = [last.name]
    while number > 0:
        number, name = found.came_from[number]
        names.append(name)
    now = last.world
    status = explorer.stored(now).payment.status
    return f"{problem}: {' → '.join(reversed(names))} ⇒ {status}, bank {now.bank}, network {now.network}"
