"""Runs a story: starts the house, lets things happen at their times, looks after each, ends in peace, and judges."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Any, cast

import grpc
import structlog

from yinqi.api.account.v1 import account_service_pb2, account_service_pb2_grpc
from yinqi.api.gateway.v1 import gateway_service_pb2_grpc, stop_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2, reconciliation_service_pb2_grpc
from yinqi.gateway.profile import Profiles
from yinqi.kernel.clock import BANK_ZONE
from yinqi.runtime.errors import error_reason
from yinqi.sandbox_bank.config import Account as BankAccount
from yinqi.simulation import checks
from yinqi.simulation.bank import BankSide, NoticePost, open_bank, raw_book
from yinqi.simulation.checks import HeldScope, Notebook, Picture, Violation
from yinqi.simulation.clock import BEGIN, WorldTime
from yinqi.simulation.house import (
    Process,
    Surroundings,
    accounts_of_the_company,
    alive,
    build_house,
    demo_profile,
    narrow_profile,
)
from yinqi.simulation.loop import NothingLeft, Owner, VirtualLoop, spawn
from yinqi.simulation.network import MessageFault, Network
from yinqi.simulation.store import DiskFault
from yinqi.simulation.story import Order, Step, Story

_CRITICAL = 50  # what the services log about their troubles is not the story
_TRIES_MAX = 6
_RECONCILE_EVERY = 4  # stories; fetching all statements and reconciling them costs a third of one
_NOTICES_EVERY = 2  # stories: in the others the bank must be asked
_SKEW_LASTS_S = 25.0
_LOOK_S = 5.0
_PEACE_S = 900.0  # by then everything must have come to its end
_CALL_S = 20.0
_PULLER, _LIFTERS = "li.si", ("li.si", "wang.wu")  # who stops may be one of the two who lift
_FATES: dict[str, dict[str, Any]] = {
    "return": {"return": {"after_days": 1}},
    "refuse": {"refuse": {"at": "receipt"}},
    "late_reject": {"late_reject": {"after_seconds": 9.0}},
    "suspicious": {"suspicious": {"after_seconds": 25.0, "then": "S", "debited": "before"}},
    "suspicious_failed": {"suspicious": {"after_seconds": 25.0, "then": "F"}},
    "slow": {"delay": {"milliseconds": 30000}},
}

_NOTICE_FAULTS: list[dict[str, Any]] = [
    {"when": {"chance": 0.1}, "lose_notice": True},
    {"when": {"chance": 0.15}, "delay_notice": {"milliseconds": 20000}, "times": 100},
    {"when": {"chance": 0.1}, "swap_notice": True, "times": 100},
    {"when": {"chance": 0.1}, "duplicate_notice": {"copies": 1}, "times": 100},
    {"when": {"chance": 0.1}, "forge_notice": {"how": "wrong_key"}, "times": 100},
    {"when": {"chance": 0.1}, "replay_notice": {"back": 2}, "times": 100},
]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the story as it happened."""

    at_s: float
    actor: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a story.

    Attributes:
        violation: what broke first; None if nothing did.
        at_s: when that was seen, or when the story ended.
        digest: of all that became durable: journal, ledger, the bank's book.
        tally: how often what happened: faults that struck, acts of operators, words of the bank.
        lines: how it went, if that was wanted.
    """

    story: Story
    violation: Violation | None
    at_s: float
    digest: str
    payments: int
    tally: Counter[str] = field(default_factory=Counter)
    lines: list[Line] = field(default_factory=list)


def run_story(story: Story, *, is_told: bool = False) -> Outcome:
    """Run a story to its end or to the first violation; the same story always gives the same outcome."""
    logging = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_CRITICAL))
    try:
        return _run(story, is_told=is_told)
    finally:
        structlog.configure(**logging)


def _run(story: Story, *, is_told: bool) -> Outcome:
    loop = VirtualLoop()
    world = World(story, loop, is_told=is_told)
    try:
        return loop.run_until_complete(world.run())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        world.end()
        loop.close()


class World:
    """Everything there is in one story."""

    def __init__(self, story: Story, loop: VirtualLoop, *, is_told: bool) -> None:
        self._story = story
        self._loop = loop
        self._is_told = is_told
        self._lines: list[Line] = []
        self._told = 0
        self._checked = (0, 0)
        self._last_picture: tuple[tuple[int, int], Picture] | None = None
        self.time = WorldTime(loop)
        self.notebook = Notebook()
        accounts = [
            BankAccount(name, "CNY", "银企示例制造有限公司", 10_000_000_00) for name in accounts_of_the_company()
        ]
        rules = [
            {"name": order.end_to_end_id, "when": {"amount": _decimal(order.minor_units)}, **_FATES[order.fate]}
            for order in story.orders
            if order.fate
        ]
        self._sends_notices = story.seed % _NOTICES_EVERY == 0
        if self._sends_notices:
            rules += _NOTICE_FAULTS
        self.bank = open_bank(accounts, self.time, rules, sends_notices=self._sends_notices)
        self._book = raw_book(self.bank)
        self.tally: Counter[str] = Counter()
        self._network = Network(str(story.seed), self._tell, self.tally)
        self._side = BankSide(self.bank, self._look_at_submission)
        # Where people stop payments, some must be waiting for their turn.
        profile = narrow_profile() if story.has_stops else demo_profile()
        world = Surroundings(story.seed, self.time, self._network, self._side, profile)
        self._house: dict[str, Process] = build_house(world)
        self._people = Owner("people")
        self._bank_people = Owner("bank")
        self._payments = payment_service_pb2_grpc.PaymentServiceStub(
            cast("Any", self._network.channel("erp", "payment"))
        )

    async def run(self) -> Outcome:
        """Run the story."""
        violation = await self._judged()
        picture = self._picture()
        self._count(picture)
        payments = len(picture.payments)
        return Outcome(self._story, violation, self.time.seconds(), self._digest(), payments, self.tally, self._lines)

    def _count(self, picture: Picture) -> None:
        """Add what became of the payments to the tally."""
        for event in picture.events:
            if event.reason == "RESEND_PERMIT":
                self.tally["payment: sent again under a permit"] += 1
            elif event.reason == "STOPPED":
                self.tally["payment: held by a stop"] += 1
            elif event.type in ("payment.unknown", "payment.not_sent", "payment.returned", "payment.contradicted"):
                self.tally[event.type.replace(".", ": ").replace("_", " ")] += 1
            elif event.type == "payment.rejected" and event.from_status == "PROCESSING":
                self.tally["payment: rejected after it was accepted"] += 1

    def end(self) -> None:
        """End all processes for good: what is left of them must not reach into the next story."""
        for owner in (self._people, self._bank_people, *(process.owner for process in self._house.values())):
            if owner is not None:
                owner.kill()

    async def _judged(self) -> Violation | None:
        try:
            for process in self._house.values():
                process.start()
            if self._sends_notices:
                spawn(self._bank_people, NoticePost(self._side, self._network.link("bank>gateway"), self._tell).run())
            for step in self._story.steps:
                await asyncio.sleep(max(0.0, step.at_s - self.time.seconds()))
                if violation := self._check():
                    return violation
                self._apply(step)
            return await self._end_in_peace()
        except NothingLeft as error:
            return Violation("something always goes on", str(error))

    # --- steps ---

    def _apply(self, step: Step) -> None:
        if step.verb not in ("message", "commit"):  # these are counted when they strike
            self.tally[f"step: {step.verb.replace('_', ' ')}"] += 1
        getattr(self, f"_do_{step.verb}")(step)

    def _do_pay(self, step: Step) -> None:
        names = ", ".join(f"{o.end_to_end_id} {_decimal(o.minor_units)}{_bracketed(o.fate)}" for o in step.orders)
        self._tell("operator", "orders {}{}", "a batch: " if step.is_batch else "", names)
        self._let(self._pay(step.orders, is_batch=step.is_batch))

    def _do_repeat(self, step: Step) -> None:
        self._tell("operator", "sends {} again, same key, same content", step.orders[0].end_to_end_id)
        self._let(self._pay(step.orders, is_batch=False))

    def _do_alter(self, step: Step) -> None:
        if step.orders[0].end_to_end_id in self.notebook.accepted:
            self._tell("operator", "sends {} again with another amount", step.orders[0].end_to_end_id)
            self._let(self._alter(step.orders[0]))

    def _do_cancel(self, step: Step) -> None:
        self._tell("operator", "cancels {}", step.orders[0].end_to_end_id)
        self._let(self._cancel(step.orders[0]))

    def _do_crash(self, step: Step) -> None:
        self._house[step.target].crash(f"kill -9, away for {step.seconds:g} s", step.seconds)

    def _do_commit(self, step: Step) -> None:
        self._tell("disk", "the next commit of {} meets: {}", step.target, DiskFault[step.kind])
        self._house[step.target].disk.faults.append(DiskFault[step.kind])

    def _do_message(self, step: Step) -> None:
        self._network.link(step.target).faults.append(MessageFault(step.kind, step.seconds))

    def _do_cut(self, step: Step) -> None:
        self._tell("network", "{} is cut for {:.1f} s", step.target, step.seconds)
        link = self._network.link(step.target)
        link.cut_until = max(link.cut_until, self.time.seconds() + step.seconds)

    def _do_close_bank(self, step: Step) -> None:
        self._tell("bank", "takes no connections for {:.1f} s", step.seconds)
        self._side.closed_until = self.time.seconds() + step.seconds

    def _do_blind(self, step: Step) -> None:
        self._tell("bank", "takes the right to query away for {:.1f} s", step.seconds)
        self.bank.grant("query", granted=False)
        self._loop.call_later(step.seconds, partial(self.bank.grant, "query", granted=True))

    def _do_skew(self, step: Step) -> None:
        self._tell("clock", "{} is {:+g} s wrong for {:g} s", step.target, step.seconds, _SKEW_LASTS_S)
        self._house[step.target].clock.skew = timedelta(seconds=step.seconds)
        self._loop.call_later(_SKEW_LASTS_S, self._set_right, step.target)

    def _set_right(self, name: str) -> None:
        self._house[name].clock.skew = timedelta(0)

    def _do_night(self, _step: Step) -> None:
        self._fall_asleep()

    def _fall_asleep(self) -> None:
        self._tell("night", "falls; next comes nine o'clock of the next day")
        self.time.to_next_morning()
        self._side.tick()

    # --- operators ---

    def _let(self, work: Coroutine[Any, Any, None]) -> None:
        spawn(self._people, work)

    async def _pay(self, orders: tuple[Order, ...], *, is_batch: bool) -> None:
        """Order, and repeat with the same keys until there is an answer."""
        messages = [_instruction(order) for order in orders]
        for _ in range(_TRIES_MAX):
            try:
                if is_batch:
                    request = payment_service_pb2.InitiatePaymentsRequest(instructions=messages)
                    response = await self._payments.InitiatePayments(request, timeout=_CALL_S)
                    outcomes = list(response.outcomes)
                else:
                    single = payment_service_pb2.InitiatePaymentRequest(instruction=messages[0])
                    outcomes = [(await self._payments.InitiatePayment(single, timeout=_CALL_S)).outcome]
            except grpc.aio.AioRpcError as error:
                self._tell("operator", "hears {} and asks again", error.code().name)
                await asyncio.sleep(5.0)
                continue
            for order, outcome in zip(orders, outcomes, strict=True):
                self._note_acceptance(order, outcome)
            return

    def _note_acceptance(self, order: Order, outcome: Any) -> None:
        first = self.notebook.accepted.setdefault(order.end_to_end_id, outcome.instruction_id)
        if not outcome.instruction_id or first != outcome.instruction_id:
            text = f"{order.end_to_end_id} was answered with {first!r}, then with {outcome.instruction_id!r}"
            self._broken("one key, one effect, one answer", text)

    async def _alter(self, order: Order) -> None:
        message = _instruction(order)
        message.instructed_amount.minor_units += 1
        request = payment_service_pb2.InitiatePaymentRequest(instruction=message)
        try:
            await self._payments.InitiatePayment(request, timeout=_CALL_S)
            text = f"{order.end_to_end_id} was accepted with another amount"
            self._broken("one key, one effect, one answer", text)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.ALREADY_EXISTS, *_AWAY):
                self._broken("one key, one effect, one answer", f"another amount was answered {error.code().name}")

    async def _cancel(self, order: Order) -> None:
        request = payment_service_pb2.CancelPaymentRequest(end_to_end_id=order.end_to_end_id, reason="not needed")
        try:
            await self._payments.CancelPayment(request, timeout=_CALL_S)
            self.notebook.cancelled.add(order.end_to_end_id)
            self._tell("operator", "hears that {} is cancelled", order.end_to_end_id)
        except grpc.aio.AioRpcError as error:
            self._tell("operator", "hears {}", error_reason(error).reason or error.code().name)

    # --- stops ---

    def _do_pull(self, step: Step) -> None:
        self._tell(_PULLER, "stops {}", step.target)
        self._let(self._pull(step.target))

    async def _pull(self, target: str) -> None:
        scope, accounts = self._scope(target)
        request = stop_pb2.PullStopRequest(scope=scope, reason="suspected")
        response = await self._patiently(_PULLER, lambda stub: stub.PullStop(request, timeout=_CALL_S))
        if response is not None:
            self.notebook.stops.setdefault(response.stop.stop_id, HeldScope(accounts, self.time.seconds()))
            self._tell(_PULLER, "hears that {} is stopped by {}", target, response.stop.stop_id)

    def _do_lift(self, step: Step) -> None:
        _, accounts = self._scope(step.target)
        its = [stop_id for stop_id, stop in self.notebook.stops.items() if stop.accounts == accounts]
        people = _LIFTERS[:1] if step.kind == "alone" else _LIFTERS
        self._tell("operator", "{} would lift {}", " and ".join(people), ", ".join(its) or "nothing")
        self._let(self._lift(its, people))

    async def _lift(self, stop_ids: Sequence[str], people: Sequence[str]) -> None:
        """Let people say one after another that stops may be lifted: one alone lifts nothing."""
        for stop_id in stop_ids:
            request = stop_pb2.LiftStopRequest(stop_id=stop_id, reason="cleared")
            if len(people) > 1 and stop_id in self.notebook.stops:
                stop = self.notebook.stops[stop_id]
                stop.until_s = min(stop.until_s, self.time.seconds())
            for person in people:
                await self._patiently(person, lambda stub, its=request: stub.LiftStop(its, timeout=_CALL_S))  # type: ignore[misc]

    async def _end_stops(self) -> None:
        """Lift whatever is stopped, once nobody pulls or lifts any more."""
        others = set(self._people.tasks) - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)
        for stop in self.notebook.stops.values():
            stop.until_s = min(stop.until_s, self.time.seconds())
        request = stop_pb2.ListStopsRequest()
        response = await self._patiently(_PULLER, lambda stub: stub.ListStops(request, timeout=_CALL_S))
        if response is not None:
            await self._lift([stop.stop_id for stop in response.stops], _LIFTERS)

    async def _patiently(self, person: str, call: Callable[[Any], Awaitable[Any]]) -> Any:
        """Say something of a stop to the gateway, again until it answers; None if it never does."""
        stub = gateway_service_pb2_grpc.GatewayServiceStub(cast("Any", self._network.channel(person, "gateway")))
        for _ in range(_TRIES_MAX):
            try:
                return await call(stub)
            except grpc.aio.AioRpcError as error:
                self._tell(person, "hears {} and says it again", error.code().name)
                await asyncio.sleep(5.0)
        return None

    def _scope(self, target: str) -> tuple[stop_pb2.StopScope, frozenset[str]]:
        """Return a scope as the gateway knows it, and the accounts it holds."""
        kind, _, index = target.partition(" ")
        accounts = accounts_of_the_company()
        account = accounts[int(index or 0)]
        its = next(one for one in Profiles([demo_profile()]).accounts() if one.identification == account)
        names = {"HOUSE": "", "BANK": its.profile, "COMPANY": its.company, "ACCOUNT": account}
        number = stop_pb2.StopScopeKind.Value(f"STOP_SCOPE_KIND_{kind}")
        held = frozenset([account] if kind == "ACCOUNT" else accounts)
        return stop_pb2.StopScope(kind=number, name=names[kind]), held

    # --- looking ---

    def _look_at_submission(self, references: list[str], left_at_s: float) -> None:
        """Judge a submission at the bank's door: whoever is sent again must not be there already."""
        there = checks.take_bank(self._book)
        for reference in references:
            self.notebook.left[reference] += 1
            self.notebook.left_at_s[reference] = left_at_s
            if reference in there and there[reference].is_live:
                self._broken("no resend of what the bank has", f"{reference} was sent again, and the bank has it")

    def _broken(self, invariant: str, text: str) -> None:
        self.notebook.broken.append(Violation(invariant, text))

    def _changes(self) -> tuple[int, int]:
        return sum(process.disk.commits for process in self._house.values()), self._book.total_changes

    def _picture(self) -> Picture:
        changes, house = self._changes(), self._house
        if self._last_picture is None or self._last_picture[0] != changes:
            picture = checks.take_picture(
                house["payment"].disk,
                house["account"].disk,
                house["reconciliation"].disk,
                self._book,
                self.notebook,
            )
            self._last_picture = (changes, picture)
        return self._last_picture[1]

    def _check(self) -> Violation | None:
        changes = self._changes()
        if changes == self._checked and not self.notebook.broken:
            return None  # Nothing became durable since the last look.
        self._checked = changes
        picture = self._picture()
        self._tell_moves(picture)
        return checks.check(picture)

    # --- the end ---

    async def _end_in_peace(self) -> Violation | None:
        """End all faults, give everything its time, let a night pass, and compare all books."""
        self._tell("world", "all faults end")
        self._network.heal()
        self._side.closed_until = 0.0
        self.bank.grant("query", granted=True)
        for process in self._house.values():
            process.disk.faults.clear()
            process.clock.skew = timedelta(0)
        if self._story.has_stops:
            self._let(self._end_stops())
        violation = await self._until(checks.is_quiet)
        if violation is None:
            self._fall_asleep()
            violation = await self._until(self._are_returns_known)
        has_accountant = self._story.seed % _RECONCILE_EVERY == 0
        if violation is None and has_accountant:
            await self._fetch_statements()
            violation = await self._until(self._is_all_known)
        if violation is None:
            violation = checks.check_end(self._picture())
        if violation is None:
            violation = checks.books_agree(self._picture(), self._book)
        if violation is None and has_accountant:
            violation = await self._reconcile()
        return violation

    async def _until(self, is_done: Callable[[Picture], bool]) -> Violation | None:
        """Wait until it is done, or long enough for everything; return what broke meanwhile."""
        end_at = self.time.seconds() + _PEACE_S
        while self.time.seconds() < end_at:
            await asyncio.sleep(_LOOK_S)
            if violation := self._check():
                return violation
            if alive(self._house.values()) and not self._people.tasks and is_done(self._picture()):
                return None
        return checks.check_end(self._picture())

    async def _fetch_statements(self) -> None:
        """Do what an accountant does in the morning: fetch the statements of the days that are over."""
        stub = account_service_pb2_grpc.AccountServiceStub(cast("Any", self._network.channel("erp", "account")))
        for account in accounts_of_the_company():
            for day in self._days()[:-1]:
                request = account_service_pb2.FetchStatementRequest(account=account, date=day.isoformat())
                try:
                    await stub.FetchStatement(request, timeout=_CALL_S)
                except grpc.aio.AioRpcError as error:
                    self._tell("accountant", "hears {}", error_reason(error).reason or error.code().name)

    def _are_returns_known(self, picture: Picture) -> bool:
        accounts = len(accounts_of_the_company())
        return checks.returns_are_known(picture) and checks.accounts_are_open(picture, accounts)

    def _is_all_known(self, picture: Picture) -> bool:
        return self._are_returns_known(picture) and checks.days_are_read(picture, self._days()[:-1])

    def _days(self) -> list[date]:
        first, last = BEGIN.date(), self.time.now().astimezone(BANK_ZONE).date()
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]

    async def _reconcile(self) -> Violation | None:
        """Reconcile every day that is over: nothing may be left unmatched."""
        stub = reconciliation_service_pb2_grpc.ReconciliationServiceStub(
            cast("Any", self._network.channel("erp", "reconciliation"))
        )
        for account in accounts_of_the_company():
            for day in self._days()[:-1]:
                request = reconciliation_service_pb2.ReconcileDayRequest(account=account, date=day.isoformat())
                response = await stub.ReconcileDay(request, timeout=_CALL_S)
                if breaks := response.reconciliation.breaks:
                    one = breaks[0]
                    text = f"{day} of …{account[-4:]} has {len(breaks)} breaks, the first {one.reason} {one.amount}"
                    return Violation("every day reconciles", text)
        return None

    # --- telling ---

    def _tell(self, actor: str, template: str, *facts: object) -> None:
        if self._is_told:
            self._lines.append(Line(self.time.seconds(), actor, template.format(*facts)))

    def _tell_moves(self, picture: Picture) -> None:
        if not self._is_told:
            return
        for event in picture.events[self._told :]:
            name = (
                picture.payments[event.instruction_id].end_to_end_id
                if event.instruction_id in picture.payments
                else "?"
            )
            reason = _bracketed(event.reason)
            self._tell("payment", "{}: {} → {}{}", name, event.from_status or "·", event.to_status, reason)
        self._told = len(picture.events)

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for connection, query in (
            (self._house["payment"].disk.raw, _JOURNAL),
            (self._house["account"].disk.raw, _LEDGER),
            (self._book, _ENTRIES),
        ):
            for row in connection.execute(query):
                digest.update(repr(tuple(row)).encode())
        return digest.hexdigest()


