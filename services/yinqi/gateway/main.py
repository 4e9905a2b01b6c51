"""Builds and connects the gateway."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta

from yinqi.api.gateway.v1 import gateway_service_pb2_grpc
from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.calendar import load_calendar
from yinqi.gateway.evidence import collector
from yinqi.gateway.exchange import Bank, BankCaller
from yinqi.gateway.key_officers import KeyOfficers
from yinqi.gateway.key_ring import KeyRing
from yinqi.gateway.keystore import BankKeys, KeyFolder
from yinqi.gateway.last_door import Door, open_door
from yinqi.gateway.limits import CLASSES, Limits
from yinqi.gateway.metadata import METADATA
from yinqi.gateway.model import NoticeEvent
from yinqi.gateway.notice_server import NoticeTaker, open_notice_door
from yinqi.gateway.profile import Profile, Profiles, load_profiles
from yinqi.gateway.querying import Querier
from yinqi.gateway.reading import AccountReader
from yinqi.gateway.receipts import ReceiptFetcher
from yinqi.gateway.repository import SqlStore
from yinqi.gateway.retention import Purger
from yinqi.gateway.servicer import GatewayServicer
from yinqi.gateway.settings import GatewaySettings
from yinqi.gateway.stop_desk import StopDesk
from yinqi.gateway.submitting import Submitter
from yinqi.gateway.transport import HttpLine
from yinqi.kernel.clock import Clock, SystemClock
from yinqi.kernel.ids import IdSource, TimeOrderedIds
from yinqi.runtime.database import Database
from yinqi.runtime.denials import Denials, Tell
from yinqi.runtime.evidence import evidence_rpcs
from yinqi.runtime.grpc_server import GrpcServer, run_with_settings
from yinqi.runtime.identity import Principal
from yinqi.runtime.journal.sealer import open_sealer
from yinqi.runtime.migrations import check_revision, migrate
from yinqi.runtime.sealing import start_sealing
from yinqi.runtime.telemetry import Telemetry, configure_telemetry
from yinqi.runtime.worker import every

SERVICE = "gateway"


async def main(
    settings: GatewaySettings,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    ids: IdSource | None = None,
    telemetry: Telemetry | None = None,
    on_started: Callable[[int], None] | None = None,
    on_notice_door: Callable[[int], None] | None = None,
) -> None:
    """Serve until `stop` is set, then let messages on their way come home.

    Args:
        on_started: told the port once the service answers.
        on_notice_door: told before that at which port banks may post notices, 0 if none may.
    Raises:
        PortInUse, PolicyInvalid, ProfileInvalid, KeysInvalid, DatabaseTooNew …: why the service does not start, in words.
    """
    clock = clock or SystemClock()
    ids = ids or TimeOrderedIds(clock)
    profiles = load_profiles(settings.gateway_profiles_dir, settings.profile_placeholders())
    url = settings.database_url_of(SERVICE)
    (migrate if settings.migrate_at_start else check_revision)(url, SERVICE)
    telemetry = telemetry or configure_telemetry(SERVICE, settings)
    async with AsyncExitStack() as stack:
        stack.callback(telemetry.shutdown)
        database = Database.open(
            url, writers=settings.database_writers, telemetry=telemetry, queue_max=settings.queue_max
        )
        stack.callback(database.close)
        start_sealing(
            database,
            settings.sealing_keys_of(SERVICE),
            settings=settings,
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        sealer = await open_sealer(SERVICE, database, METADATA, settings, clock)
        stack.push_async_callback(sealer.finish)
        stack.callback(asyncio.create_task(sealer.run(stop), name="journal-seals").cancel)
        holder = ids.new_ids("GW", 1)[0]
        policy_dir, version_file = settings.policy_paths()
        door = open_door(policy_dir, version_file, profiles, database, clock)
        officers = KeyOfficers(None if door is None else door.policy)
        rings = {profile.name: await _open_ring(profile, settings, database, clock, officers) for profile in profiles}
        for name, ring in rings.items():
            keeping = every(settings.gateway_key_check_s, ring.refresh, stop=stop, name=f"keys-{name}")
            stack.callback(asyncio.create_task(keeping, name=f"keys-{name}").cancel)
        banks = {
            profile.name: _open_bank(profile, rings[profile.name].keys, settings, database, clock, ids, holder, stack)
            for profile in profiles
        }
        purger = Purger(database, clock, settings.retention())
        purging = every(settings.gateway_purge_interval_s, purger.purge, stop=stop, name="gateway.purge")
        stack.callback(asyncio.create_task(purging, name="gateway-purge").cancel)
        if door is not None:
            watching = every(settings.gateway_policy_poll_s, door.look_at_policy, stop=stop, name="gateway.policy")
            stack.callback(asyncio.create_task(watching, name="gateway-policy").cancel)
        servicer, submitter = _connect(banks, profiles, database, clock, ids, telemetry, door, rings)
        add = gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server
        served = [
            (add, servicer),
            evidence_rpcs(SERVICE, database, sealer, collector(profiles, None if door is None else door.policy), clock),
        ]
        server = GrpcServer(
            SERVICE,
            settings.listen_address(SERVICE),
            served,
            settings=settings,
            telemetry=telemetry,
            denials=Denials(_alarm(database, clock)),
        )
        await server.start()
        notices = open_notice_door(
            banks, NoticeTaker(database, clock, ids), settings.gateway_notice_host, settings.gateway_notice_port
        )
        notice_port = await stack.enter_async_context(notices)
        # Unwound in reverse: no new calls, then answers still awaited are recorded, then connections and store close.
        stack.push_async_callback(submitter.drain)
        stack.push_async_callback(server.drain)
        if on_notice_door is not None:
            on_notice_door(notice_port)
        if on_started is not None:
            on_started(server.port)
        await stop.wait()


def _alarm(database: Database, clock: Clock) -> Tell:
    """Return what makes an alert of a caller that may not do what it asked for; its name is all that is kept of it."""

    async def tell(principal: Principal, method: str) -> None:
        who = ("service " if principal.is_service else "") + principal.name
        event = NoticeEvent("-", "", clock.now(), who[:32], "ACCESS", f"CALLER_REFUSED_{method}"[:64])
        await database.run(lambda connection: SqlStore(connection).notices.append([event]))

    return tell


async def _open_ring(
    profile: Profile, settings: GatewaySettings, database: Database, clock: Clock, officers: KeyOfficers
) -> KeyRing:
    ring = KeyRing(profile, KeyFolder(profile, password_file=settings.key_password_file()), database, clock, officers)
    await ring.open()
    return ring


def _open_bank(
    profile: Profile,
    keys: BankKeys,
    settings: GatewaySettings,
    database: Database,
    clock: Clock,
    ids: IdSource,
    holder: str,
    stack: AsyncExitStack,
) -> Bank:
    country = load_calendar(settings.gateway_calendars_dir, profile.calendar.name)
    line = HttpLine(
        profile.url,
        connections_max=sum(getattr(profile.concurrency, name) for name in CLASSES),
        step_ms=profile.timeouts.connect_ms,
    )
    stack.push_async_callback(line.close)
    limits = Limits(
        profile.name,
        profile.concurrency,
        database,
        clock,
        ids,
        holder=holder,
        lease=timedelta(seconds=settings.gateway_slot_lease_s),
    )
    stack.push_async_callback(limits.close)
    dialect = CdcDialect(profile, keys, clock, ids)
    return Bank(profile, dialect, line, limits, profile.business_days(country))


def _connect(
    banks: dict[str, Bank],
    profiles: Profiles,
    database: Database,
    clock: Clock,
    ids: IdSource,
    telemetry: Telemetry,
    door: Door | None,
    rings: dict[str, KeyRing],
) -> tuple[GatewayServicer, Submitter]:
    caller = BankCaller(database, clock, ids, telemetry)
    submitter = Submitter(banks, profiles, database, caller, clock, door)
    querier = Querier(banks, profiles, database, caller, clock)
    reader = AccountReader(banks, profiles, database, caller, clock)
    stops = StopDesk(profiles, database, clock, ids)
    receipts = ReceiptFetcher(banks, profiles, database, reader)
    return GatewayServicer(submitter, querier, reader, stops, profiles, database, rings, receipts), submitter


def run() -> int:
    """Run the service as this process; return its exit code."""
    return run_with_settings(SERVICE, GatewaySettings, main)


if __name__ == "__main__":
    sys.exit(run())
