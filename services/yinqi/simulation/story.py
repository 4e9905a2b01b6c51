"""A story as data: what operators do and what goes wrong, when. Made from a seed; any part of it may be left out."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from yinqi.simulation.store import DiskFault

STEPS_DEFAULT = 24
PAYMENTS_MAX = 30
# Many short stories find more than few long ones; the long ones find what needs many things at once.
_SIZES, _SIZE_WEIGHTS = (6, 10, 24), (6, 3, 1)
_DAY_MIN_S, _DAY_PER_STEP_S = 20.0, 2.5
_NIGHT_CHANCE = 0.4
_STOPS_CHANCE = 0.06
_JUMPS_CHANCE = 0.04
_SCOPES = ("HOUSE", "BANK", "COMPANY", "ACCOUNT 0", "ACCOUNT 1")
_SERVICES = ("payment", "gateway", "account", "reconciliation", "monitoring")
_CALLS = ("erp>payment", "payment>monitoring", "payment>gateway", "account>gateway")
_STREAMS = ("account>payment", "reconciliation>payment", "reconciliation>account")
_BANK = "gateway>bank"


@dataclass(frozen=True, slots=True)
class Order:
    """One payment as an operator orders it.

    Attributes:
        account: index of the debtor account.
        minor_units: unique in the story, so that the bank's rules can tell payments apart.
        fate: what the bank will do with it: "" (settle), return, refuse, late_reject, suspicious, suspicious_failed, slow.
    """

    number: int
    account: int
    minor_units: int
    fate: str = ""

    @property
    def end_to_end_id(self) -> str:
        """The debtor's key."""
        return f"E2E-{self.number:03d}"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens from outside.

    Attributes:
        at_s: seconds since the story began.
        verb: pay, repeat, alter, cancel, crash, commit, message, cut, close_bank, blind, skew, night; pull and lift a
            stop, whose target is its scope.
    """

    number: int
    at_s: float
    verb: str
    target: str = ""
    kind: str = ""
    seconds: float = 0.0
    orders: tuple[Order, ...] = ()
    is_batch: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """What a seed stands for. `steps` are in the order of time."""

    seed: int
    steps_max: int
    steps: tuple[Step, ...]

    @property
    def has_stops(self) -> bool:
        """Whether somebody stops payments."""
        return any(step.verb == "pull" for step in self.steps)

    def only(self, numbers: Collection[int]) -> Story:
        """Return the story with these steps alone; all that depends on chance stays as it was."""
        return Story(self.seed, self.steps_max, tuple(step for step in self.steps if step.number in numbers))

    @property
    def orders(self) -> list[Order]:
        """All payments ordered for the first time."""
        return [order for step in self.steps if step.verb == "pay" for order in step.orders]


@dataclass(slots=True)
class _Draft:
    chance: random.Random
    steps: list[Step] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)

    def add(self, verb: str, at_s: float, **facts: Any) -> None:
        self.steps.append(Step(0, round(at_s, 3), verb, **facts))


def story_of(seed: int, steps_max: int = STEPS_DEFAULT) -> Story:
    """Return the story of a seed: one or two bank days, up to PAYMENTS_MAX payments, up to `steps_max` steps."""
    draft = _Draft(random.Random(f"story/{seed}"))  # noqa: S311 (chance, not secrecy)
    size = min(steps_max, draft.chance.choices(_SIZES, _SIZE_WEIGHTS)[0])
    day_s = _DAY_MIN_S + _DAY_PER_STEP_S * size
    ends_s = day_s
    if draft.chance.random() < _NIGHT_CHANCE:
        draft.add("night", day_s)
        ends_s = 2 * day_s - 15.0
    _pay(draft, 1.0)
    while len(draft.steps) < size:
        verb = draft.chance.choices(list(_MAKERS), list(_WEIGHTS))[0]
        _MAKERS[verb](draft, draft.chance.uniform(1.0, ends_s))
    ordered = sorted(draft.steps, key=lambda step: (step.at_s, step.verb))
    steps = [_numbered(step, number) for number, step in enumerate(ordered, 1)]
    steps += _stops(seed, draft.orders, len(steps), day_s)
    steps += _jumps(seed, draft.orders, len(steps), day_s)
    return Story(seed, steps_max, tuple(sorted(steps, key=lambda step: (step.at_s, step.number))))


def _stops(seed: int, orders: list[Order], last: int, day_s: float) -> list[Step]:
    """Return what some stories have besides: people stop payments and let them go again.

    Drawn apart from the rest and numbered after it, so that a story is otherwise what it was without them.
    """
    chance = random.Random(f"stops/{seed}")  # noqa: S311 (chance, not secrecy)
    if chance.random() >= _STOPS_CHANCE:
        return []
    draft = _Draft(chance, orders=orders)
    for _ in range(chance.choice((1, 1, 2))):
        at_s, scope = chance.uniform(1.0, day_s), chance.choice(_SCOPES)
        if chance.random() < 0.5:
            # A call hangs at the bank, others wait for their turn, and then somebody pulls.
            kind = chance.choice(("delay", "lose_answer"))
            draft.add("message", at_s - 0.6, target=_BANK, kind=kind, seconds=round(chance.uniform(5.0, 20.0), 1))
            _pay(draft, at_s - 0.5)
            _pay(draft, at_s - 0.4)
        draft.add("pull", at_s + chance.uniform(0.0, 3.0), target=scope)
        _pay(draft, at_s + chance.uniform(3.0, 10.0))
        if chance.random() < 0.3:
            draft.add("lift", at_s + chance.uniform(3.0, 20.0), target=scope, kind="alone")
        draft.add("lift", at_s + chance.uniform(10.0, 50.0), target=scope)
    return [_numbered(step, number) for number, step in enumerate(draft.steps, last + 1)]


def _jumps(seed: int, orders: list[Order], last: int, day_s: float) -> list[Step]:
    """Return what a few stories have besides: an order is slow to arrive, its sender dies, and the clocks jump forward.

    Whoever believes them takes the bank's safe window for over while the order is still on its way.
    """
    chance = random.Random(f"jumps/{seed}")  # noqa: S311 (chance, not secrecy)
    if chance.random() >= _JUMPS_CHANCE:
        return []
    draft = _Draft(chance, orders=orders)
    at_s = chance.uniform(1.0, day_s)
    draft.add("message", at_s, target=_BANK, kind="delay", seconds=round(chance.uniform(15.0, 20.0), 1))
    _pay(draft, at_s + 0.1)
    draft.add("crash", at_s + chance.uniform(0.4, 1.5), target="gateway", seconds=0.2)
    for service in ("payment", "gateway"):
        draft.add("skew", at_s + 2.0, target=service, seconds=300.0)
    _pay(draft, at_s + 21.0)  # faults last until the last step
    return [_numbered(step, number) for number, step in enumerate(draft.steps, last + 1)]


def _numbered(step: Step, number: int) -> Step:
    return Step(number, step.at_s, step.verb, step.target, step.kind, step.seconds, step.orders, step.is_batch)


def _pay(draft: _Draft, at_s: float) -> None:
    free = PAYMENTS_MAX - len(draft.orders)
    count = min(free, draft.chance.choice((1, 1, 2, 2, 3, 5)))
    orders = []
    for _ in range(count):
        number = len(draft.orders) + 1
        fate = draft.chance.choices(
            ("", "return", "refuse", "late_reject", "suspicious", "suspicious_failed", "slow"), (10, 2, 1, 2, 1, 1, 1)
        )[0]
        order = Order(number, draft.chance.randrange(2), 100_000 + 371 * number, fate)
        draft.orders.append(order)
        orders.append(order)
    if orders:
        draft.add("pay", at_s, orders=tuple(orders), is_batch=len(orders) > 1)


def _again(verb: str) -> Callable[[_Draft, float], None]:
    def make(draft: _Draft, at_s: float) -> None:
        if draft.orders:
            draft.add(verb, at_s, orders=(draft.chance.choice(draft.orders),))

    return make


def _crash(draft: _Draft, at_s: float) -> None:
    target = draft.chance.choices(_SERVICES, (5, 4, 3, 1, 1))[0]
    draft.add("crash", at_s, target=target, seconds=round(draft.chance.choice((0.2, 2.0, 20.0, 70.0)), 1))


def _commit(draft: _Draft, at_s: float) -> None:
    target = draft.chance.choices(_SERVICES, (5, 4, 3, 1, 1))[0]
    draft.add("commit", at_s, target=target, kind=draft.chance.choice(list(DiskFault)).name)


def _message(draft: _Draft, at_s: float) -> None:
    link = draft.chance.choices((*_CALLS, *_STREAMS, _BANK), (1, 1, 3, 1, 1, 1, 1, 6))[0]
    kinds = ["lose_request", "lose_answer", "break_answer", "delay", "duplicate"]
    if link == _BANK:
        kinds += ["lose_answer", "forge", "forge"]
    kind = draft.chance.choice(kinds)
    seconds = round(draft.chance.uniform(0.5, 20.0), 1) if kind == "delay" else 0.0
    draft.add("message", at_s, target=link, kind=kind, seconds=seconds)


def _cut(draft: _Draft, at_s: float) -> None:
    link = draft.chance.choice((*_CALLS, *_STREAMS, _BANK))
    draft.add("cut", at_s, target=link, seconds=round(draft.chance.uniform(0.5, 40.0), 1))


def _close_bank(draft: _Draft, at_s: float) -> None:
    draft.add("close_bank", at_s, seconds=round(draft.chance.uniform(1.0, 30.0), 1))


def _second_delivery(draft: _Draft, at_s: float) -> None:
    """A payment is ordered while the bank is away, and what is said about it goes through twice."""
    draft.add("close_bank", at_s, seconds=round(draft.chance.uniform(0.5, 10.0), 1))
    draft.add("message", at_s, target="payment>gateway", kind="duplicate")
    _pay(draft, at_s + 0.1)


def _blind(draft: _Draft, at_s: float) -> None:
    draft.add("blind", at_s, seconds=round(draft.chance.uniform(5.0, 80.0), 1))


def _skew(draft: _Draft, at_s: float) -> None:
    seconds = draft.chance.choice((-7200.0, -300.0, -30.0, 30.0, 300.0))
    draft.add("skew", at_s, target=draft.chance.choice(("payment", "gateway", "account")), seconds=seconds)


_MAKERS: dict[str, Callable[[_Draft, float], None]] = {
    "pay": _pay,
    "repeat": _again("repeat"),
    "alter": _again("alter"),
    "cancel": _again("cancel"),
    "crash": _crash,
    "commit": _commit,
    "message": _message,
    "cut": _cut,
    "close_bank": _close_bank,
    "second_delivery": _second_delivery,
    "blind": _blind,
    "skew": _skew,
}
_WEIGHTS = (16, 3, 3, 4, 7, 12, 40, 4, 2, 3, 4, 2)
