"""What the loops do when time, replicas or the store do not play along."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from fakes import FakeGateway, until
from payment_builders import NOW, PACING, instruction_message, new_payment
from running import run_house

from yinqi.kernel.clock import FixedClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.payment import use_cases
from yinqi.payment.model import Screening, StatusReport, Submission
from yinqi.payment.repository import SqlPaymentStore
from yinqi.payment.status import PaymentStatus
from yinqi.payment.worker import PaymentWorker, WorkerLimits
from yinqi.runtime.database import Database
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry


class SlowMachine(FixedClock):
    """A clock on which every look takes some seconds, as on a machine that stalls."""

    def __init__(self, instant: datetime, stall_s: float) -> None:
        super().__init__(instant)
        self._stall = timedelta(seconds=stall_s)

    def now(self) -> datetime:
        self.advance(self._stall)
        return super().now()


class RecordingGateway:
    """Takes note of what it should send."""

    def __init__(self) -> None:
        self.submitted: list[Submission] = []

    async def is_reachable(self) -> bool:
        return True

    async def submit(self, submissions: Sequence[Submission]) -> list[StatusReport]:
        self.submitted += submissions
        return []

    async def query(self, payments: Any) -> list[StatusReport]:
        return []

    async def list_returns(
        self, debtor_accounts: Sequence[str], from_date: Any, to_date: Any
    ) -> tuple[list[StatusReport], list[str]]:
        return [], []


async def submit_once(database: Database, stall_s: float) -> tuple[RecordingGateway, PaymentWorker]:
    def prepare(connection: Any) -> None:
        store = SqlPaymentStore(connection)
        use_cases.initiate_payments([new_payment()], store, ids=TimeOrderedIds(FixedClock(NOW)), now=NOW)
        (payment,) = use_cases.claim_for_screening(store, now=NOW, limit=1, pacing=PACING)
        use_cases.record_screenings([Screening(payment.instruction_id, True)], store, now=NOW, actor="test")

    await database.run(prepare)
    gateway = RecordingGateway()
    worker = PaymentWorker(
        database,
        screener=None,  # type: ignore[arg-type]
        gateway=gateway,
        clock=SlowMachine(NOW, stall_s),
        telemetry=Telemetry.off(),
        pacing=PACING,  # a lease of 20 s
        limits=WorkerLimits(bank_timeout_s=10.0),
    )
    assert await worker.submit()
    while worker._sending:
        await asyncio.wait(set(worker._sending))
    return gateway, worker


async def test_a_claim_in_time_is_sent(payment_database: Database):
    gateway, _ = await submit_once(payment_database, stall_s=4)
    assert len(gateway.submitted) == 1


async def test_a_claim_that_grew_old_is_not_sent_but_queried(payment_database: Database):
    """The call could outlive the lease; by then the payment may have been found absent and sent again."""
    gateway, worker = await submit_once(payment_database, stall_s=11)
    assert gateway.submitted == []
    await worker.recover()
    found = await payment_database.read(lambda c: SqlPaymentStore(c).get(end_to_end_id="INV-1"))
    assert found is not None
    assert (found.status, found.reason_code) == (PaymentStatus.UNKNOWN, "NO_ANSWER")


async def test_an_idle_worker_writes_nothing(payment_database: Database):
    gateway = RecordingGateway()
    commits: list[int] = []
    payment_database.on_commit(lambda: commits.append(1))
    worker = PaymentWorker(
        payment_database,
        screener=None,  # type: ignore[arg-type]
        gateway=gateway,
        clock=FixedClock(NOW),
        telemetry=Telemetry.off(),
        pacing=PACING,
        limits=WorkerLimits(),
    )
    for action in (worker.screen, worker.submit, worker.query, worker.recover, worker.look_for_returns):
        assert not await action()
    assert commits == []


async def test_two_replicas_share_the_work_and_pay_each_payment_once(postgresql_url: str, settings: Settings):
    gateway = FakeGateway()

    async def slowly(_account: str) -> None:
        await asyncio.sleep(0.01)

    gateway.before_answer = slowly
    async with (
        run_house(postgresql_url, settings, gateway=gateway, payment_batch_max=10) as one,
        run_house(postgresql_url, settings, gateway=gateway, payment_batch_max=10) as other,
    ):
        messages = [instruction_message(f"R-{n}", debtor_account__identification=f"1000{n % 5}") for n in range(300)]
        half = len(messages) // 2
        # The same lines through both at once: each is recorded once, by whichever replica.
        await asyncio.gather(one.initiate(*messages[:half]), other.initiate(*messages), one.initiate(*messages[half:]))
        await until(lambda: len(gateway.paid) == 300, "all payments", 30)
        await asyncio.gather(*(one.reaches(message.end_to_end_id, "SETTLED") for message in messages[::20]))
    assert set(gateway.paid.values()) == {1}
    assert set(gateway.submitted.values()) == {1}
