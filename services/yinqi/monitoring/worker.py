"""Loops of the monitoring service: overdue answers, delivery of alerts, the feeds' effects."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from yinqi.api.account.v1 import account_pb2
from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.api.reconciliation.v1 import reconciliation_pb2
from yinqi.kernel.clock import Clock, epoch_ns
from yinqi.kernel.ids import IdSource
from yinqi.monitoring import mapping, use_cases
from yinqi.monitoring.model import Alert, PendingDelivery
from yinqi.monitoring.ports import Channel
from yinqi.monitoring.repository import SqlStore
from yinqi.runtime import attributes
from yinqi.runtime.database import Database
from yinqi.runtime.telemetry import Telemetry

_log = structlog.get_logger(__name__)


class FeedEffects:
    """What batches of the sister services' feeds do here; each runs in the transaction that stores the cursor."""

    def __init__(self, clock: Clock, ids: IdSource) -> None:
        self._clock = clock
        self._ids = ids

    def payments(self, connection: Connection, events: Sequence[payment_pb2.PaymentEvent]) -> None:
        changes = mapping.payment_changes_from(events)
        use_cases.take_payment_changes(changes, SqlStore(connection), self._ids, self._clock.now())

    def reconciliations(self, connection: Connection, events: Sequence[reconciliation_pb2.ReconciliationEvent]) -> None:
        changes = mapping.reconciliation_changes_from(events)
        use_cases.take_reconciliation_changes(changes, SqlStore(connection), self._ids, self._clock.now())

    def entries(self, connection: Connection, messages: Sequence[account_pb2.StatementEntry]) -> None:
        use_cases.take_entries(mapping.entries_from(messages), SqlStore(connection), self._ids, self._clock.now())

    def notices(self, connection: Connection, messages: Sequence[gateway_pb2.NoticeEvent]) -> None:
        use_cases.take_notices(mapping.notices_from(messages), SqlStore(connection), self._ids, self._clock.now())


class OverdueWatch:
    """Raises alerts for payments that have been UNKNOWN for too long."""

    def __init__(self, database: Database, clock: Clock, ids: IdSource, limit: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._limit = limit

    async def run_once(self) -> int:
        """Look once; return how many alerts were due."""
        now = self._clock.now()
        return await self._database.run(
            lambda connection: use_cases.raise_unknown_too_long(SqlStore(connection), self._ids, now, self._limit)
        )

    async def prune(self) -> None:
        """Forget what nobody looks at any more."""
        now = self._clock.now()
        await self._database.run(lambda connection: use_cases.prune_activity(SqlStore(connection), now))


class DeliveryWorker:
    """Carries alerts to the channels, at least once each, in threads of its own.

    The attempt is committed before anything is sent; a crash in the middle is repaired when the lease ends.
    """

    def __init__(
        self,
        database: Database,
        channels: Sequence[Channel],
        clock: Clock,
        telemetry: Telemetry,
        *,
        batch_max: int,
        threads: int,
        lease: timedelta,
        retry_max: timedelta,
    ) -> None:
        self._database = database
        self._channels = channels
        self._clock = clock
        self._telemetry = telemetry
        self._batch_max = batch_max
        self._lease = lease
        self._retry_max = retry_max
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="alert-delivery")

    async def run_once(self) -> int:
        """Deliver one batch of due alerts; return how many were claimed."""
        now = self._clock.now()
        claimed = await self._database.run(
            lambda connection: use_cases.claim_deliveries(
                SqlStore(connection).alerts, now, self._lease, self._batch_max, self._channels
            )
        )
        if claimed:
            confirmed = await self._deliver(claimed)
            outcomes = [(delivery, frozenset(confirmed[delivery.alert.alert_id])) for delivery in claimed]
            ended_at = self._clock.now()
            await self._database.run(
                lambda connection: use_cases.record_deliveries(
                    outcomes, self._channels, SqlStore(connection).alerts, ended_at, self._retry_max
                )
            )
        return len(claimed)

    async def _deliver(self, claimed: Sequence[PendingDelivery]) -> Mapping[str, set[str]]:
        """Send to every channel what it lacks, one message per rule; return the keys that confirmed, by alert_id."""
        start_ns = epoch_ns()
        messages = use_cases.group_messages(claimed, self._channels)
        sent = await asyncio.gather(*(self._in_thread(channel, alerts) for channel, alerts in messages))
        confirmed: dict[str, set[str]] = defaultdict(set)
        tried: Counter[str] = Counter()
        for (channel, alerts), was_confirmed in zip(messages, sent, strict=True):
            tried.update(alert.alert_id for alert in alerts)
            if was_confirmed:
                for alert in alerts:
                    confirmed[alert.alert_id].add(channel.key)
        for delivery in claimed:
            alert_id = delivery.alert.alert_id
            self._tell_story(delivery, len(confirmed[alert_id]), tried[alert_id], start_ns)
        return confirmed

    async def _in_thread(self, channel: Channel, alerts: Sequence[Alert]) -> bool:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, channel.send, alerts)
        except Exception as error:  # noqa: BLE001 (a channel's failure is an attempt that failed; it is logged and tried again)
            _log.warning("alert channel failed", channel=channel.key, error=type(error).__name__)
            return False

    def _tell_story(self, delivery: PendingDelivery, confirmed: int, tried: int, start_ns: int) -> None:
        alert = delivery.alert
        if confirmed < tried:
            _log.warning(
                "alert not delivered everywhere, will be tried again",
                alert_id=alert.alert_id,
                attempt=alert.delivery_attempts,
                missing=tried - confirmed,
            )
        if alert.traceparent:
            self._telemetry.emit_span(
                "monitoring.deliver_alert",
                parent_traceparent=alert.traceparent,
                start_ns=start_ns,
                attributes={
                    attributes.ALERT_ID: alert.alert_id,
                    attributes.RULE: alert.rule,
                    attributes.ATTEMPT: alert.delivery_attempts,
                },
                error="" if confirmed == tried else f"{tried - confirmed} of {tried} channels did not confirm",
            )

    def close(self) -> None:
        """Wait for the sends under way; their outcome was not recorded, so they are repeated later."""
        self._threads.shutdown(wait=True, cancel_futures=True)
