"""The five paths a crash can meet, as a killed process runs them: `prepare` makes work, `act` is the path itself.

Whatever a process has answered it says at once, as one line of JSON; that is what must be found again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from tests.evidence.crash.bank import ACKNOWLEDGE, TAKE_NOTICES
from tests.evidence.crash.house import House, order, until

from yinqi.api.account.v1 import account_pb2
from yinqi.api.common.v1 import money_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.api.payment.v1 import payment_service_pb2 as api
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2
from yinqi.kernel.clock import SystemClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.kernel.money import Money
from yinqi.payment.status import FINAL
from yinqi.reconciliation.main import record_bookings, record_entries
from yinqi.reconciliation.model import DayBalances
from yinqi.reconciliation.servicer import ReconciliationServicer
from yinqi.runtime.database import Database
from yinqi.runtime.feed import Follower
from yinqi.runtime.identity import Principal, set_current_principal
from yinqi.runtime.telemetry import Telemetry

Say = Callable[..., None]
"""say(kind, *facts): tells the parent, in one write."""
BATCH = 4
_FINALS = frozenset(str(status) for status in FINAL)
_EXECUTED_S = 0.025
_PATIENCE_S = 60.0
_ACCOUNT, _FIRST_DAY, _EVENTS_A_DAY, _STEP = "755915678910001", date(2026, 11, 2), 40, 5
_OPENING = 10**9


class Path_(Protocol):
    """One path of one life."""

    async def start(self) -> None:
        """Do what the service does first: recover."""

    async def prepare(self, name: str) -> None:
        """Make work for `act`; `name` is new for each call and process."""

    async def act(self, name: str) -> None:
        """Walk the path once and say what was answered."""

    def close(self) -> None:
        """Close the stores."""


class _Payments:
    """What the four paths of payments share."""

    _sends = True

    def __init__(self, folder: Path, say: Say) -> None:
        self.house = House(folder, sends=self._sends)
        self.say = say
        self.ids: dict[str, str] = {}

    async def start(self) -> None:
        await self.house.worker.recover_after_start()

    async def prepare(self, name: str) -> None:
        """Nothing to make."""

    def close(self) -> None:
        self.house.close()

    async def initiate(self, keys: Sequence[str]) -> None:
        request = api.InitiatePaymentsRequest(instructions=[order(key, 100 + len(key)) for key in keys])
        response = await self.house.servicer.InitiatePayments(request, None)
        for outcome in response.outcomes:
            self.ids[outcome.end_to_end_id] = outcome.instruction_id
            self.say("accepted", outcome.end_to_end_id, outcome.instruction_id)

    async def send(self, name: str) -> list[str]:
        """Accept, screen and submit three payments; return their keys."""
        keys = [f"{name}-{n}" for n in range(3)]
        await self.initiate(keys)
        await self.house.worker.screen()
        return keys

    async def submit(self) -> None:
        await self.house.worker.submit()
        await self.house.settle_calls()

    async def tell_statuses(self, keys: Sequence[str]) -> bool:
        """Say each payment's status as a caller is told it; return whether all are final."""
        statuses = []
        for key in keys:
            response = await self.house.servicer.GetPayment(api.GetPaymentRequest(end_to_end_id=key), None)
            status = payment_pb2.PaymentStatus.Name(response.payment.status).removeprefix("PAYMENT_STATUS_")
            self.say("status", key, status)
            statuses.append(status)
        return all(status in _FINALS for status in statuses)


class Accept(_Payments):
    """Callers' batches and single payments, and a repeat of what they are not sure of."""

    _sends = False

    async def act(self, name: str) -> None:
        batch = [f"{name}-b{n}of{BATCH}" for n in range(BATCH)]
        await asyncio.gather(self.initiate(batch), self._initiate_one(f"{name}-1"), self._initiate_one(f"{name}-2"))
        await self.initiate([*batch[:1], f"{name}-1"])

    async def _initiate_one(self, key: str) -> None:
        response = await self.house.servicer.InitiatePayment(
            api.InitiatePaymentRequest(instruction=order(key, 100 + len(key))), None
        )
        self.say("accepted", key, response.outcome.instruction_id)


class Send(_Payments):
    """Claim, claim at the gateway, one message to the bank, its answer."""

    async def prepare(self, name: str) -> None:
        self.keys = await self.send(name)

    async def act(self, name: str) -> None:
        await self.submit()
        await self.tell_statuses(self.keys)


class Reply(_Payments):
    """The bank calls: its notice is recorded, acknowledged, followed, and moves the payment."""

    async def start(self) -> None:
        await super().start()
        self.following = asyncio.create_task(self.house.notices.run(asyncio.Event()))

    async def prepare(self, name: str) -> None:
        self.keys = await self.send(name)
        await self.submit()
        await asyncio.sleep(_EXECUTED_S)

    async def act(self, name: str) -> None:
        end_at = asyncio.get_running_loop().time() + _PATIENCE_S
        while asyncio.get_running_loop().time() < end_at:
            await self._take_notices()
            if await self.tell_statuses(self.keys):
                return
            await asyncio.sleep(0.01)
        self.say("stuck", *self.keys)

    async def _take_notices(self) -> None:
        for number, form in json.loads(await self.house.line.ask(TAKE_NOTICES)):
            if not await self.house.taker.take(self.house.bank, form.encode()):
                self.say("notice", number)
                await self.house.line.ask(ACKNOWLEDGE, number.encode())


class Query(_Payments):
    """What is open is asked for, and the answer moves the payment."""

    async def prepare(self, name: str) -> None:
        self.keys = await self.send(name)
        await self.submit()
        await asyncio.sleep(_EXECUTED_S)

    async def act(self, name: str) -> None:
        end_at = asyncio.get_running_loop().time() + _PATIENCE_S
        while asyncio.get_running_loop().time() < end_at:
            await self.house.worker.query()
            await self.house.settle_calls()
            if await self.tell_statuses(self.keys):
                return
            await asyncio.sleep(0.01)
        self.say("stuck", *self.keys)


