"""Builds and connects the account service."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable

from yinqi.account import evidence, use_cases
from yinqi.account.clients import GatewayClient, PaymentFeed
from yinqi.account.repository import SqlBooks, read_entries_after
from yinqi.account.servicer import AccountServicer
from yinqi.account.settings import AccountSettings
from yinqi.account.tables import metadata
from yinqi.account.worker import AccountRefresher, PaymentBooker, StatementFetcher
from yinqi.api.account.v1 import account_service_pb2_grpc
from yinqi.kernel.clock import Clock, SystemClock
from yinqi.runtime.database import Database
from yinqi.runtime.evidence import evidence_rpcs
from yinqi.runtime.feed import Feed
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.grpc_server import run_with_settings, serve
from yinqi.runtime.journal.sealer import JournalSealer, open_sealer
from yinqi.runtime.migrations import check_revision, migrate
from yinqi.runtime.sealing import start_sealing
from yinqi.runtime.telemetry import Telemetry, configure_telemetry
from yinqi.runtime.worker import every

SERVICE = "account"


async def main(
    settings: AccountSettings,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    telemetry: Telemetry | None = None,
    on_started: Callable[[int], None] | None = None,
) -> None:
    """Serve until `stop` is set.

    Args:
        on_started: told the port once the service answers.
    Raises:
        PortInUse, DatabaseTooNew, DatabaseTooOld, Unavailable: why the service does not start, in words.
        LedgerUnbalanced: the books do not hold; nothing may be built on them.
    """
    url = settings.database_url_of(SERVICE)
    (migrate if settings.migrate_at_start else check_revision)(url, SERVICE)
    telemetry = telemetry or configure_telemetry(SERVICE, settings)
    database = Database.open(url, writers=settings.database_writers, telemetry=telemetry, queue_max=settings.queue_max)
    try:
        await database.read(lambda connection: use_cases.check_ledger(SqlBooks(connection)))
        clock = clock or SystemClock()
        start_sealing(
            database,
            settings.sealing_keys_of(SERVICE),
            settings=settings,
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        sealer = await open_sealer(SERVICE, database, metadata, settings, clock)
        await _serve(settings, stop, database, sealer, clock, telemetry, on_started or (lambda _: None))
        await sealer.finish()
    finally:
        database.close()
        telemetry.shutdown()


async def _serve(
    settings: AccountSettings,
    stop: asyncio.Event,
    database: Database,
    sealer: JournalSealer,
    clock: Clock,
    telemetry: Telemetry,
    on_started: Callable[[int], None],
) -> None:
    async with (
        open_channel(
            settings.address_of("gateway"), service_name=SERVICE, settings=settings, telemetry=telemetry
        ) as gateway_channel,
        open_channel(
            settings.address_of("payment"), service_name=SERVICE, settings=settings, telemetry=telemetry
        ) as payment_channel,
    ):
        bank = GatewayClient(gateway_channel)
        booker = PaymentBooker(database, PaymentFeed(payment_channel), clock, telemetry)
        refresher = AccountRefresher(database, bank, clock, settings)
        fetcher = StatementFetcher(database, bank, clock, telemetry, settings)
        servicer = AccountServicer(
            database,
            Feed(database, read_entries_after, lambda recorded: recorded.sequence),
            refresher,
            fetcher,
            clock,
            telemetry,
            feed_batch_max=settings.account_feed_batch_max,
        )
        add = account_service_pb2_grpc.add_AccountServiceServicer_to_server
        async with asyncio.TaskGroup() as tasks:
            loops = [
                booker.run(stop),
                sealer.run(stop),
                every(settings.account_balance_interval_s, refresher.run_once, stop=stop, name="account-balances"),
                every(settings.account_statement_interval_s, fetcher.run_once, stop=stop, name="account-statements"),
            ]
            running = [tasks.create_task(loop) for loop in loops]
            try:
                await serve(
                    SERVICE,
                    settings.listen_address(SERVICE),
                    [(add, servicer), evidence_rpcs(SERVICE, database, sealer, evidence.collect, clock)],
                    settings=settings,
                    telemetry=telemetry,
                    stop=stop,
                    on_started=lambda server: on_started(server.port),
                )
            finally:
                # A call to a bank may take longer than we have; what it brings is asked for again at the next start.
                for task in running:
                    task.cancel()


def run() -> int:
    """Run the service as this process; return its exit code."""
    return run_with_settings(SERVICE, AccountSettings, main)


if __name__ == "__main__":
    sys.exit(run())
