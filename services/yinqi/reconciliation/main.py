"""Builds and connects the reconciliation service."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Sequence

from sqlalchemy import Connection

from yinqi.api.account.v1 import account_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2_grpc
from yinqi.kernel.clock import SystemClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.reconciliation import evidence, mapping
from yinqi.reconciliation.clients import AccountClient, PaymentClient
from yinqi.reconciliation.repository import SqlBookStore
from yinqi.reconciliation.servicer import ReconciliationServicer
from yinqi.reconciliation.tables import metadata
from yinqi.runtime.database import Database
from yinqi.runtime.evidence import evidence_rpcs
from yinqi.runtime.feed import Follower
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.grpc_server import run_with_settings, serve
from yinqi.runtime.journal.sealer import open_sealer
from yinqi.runtime.migrations import check_revision, migrate
from yinqi.runtime.sealing import start_sealing
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import configure_telemetry

SERVICE = "reconciliation"


def record_bookings(connection: Connection, events: Sequence[payment_pb2.PaymentEvent]) -> None:
    """Effect of payment events: settled and returned payments become bookings."""
    SqlBookStore(connection).add_bookings(mapping.bookings_of(events))


def record_entries(connection: Connection, messages: Sequence[account_pb2.StatementEntry]) -> None:
    """Effect of the account feed: statement entries are kept for matching."""
    SqlBookStore(connection).add_entries(mapping.entries_from_proto(messages))


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    url = settings.database_url_of(SERVICE)
    if settings.migrate_at_start:
        migrate(url, SERVICE)
    else:
        check_revision(url, SERVICE)
    telemetry = configure_telemetry(SERVICE, settings)
    database = Database.open(url, writers=settings.database_writers, telemetry=telemetry)
    clock = SystemClock()
    start_sealing(
        database, settings.sealing_keys_of(SERVICE), settings=settings, clock=clock, random_bytes=secrets.token_bytes
    )
    sealer = await open_sealer(SERVICE, database, metadata, settings, clock)
    async with (
        open_channel(
            settings.address_of("account"), service_name=SERVICE, settings=settings, telemetry=telemetry
        ) as account_channel,
        open_channel(
            settings.address_of("payment"), service_name=SERVICE, settings=settings, telemetry=telemetry
        ) as payment_channel,
    ):
        accounts, payments = AccountClient(account_channel), PaymentClient(payment_channel)
        booked = Follower("payment", database, payments.follow_payments, lambda e: e.sequence, record_bookings)
        stated = Follower("account", database, accounts.follow_entries, lambda e: e.sequence, record_entries)
        servicer = ReconciliationServicer(database, accounts, clock, TimeOrderedIds(clock), telemetry)
        add = reconciliation_service_pb2_grpc.add_ReconciliationServiceServicer_to_server
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(booked.run(stop))
                tasks.create_task(stated.run(stop))
                tasks.create_task(sealer.run(stop))
                await serve(
                    SERVICE,
                    settings.listen_address(SERVICE),
                    [(add, servicer), evidence_rpcs(SERVICE, database, sealer, evidence.collect, clock)],
                    settings=settings,
                    telemetry=telemetry,
                    stop=stop,
                )
        finally:
            await sealer.finish()
            database.close()
            telemetry.shutdown()


def run() -> int:
    """Run the service as this process; return its exit code."""
    return run_with_settings(SERVICE, Settings, main)


if __name__ == "__main__":
    sys.exit(run())
