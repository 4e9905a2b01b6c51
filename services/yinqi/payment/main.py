"""Builds and connects the payment service; the only place that does."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable
from datetime import timedelta

from yinqi import crypto
from yinqi.api.payment.v1 import payment_service_pb2_grpc
from yinqi.kernel.clock import Clock, SystemClock
from yinqi.kernel.ids import IdSource, TimeOrderedIds
from yinqi.orders.keys import PrivateKey
from yinqi.orders.policy_watch import PolicyInForce
from yinqi.payment.approval_desk import ApprovalDesk
from yinqi.payment.clients import GrpcBankGateway, GrpcScreener, NoticeFeed
from yinqi.payment.code_secrets import CodeSecrets
from yinqi.payment.evidence import collector
from yinqi.payment.model import Pacing
from yinqi.payment.orders_in import Voucher
from yinqi.payment.servicer import PaymentServicer
from yinqi.payment.settings import PaymentSettings
from yinqi.payment.tables import metadata
from yinqi.payment.worker import NoticeEffects, PaymentWorker, WorkerLimits
from yinqi.runtime.database import Database
from yinqi.runtime.evidence import evidence_rpcs
from yinqi.runtime.feed import Follower
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.grpc_server import GrpcServer, run_with_settings, serve
from yinqi.runtime.journal.sealer import open_sealer
from yinqi.runtime.migrations import check_revision, migrate
from yinqi.runtime.sealing import start_sealing
from yinqi.runtime.settings import Settings, load_settings
from yinqi.runtime.telemetry import Telemetry, configure_telemetry
from yinqi.runtime.worker import every

SERVICE = "payment"


def pacing_from(settings: PaymentSettings) -> Pacing:
    """Return how patient the workers are."""
    return Pacing(
        lease=timedelta(seconds=settings.payment_lease_s),
        first_query_delay=timedelta(seconds=settings.first_query_delay_s),
        query_interval=timedelta(seconds=settings.query_interval_s),
        query_interval_max=timedelta(seconds=max(settings.query_interval_max_s, settings.query_interval_s)),
        retry_delay=timedelta(seconds=settings.payment_retry_delay_s),
        submission_retry_max=timedelta(seconds=settings.payment_retry_max_s),
        resends_max=settings.payment_resends_max,
        permit_lifetime=timedelta(seconds=settings.payment_permit_lifetime_s),
        doubt_queries=settings.payment_doubt_queries,
        doubt_after=timedelta(seconds=settings.payment_doubt_after_s),
        processing_doubt_after=timedelta(seconds=settings.payment_processing_doubt_after_s),
        execution_window_days=settings.payment_execution_window_days,
    )


def limits_from(settings: PaymentSettings) -> WorkerLimits:
    """Return how much the workers do at once."""
    return WorkerLimits(
        batch_max=settings.payment_batch_max,
        calls_max=settings.payment_calls_max,
        poll_interval_s=settings.poll_interval_ms / 1000,
        returns_interval_s=settings.returns_interval_s,
        bank_timeout_s=settings.payment_bank_timeout_s,
        drain_grace_s=settings.drain_grace_s,
    )


def open_desk(settings: PaymentSettings, database: Database, clock: Clock, ids: IdSource) -> ApprovalDesk | None:
    """Return what works under the policy in force; None without one.

    Raises:
        PolicyInvalid, KeyFileInvalid: it cannot be used; the message says why.
    """
    if not settings.payment_policy_dir:
        return None
    policy = PolicyInForce(
        settings.filled(settings.payment_policy_dir), settings.filled("{var_dir}/payment/policy_version")
    )
    key_id = settings.payment_voucher_key_id
    key = PrivateKey.load(settings.filled(settings.payment_voucher_key_file), key_id) if key_id else None
    return ApprovalDesk(
        policy,
        Voucher(policy, key, ids, secrets.token_bytes),
        CodeSecrets(settings.filled(settings.payment_codes_file), settings.filled(settings.payment_codes_key_file)),
        database,
        clock,
    )


async def main(
    settings: Settings,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    telemetry: Telemetry | None = None,
    on_started: Callable[[GrpcServer], None] | None = None,
) -> None:
    """Run the service until `stop` is set, then drain: calls finish, answers of the bank are recorded.

    Raises:
        PortInUse, DatabaseTooNew, DatabaseTooOld, Unavailable: the service cannot start; the message says why.
    """
    own = settings if isinstance(settings, PaymentSettings) else _own_settings(settings)
    clock = clock or SystemClock()
    telemetry = telemetry or configure_telemetry(SERVICE, own)
    url = own.database_url_of(SERVICE)
    prepare = migrate if own.migrate_at_start else check_revision
    await asyncio.to_thread(prepare, url, SERVICE)
    database = Database.open(url, writers=own.database_writers, telemetry=telemetry, queue_max=own.queue_max)
    await asyncio.to_thread(
        start_sealing,
        database,
        own.sealing_keys_of(SERVICE),
        settings=own,
        clock=clock,
        random_bytes=secrets.token_bytes,
    )
    sealer = await open_sealer(SERVICE, database, metadata, own, clock)
    channels = [
        open_channel(own.address_of(sister), service_name=SERVICE, settings=own, telemetry=telemetry)
        for sister in ("monitoring", "gateway")
    ]
    ids = TimeOrderedIds(clock)
    desk = open_desk(own, database, clock, ids)
    worker = PaymentWorker(
        database,
        GrpcScreener(channels[0], own.call_timeout_s),
        GrpcBankGateway(channels[1], own.payment_bank_timeout_s),
        clock=clock,
        telemetry=telemetry,
        pacing=pacing_from(own),
        limits=limits_from(own),
        desk=desk,
    )
    notices = Follower(
        "gateway.notices",
        database,
        NoticeFeed(channels[1]).follow,
        lambda event: int(event.sequence),
        NoticeEffects(clock, pacing_from(own)).take,
    )
    servicer = PaymentServicer(
        database,
        clock=clock,
        ids=ids,
        check_digits=crypto,
        telemetry=telemetry,
        wake=worker.wake,
        pacing=pacing_from(own),
        lines_max=own.batch_lines_max,
        coalesced_max=own.payment_coalesced_max,
        queue_max=own.queue_max,
        desk=desk,
    )
    add = payment_service_pb2_grpc.add_PaymentServiceServicer_to_server
    evidence = evidence_rpcs(SERVICE, database, sealer, collector(None if desk is None else desk.policy), clock)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run(stop))
            tasks.create_task(notices.run(stop))
            tasks.create_task(sealer.run(stop))
            if desk is not None:
                tasks.create_task(_watch_policy(desk, worker, own.payment_policy_poll_s, stop))
            tasks.create_task(
                serve(
                    SERVICE,
                    own.listen_address(SERVICE),
                    [(add, servicer), evidence],
                    settings=own,
                    telemetry=telemetry,
                    stop=stop,
                    on_started=on_started,
                    calls_max={
                        "InitiatePayment": own.payment_initiations_max,
                        "InitiatePayments": own.payment_initiation_batches_max,
                    },
                )
            )
    except* Exception as errors:  # noqa: BLE001 (one error of the group, raised as itself so that its message is read)
        raise errors.exceptions[0] from None
    finally:
        for channel in channels:
            await channel.close()
        await sealer.finish()
        await asyncio.to_thread(database.close)
        telemetry.shutdown()


async def _watch_policy(desk: ApprovalDesk, worker: PaymentWorker, interval_s: float, stop: asyncio.Event) -> None:
    async def look() -> None:
        if await desk.look_at_policy():
            worker.wake()

    await every(interval_s, look, stop=stop, name="payment.policy")


def _own_settings(settings: Settings) -> PaymentSettings:
    """Return the service's settings with the given common ones."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return load_settings(PaymentSettings, **given)


def run() -> int:
    """Run the service as a process; return its exit code."""
    return run_with_settings(SERVICE, PaymentSettings, main)


if __name__ == "__main__":
    sys.exit(run())
