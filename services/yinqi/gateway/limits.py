"""How many calls a bank takes at a time, per class, held across replicas; the rest waits, and not without end.

Every call has a row in the gateway's database: waiting, then taken. Rows are leased: a process that dies stops renewing
them, and its turns come free. Whoever gives a slot back hands out the next turns in the same transaction; the others
look for theirs every `poll_s`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog

from yinqi.gateway.profile import Concurrency
from yinqi.gateway.repository import SqlSlots
from yinqi.gateway.slots import Slot, next_turns, split
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import Overloaded, YinqiError
from yinqi.kernel.ids import IdSource
from yinqi.runtime.database import Database
from yinqi.runtime.worker import pause

T = TypeVar("T")
CLASSES = ("submit", "payroll", "query", "statement", "other")
_log = structlog.get_logger(__name__)


class Limits:
    """The slots of one profile, shared with all replicas on the same database.

    Args:
        holder: this process; another one must have another name.
        lease: how long a process may be silent before its slots are others'.
        poll_s: how often a waiting call looks whether its turn has come.
    """

    def __init__(
        self,
        profile_name: str,
        concurrency: Concurrency,
        database: Database,
        clock: Clock,
        ids: IdSource,
        *,
        holder: str,
        lease: timedelta = timedelta(seconds=15),
        poll_s: float = 0.05,
    ) -> None:
        self._profile_name = profile_name
        self._concurrency = concurrency
        self._database = database
        self._clock = clock
        self._ids = ids
        self._holder = holder
        self._lease = lease
        self._poll_s = poll_s
        self._tickets: dict[str, Ticket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._reserved = asyncio.Event()

    async def reserve(self, call_class: str, companies: Sequence[str]) -> list[Ticket]:
        """Return a ticket per company named; each must be used or given back.

        Raises:
            Overloaded: so many cannot wait. Nothing was reserved.
            Unavailable: the store is away. Nothing was reserved.
        """
        ticket_ids = self._ids.new_ids("SL", len(companies))
        wanted = list(zip(ticket_ids, companies, strict=True))

        def enqueue(slots: SqlSlots) -> frozenset[str]:
            last = slots.lock(self._profile_name, call_class, len(wanted))
            living = self._living(slots, call_class)
            free = self._slots_max(call_class) + self._concurrency.waiting_max - len(living)
            if len(wanted) > free:
                raise self._full(call_class)
            return self._hand_out(slots, call_class, living, self._queued(wanted, last))

        tickets = [Ticket(self, call_class, ticket_id, company) for ticket_id, company in wanted]
        try:
            turns = await self._run(enqueue)
        except BaseException:
            for ticket in tickets:
                ticket.give_back()  # The rows may be committed all the same.
            raise
        self._tickets |= {ticket.ticket_id: ticket for ticket in tickets}
        self._admit(turns)
        self._keep()
        return tickets

    async def close(self) -> None:
        """Give back everything; call it when no call is on its way any more."""
        for ticket in list(self._tickets.values()):
            ticket.give_back()
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    def _slots_max(self, call_class: str) -> int:
        return int(getattr(self._concurrency, call_class))

    def _full(self, call_class: str) -> Overloaded:
        return Overloaded(
            "BANK_QUEUE_FULL",
            f"Too many calls wait for bank {self._profile_name} ({call_class}); try again in a few seconds.",
            "等待该银行的请求过多，请稍后重试。",
            metadata={"bank_profile": self._profile_name, "call_class": call_class},
        )

    def _leased_until(self) -> datetime:
        return self._clock.now() + self._lease

    async def _run(self, action: Callable[[SqlSlots], T]) -> T:
        return await self._database.run(lambda connection: action(SqlSlots(connection)))

    def _living(self, slots: SqlSlots, call_class: str) -> list[Slot]:
        """Return the rows of a class that the caller has locked, without those of dead processes."""
        living, dead = split(slots.find(self._profile_name, call_class), self._clock.now())
        slots.remove([slot.ticket_id for slot in dead])
        return living

    def _queued(self, wanted: Sequence[tuple[str, str]], last: int) -> list[Slot]:
        """Return new rows of this process, by ticket and company; the last of them has the position `last`."""
        until, first = self._leased_until(), last - len(wanted) + 1
        return [
            Slot(ticket_id, position, _short(company), self._holder, False, until)
            for position, (ticket_id, company) in enumerate(wanted, first)
        ]

    def _hand_out(
        self, slots: SqlSlots, call_class: str, living: Sequence[Slot], queued: Sequence[Slot] = ()
    ) -> frozenset[str]:
        """Add `queued`, give the next turns; return this process's tickets among all that have theirs."""
        everybody = (*living, *queued)
        turns = {slot.ticket_id for slot in next_turns(everybody, self._slots_max(call_class))}
        slots.add(self._profile_name, call_class, [replace(one, is_taken=one.ticket_id in turns) for one in queued])
        slots.take([slot.ticket_id for slot in living if slot.ticket_id in turns])
        ours = (slot for slot in everybody if slot.holder == self._holder)
        return frozenset(slot.ticket_id for slot in ours if slot.is_taken or slot.ticket_id in turns)

    def _admit(self, ticket_ids: frozenset[str]) -> None:
        for ticket_id in ticket_ids:
            if (ticket := self._tickets.get(ticket_id)) is not None:
                ticket._turn.set()

    def _release(self, ticket: Ticket) -> None:
        self._tickets.pop(ticket.ticket_id, None)

        def release(slots: SqlSlots) -> frozenset[str]:
            slots.lock(self._profile_name, ticket.call_class)
            slots.remove([ticket.ticket_id])
            return self._hand_out(slots, ticket.call_class, self._living(slots, ticket.call_class))

        async def in_background() -> None:
            try:
                self._admit(await self._run(release))
            except YinqiError as error:  # The lease frees it.
                _log.warning("a bank's slot could not be given back; its lease will end", reason=error.reason)

        self._start(in_background())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _keep(self) -> None:
        self._reserved.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.get_running_loop().create_task(self._keep_tickets())

    async def _keep_tickets(self) -> None:
        """Renew leases and look for turns for as long as there are tickets."""
        loop, renew_s = asyncio.get_running_loop(), self._lease.total_seconds() / 3
        renewed_at = loop.time()
        while self._tickets:
            waits = any(not ticket._turn.is_set() for ticket in self._tickets.values())
            if waits:
                await asyncio.sleep(self._poll_s)
            else:
                self._reserved.clear()  # a call that has to wait must not wait for the end of our rest as well
                await pause(min(renew_s, 1.0), self._reserved)
            try:
                if loop.time() - renewed_at >= renew_s:
                    renewed_at = loop.time()
                    await self._renew()
                await self._look()
            except YinqiError as error:
                _log.warning("slots of a bank could not be looked at", reason=error.reason)
                await asyncio.sleep(renew_s / 4)

    async def _renew(self) -> None:
        until, ticket_ids = self._leased_until(), list(self._tickets)
        await self._run(lambda slots: slots.renew(ticket_ids, until))

    async def _look(self) -> None:
        """Take turns that others gave us; give out those that dead processes left."""
        for call_class in CLASSES:
            if self._waiting(call_class):
                await self._look_at(call_class)

    async def _look_at(self, call_class: str) -> None:
        rows = await self._database.read(lambda connection: SqlSlots(connection).find(self._profile_name, call_class))
        self._admit(frozenset(row.ticket_id for row in rows if row.is_taken and row.holder == self._holder))
        living, _ = split(rows, self._clock.now())
        is_lost = self._waiting(call_class).keys() - {row.ticket_id for row in living}
        if is_lost or next_turns(living, self._slots_max(call_class)):
            self._admit(await self._run(lambda slots: self._queue_again(slots, call_class)))

    def _waiting(self, call_class: str) -> dict[str, Ticket]:
        its = (one for one in self._tickets.values() if one.call_class == call_class and not one._turn.is_set())
        return {ticket.ticket_id: ticket for ticket in its}

    def _queue_again(self, slots: SqlSlots, call_class: str) -> frozenset[str]:
        """Hand out turns; a waiting call whose row is gone (this process was held up for a lease) queues again."""
        slots.lock(self._profile_name, call_class)
        living = self._living(slots, call_class)
        known = {slot.ticket_id for slot in living}
        waiting = self._waiting(call_class).values()
        lost = [(one.ticket_id, one.company) for one in waiting if one.ticket_id not in known]
        last = slots.lock(self._profile_name, call_class, len(lost)) if lost else 0
        return self._hand_out(slots, call_class, living, self._queued(lost, last))