_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_JOURNAL = """SELECT sequence, occurred_at, instruction_id, type, from_status, to_status, reason_code, actor,
  submission_attempts, settlement_date, return_date FROM payment_events ORDER BY sequence"""
_LEDGER = (
    "SELECT sequence, transaction_id, ledger_account, minor_units, booking_date FROM ledger_postings ORDER BY sequence"
)
_ENTRIES = "SELECT serial, account, booking_date, booked_at, amount, reference FROM entries ORDER BY serial"


def _instruction(order: Order) -> payment_pb2.PaymentInstruction:
    message = payment_pb2.PaymentInstruction(end_to_end_id=order.end_to_end_id, remittance_information="货款")
    message.debtor.name = "银企示例制造有限公司"
    message.debtor_account.identification = accounts_of_the_company()[order.account]
    message.creditor.name = "收款有限公司"
    message.creditor_account.identification = f"62258812345{order.number:05d}"
    message.creditor_agent.clearing_member_id = "102100099996"
    message.instructed_amount.currency = "CNY"
    message.instructed_amount.minor_units = order.minor_units
    return message


def _decimal(minor_units: int) -> str:
    return f"{minor_units // 100}.{minor_units % 100:02d}"


def _bracketed(text: str) -> str:
    return f" ({text})" if text else ""
