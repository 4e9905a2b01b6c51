"""Builds and connects the monitoring service."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import grpc

from yinqi.api.monitoring.v1 import monitoring_service_pb2_grpc
from yinqi.kernel.clock import Clock, SystemClock
from yinqi.kernel.ids import IdSource, TimeOrderedIds
from yinqi.monitoring import evidence
from yinqi.monitoring.clients import EntryFeed, NoticeFeed, PaymentFeed, ReconciliationFeed
from yinqi.monitoring.delivery import channels_from
from yinqi.monitoring.rules_file import load_rules
from yinqi.monitoring.servicer import MonitoringServicer
from yinqi.monitoring.settings import MonitoringSettings
from yinqi.monitoring.tables import metadata
from yinqi.monitoring.worker import DeliveryWorker, FeedEffects, OverdueWatch
from yinqi.runtime.database import Database
from yinqi.runtime.evidence import evidence_rpcs
from yinqi.runtime.feed import Follower
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.grpc_server import GrpcServer, run_with_settings
from yinqi.runtime.journal.sealer import JournalSealer, open_sealer
from yinqi.runtime.migrations import check_revision, migrate
from yinqi.runtime.telemetry import Telemetry, configure_telemetry
from yinqi.runtime.worker import every

SERVICE = "monitoring"
_PRUNE_INTERVAL_S = 600.0


async def main(
    settings: MonitoringSettings,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    ids: IdSource | None = None,
    on_started: Callable[[int, int], None] | None = None,
) -> None:
    """Serve until `stop` is set.

    Args:
        on_started: told the gRPC port and the console's port (0 without a console) once both serve.
    Raises:
        PortInUse, RulesInvalid, AlertUrlInvalid, DatabaseTooNew …: why the service does not start, in words.
    """
    clock = clock or SystemClock()
    ids = ids or TimeOrderedIds(clock)
    rules = load_rules(settings.screening_rules)
    channels = channels_from(settings.alert_urls)
    url = settings.database_url_of(SERVICE)
    (migrate if settings.migrate_at_start else check_revision)(url, SERVICE)
    telemetry = configure_telemetry(SERVICE, settings)
    database = Database.open(url, writers=settings.database_writers, telemetry=telemetry, queue_max=settings.queue_max)
    delivery = DeliveryWorker(
        database,
        channels,
        clock,
        telemetry,
        batch_max=settings.alert_batch_max,
        threads=settings.alert_threads,
        lease=timedelta(seconds=settings.alert_lease_s),
        retry_max=timedelta(seconds=settings.alert_retry_max_s),
    )
    servicer = MonitoringServicer(database, rules, clock, ids, telemetry)
    add = monitoring_service_pb2_grpc.add_MonitoringServiceServicer_to_server
    try:
        async with AsyncExitStack() as stack:
            sealer = await open_sealer(SERVICE, database, metadata, settings, clock)
            stack.push_async_callback(sealer.finish)
            served = [(add, servicer), evidence_rpcs(SERVICE, database, sealer, evidence.collect, clock)]
            server = GrpcServer(
                SERVICE, settings.listen_address(SERVICE), served, settings=settings, telemetry=telemetry
            )
            followers = await _followers(stack, settings, database, FeedEffects(clock, ids), telemetry)
            open_console = _console_opener(settings)
            await server.start()
            stack.push_async_callback(server.drain)
            console_port = await open_console(stack, server.port, database, clock)
            if on_started is not None:
                on_started(server.port, console_port)
            await _work(
                settings,
                stop,
                followers,
                sealer,
                delivery,
                OverdueWatch(database, clock, ids, timedelta(seconds=settings.unknown_alert_after_s)),
            )
    finally:
        # Each waits for threads; some of those may need this loop to come to an end.
        for close in (delivery.close, database.close, telemetry.shutdown):
            await asyncio.to_thread(close)


async def _followers(
    stack: AsyncExitStack,
    settings: MonitoringSettings,
    database: Database,
    effects: FeedEffects,
    telemetry: Telemetry,
) -> list[Follower[Any]]:
    async def channel(service: str) -> grpc.aio.Channel:
        address = settings.address_of(service)
        return await stack.enter_async_context(
            open_channel(address, service_name=SERVICE, settings=settings, telemetry=telemetry)
        )

    payments = PaymentFeed(await channel("payment"))
    reconciliations = ReconciliationFeed(await channel("reconciliation"))
    entries = EntryFeed(await channel("account"))
    notices = NoticeFeed(await channel("gateway"))

    def sequence_of(event: Any) -> int:
        return int(event.sequence)

    return [
        Follower("payment", database, payments.follow, sequence_of, effects.payments),
        Follower("account", database, entries.follow, sequence_of, effects.entries),
        Follower("gateway", database, notices.follow, sequence_of, effects.notices),
        Follower("reconciliation", database, reconciliations.follow, sequence_of, effects.reconciliations),
    ]


def _console_opener(
    settings: MonitoringSettings,
) -> Callable[[AsyncExitStack, int, Database, Clock], Awaitable[int]]:
    """Return what serves the console and tells its port; 0 if it is not wanted.

    The web framework takes a second to load: before the service says that it serves, and only if it is needed.
    """
    if not settings.console_enabled:

        async def open_none(_stack: AsyncExitStack, _own_port: int, _database: Database, _clock: Clock) -> int:
            return 0

        return open_none
    from yinqi.monitoring.console.server import open_console

    async def open_one(stack: AsyncExitStack, own_port: int, database: Database, clock: Clock) -> int:
        console = await stack.enter_async_context(open_console(settings, own_port, database, clock))
        return console.port

    return open_one


async def _work(
    settings: MonitoringSettings,
    stop: asyncio.Event,
    followers: list[Follower[Any]],
    sealer: JournalSealer,
    delivery: DeliveryWorker,
    overdue: OverdueWatch,
) -> None:
    """Run the loops until `stop` is set."""
    interval_s = settings.poll_interval_ms / 1000
    async with asyncio.TaskGroup() as tasks:
        for follower in followers:
            tasks.create_task(follower.run(stop), name=f"follow-{follower.name}")
        tasks.create_task(sealer.run(stop), name="journal-seals")
        tasks.create_task(every(interval_s, delivery.run_once, stop=stop, name="alert-delivery"))
        tasks.create_task(every(interval_s, overdue.run_once, stop=stop, name="overdue-watch"))
        tasks.create_task(every(_PRUNE_INTERVAL_S, overdue.prune, stop=stop, name="activity-prune"))


def run() -> int:
    """Run the service as this process; return its exit code."""
    return run_with_settings(SERVICE, MonitoringSettings, main)


if __name__ == "__main__":
    sys.exit(run())