class Ticket:
    """A place in the queue, then a slot."""

    __slots__ = ("_is_over", "_is_taken", "_limits", "_turn", "call_class", "company", "ticket_id")

    def __init__(self, limits: Limits, call_class: str, ticket_id: str, company: str) -> None:
        self.call_class = call_class
        self.ticket_id = ticket_id
        self.company = company
        self._limits = limits
        self._turn = asyncio.Event()
        self._is_taken = False
        self._is_over = False

    async def take(self) -> None:
        """Wait for the slot; a caller that is cancelled (its deadline passed) leaves the queue."""
        try:
            await self._turn.wait()
        except BaseException:
            self.give_back()
            raise
        if self._is_over:
            raise asyncio.CancelledError
        self._is_taken = True

    def abandon(self) -> None:
        """Give the place back if the slot was never taken (the call was cancelled before it began)."""
        if not self._is_taken:
            self.give_back()

    def give_back(self) -> None:
        """Free the slot or the place, soon; later calls do nothing."""
        if not self._is_over:
            self._is_over = True
            self._limits._release(self)


async def run_all(calls: Sequence[Coroutine[Any, Any, T]], tickets: Sequence[Ticket] = ()) -> list[T]:
    """Run calls side by side to their ends and return their results; then raise the first error, if any.

    Args:
        tickets: of these calls; places of calls that never began are given back.
    """
    try:
        results = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        for ticket in tickets:
            ticket.abandon()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _short(company: str) -> str:
    """Names are nobody's business in a table of turns."""
    return hashlib.sha256(company.encode("utf-8")).hexdigest()[:16]