class Finish(_Payments):
    """Not a path: drive everything to its end, as the worker's loops do."""

    async def act(self, name: str) -> None:
        worker, end_at = self.house.worker, asyncio.get_running_loop().time() + _PATIENCE_S
        while asyncio.get_running_loop().time() < end_at:
            for step in (worker.screen, worker.submit, worker.query, worker.recover):
                while await step():
                    pass
            await self.house.settle_calls()
            counts = (await self.house.servicer.CountPayments(api.CountPaymentsRequest(), None)).counts
            statuses = [payment_pb2.PaymentStatus.Name(count.status) for count in counts if count.count]
            if all(status.removeprefix("PAYMENT_STATUS_") in _FINALS for status in statuses):
                return
            await asyncio.sleep(0.01)
        self.say("stuck", *statuses)


class Reconcile:
    """Bookings and entries are followed, a day is reconciled."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.say = say
        self.database = Database.open(f"sqlite:///{folder}/reconciliation.db")
        self.target, self.changed = 0, asyncio.Event()
        self.booked = Follower("payment", self.database, self._booked, lambda e: e.sequence, record_bookings)
        self.stated = Follower("account", self.database, self._stated, lambda e: e.sequence, record_entries)
        clock = SystemClock()
        self.servicer = ReconciliationServicer(self.database, self, clock, TimeOrderedIds(clock), Telemetry.off())
        set_current_principal(Principal("accountant", all_roles=True))

    async def start(self) -> None:
        self.tasks = [asyncio.create_task(one.run(asyncio.Event())) for one in (self.booked, self.stated)]

    async def prepare(self, name: str) -> None:
        """The sisters' feeds are all the work there is."""

    async def act(self, name: str) -> None:
        await asyncio.sleep(0.002)  # both followers have read their cursors
        self.target = (min(self.booked.cursor, self.stated.cursor) // _STEP + 1) * _STEP
        self.changed.set()
        await until(lambda: min(self.booked.cursor, self.stated.cursor) >= self.target)
        day = day_of(self.target)
        request = reconciliation_service_pb2.ReconcileDayRequest(account=_ACCOUNT, date=day.isoformat())
        run = (await self.servicer.ReconcileDay(request, None)).reconciliation  # type: ignore[arg-type]
        self.say("run", run.run_id, run.booking_count, run.entry_count, run.match_count, run.break_count)

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.database.close()

    async def day_balances(self, account: str, on: date) -> DayBalances:
        """Implement `AccountPort` with what the events up to the target come to."""
        its = [n for n in range(1, self.target + 1) if day_of(n) == on]
        booked, entered = -sum(map(amount_of, its)), -sum(map(amount_of, its))
        opening = Money("CNY", _OPENING)
        return DayBalances(
            bank=Money("CNY", _OPENING + entered),
            book=Money("CNY", _OPENING + booked),
            bank_opening=opening,
            book_opening=opening,
        )

    async def _booked(self, after: int) -> AsyncIterator[Sequence[payment_pb2.PaymentEvent]]:
        async for numbers in self._numbers(after):
            yield [settled(n) for n in numbers]

    async def _stated(self, after: int) -> AsyncIterator[Sequence[account_pb2.StatementEntry]]:
        async for numbers in self._numbers(after):
            yield [stated(n) for n in numbers]

    async def _numbers(self, after: int) -> AsyncIterator[range]:
        while True:
            if after < self.target:
                yield range(after + 1, self.target + 1)
                after = self.target
            self.changed.clear()
            if after >= self.target:
                await self.changed.wait()


def day_of(number: int) -> date:
    """Return the booking date of the n-th event of either feed."""
    return _FIRST_DAY + timedelta(days=(number - 1) // _EVENTS_A_DAY)


def amount_of(number: int) -> int:
    """Return the minor units of the n-th event."""
    return 1_000 + number


def is_break(number: int) -> bool:
    """Whether the n-th booking and the n-th entry do not belong together."""
    return number % 10 == 7


def settled(number: int) -> payment_pb2.PaymentEvent:
    """Return the n-th event of the payment feed."""
    instruction = order(f"E{number}", amount_of(number))
    payment = payment_pb2.Payment(
        instruction_id=f"PI{number}",
        status=payment_pb2.PAYMENT_STATUS_SETTLED,
        settlement_date=day_of(number).isoformat(),
        instruction=instruction,
    )
    return payment_pb2.PaymentEvent(
        sequence=number,
        type="payment.settled",
        from_status=payment_pb2.PAYMENT_STATUS_PROCESSING,
        to_status=payment_pb2.PAYMENT_STATUS_SETTLED,
        payment=payment,
    )


def stated(number: int) -> account_pb2.StatementEntry:
    """Return the n-th entry of the account feed."""
    return account_pb2.StatementEntry(
        sequence=number,
        account=_ACCOUNT,
        account_servicer_reference=f"S{number}",
        instruction_id="" if is_break(number) else f"PI{number}",
        amount=money_pb2.Money(currency="CNY", minor_units=amount_of(number)),
        credit_debit_indicator=account_pb2.CREDIT_DEBIT_INDICATOR_DBIT,
        booking_date=day_of(number).isoformat(),
        remittance_information="货款",
        counterparty_account="other" if is_break(number) else "",
        recorded_at=Timestamp(seconds=1),
    )


PATHS: dict[str, Callable[[Path, Say], Path_]] = {
    "accept": Accept,
    "send": Send,
    "reply": Reply,
    "query": Query,
    "reconcile": Reconcile,
}
