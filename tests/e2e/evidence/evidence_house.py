"""The five services in this process and the sandbox bank beside it: two orders that people approved, one payment nobody signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from company import NAME, Company
from tests.bench.orders import DEBTOR_ACCOUNT, instruction
from typer.testing import CliRunner

from yinqi.account.main import main as account_main
from yinqi.account.settings import AccountSettings
from yinqi.api.common.v1 import money_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.cli import app
from yinqi.client import OrderClient, new_order
from yinqi.client.evidence import SERVICES, collect_evidence
from yinqi.demo.bank_control import BankControl
from yinqi.demo.sealed_data import SUITE_KEYS_DIR
from yinqi.demo.sisters import COMPANY_ROLES, Sisters
from yinqi.demo.suite import children, exchange_dir, prepare, suite_env
from yinqi.gateway.main import main as gateway_main
from yinqi.gateway.settings import GatewaySettings
from yinqi.monitoring.main import main as monitoring_main
from yinqi.monitoring.settings import MonitoringSettings
from yinqi.payment.main import main as payment_main
from yinqi.payment.settings import PaymentSettings
from yinqi.reconciliation.main import main as reconciliation_main
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.listening import free_port
from yinqi.runtime.migrations import migrate
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Supervisor
from yinqi.runtime.telemetry import Telemetry

STATUS = payment_pb2.PaymentStatus
_MAINS: dict[str, tuple[Callable[..., Awaitable[None]], type[Settings]]] = {
    "gateway": (gateway_main, GatewaySettings),
    "monitoring": (monitoring_main, MonitoringSettings),
    "account": (account_main, AccountSettings),
    "payment": (payment_main, PaymentSettings),
    "reconciliation": (reconciliation_main, Settings),
}
_FAST = {"poll_interval_ms": 20, "first_query_delay_s": 0.05, "query_interval_s": 0.1, "payment_retry_delay_s": 0.05}
_QUIET = {
    "console_enabled": False,
    "gateway_notice_port": 0,
    "journal_seal_interval_s": 0.1,
    "migrate_at_start": False,
    "drain_grace_s": 0.2,
}


@dataclass(frozen=True)
class Bundles:
    """Bundles of payments A and B, each approved by two people, and of one that nobody signed.

    Attributes:
        journal: the folder of seals and journal keys.
        commands: what `yinqi evidence` said of A and of an unknown payment.
    """

    a: bytes
    b: bytes
    unsigned: bytes
    journal: Path
    company: Company
    commands: tuple[Any, Any]


class House:
    """What a scenario holds in its hands."""

    def __init__(self, settings: Settings, channels: dict[str, grpc.aio.Channel], sisters: Sisters) -> None:
        self.settings = settings
        self.channels = channels
        self.sisters = sisters

    async def pay(self, number: int, company: Company) -> str:
        """Have an order of three lines signed by the maker, approved by checker and director, and paid."""
        lines = [instruction(number + place, "proof") for place in range(3)]
        for line in lines:
            line.instructed_amount.CopyFrom(money_pb2.Money(currency="CNY", minor_units=6_000_000 + number))
        address = self.settings.address_of("payment")
        async with OrderClient(address, identity="erp", settings=self.settings) as client:
            await client.submit(new_order(f"RUN-{number}", lines, company=NAME, key=company.keys["erp"]), timeout_s=60)
            for line in lines:
                await self.reaches(line.end_to_end_id, "AWAITING_APPROVAL")
            for person in ("li", "wang"):
                await client.decide(await client.show(f"RUN-{number}"), company.keys[person], approves=True)
        for line in lines:
            await self.reaches(line.end_to_end_id, "SETTLED")
        return lines[1].end_to_end_id

    async def reaches(self, end_to_end_id: str, status: str) -> None:
        async def there() -> bool:
            request = payment_service_pb2.GetPaymentRequest(end_to_end_id=end_to_end_id)
            found = await self.sisters.payment.GetPayment(request, timeout=60)
            return STATUS.Name(found.payment.status) == f"PAYMENT_STATUS_{status}"

        await until(there)

    async def collect(self, payment: str) -> bytes:
        return await collect_evidence(payment, self.channels.__getitem__)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await holds():  # noqa: ASYNC110 (it asks other services)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(var_dir: Path, ports: dict[str, int], **more: Any) -> AsyncIterator[House]:
    stop = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    given = {
        "var_dir": var_dir,
        "exchange_dir": str(exchange_dir(Settings(var_dir=var_dir))),
        "sealing_keys_dir": SUITE_KEYS_DIR,
        **ports,
        **_FAST,
        **_QUIET,
    }
    for main, kind in _MAINS.values():
        settings = kind(**{name: value for name, value in (given | more).items() if name in kind.model_fields})
        tasks.append(asyncio.ensure_future(main(settings, stop)))
    common = Settings(var_dir=var_dir, **ports)
    async with AsyncExitStack() as stack:
        channels = {
            name: await stack.enter_async_context(
                open_channel(common.address_of(name), service_name="auditor", settings=common, roles=COMPANY_ROLES)
            )
            for name in SERVICES
        }
        sisters = Sisters(common, Telemetry.off("test"), stack)
        await sisters.open()
        try:
            for channel in channels.values():
                await until(lambda channel=channel: _serves(channel, tasks))
            yield House(common, channels, sisters)
        finally:
            stop.set()
            await asyncio.gather(*tasks)


async def _serves(channel: grpc.aio.Channel, tasks: list[asyncio.Task[None]]) -> bool:
    for task in tasks:
        if task.done():
            task.result()
    channel.get_state(try_to_connect=True)
    return channel.get_state() is grpc.ChannelConnectivity.READY


async def scenario(folder: Path) -> Bundles:
    """Run everything once."""
    company = Company(folder / "policy")
    names = ("payment", "account", "reconciliation", "monitoring", "gateway", "sandbox_bank", "console")
    ports = {f"{name}_port": free_port() for name in names}
    settings = Settings(var_dir=folder, **ports)
    prepare(settings)
    for service in SERVICES:  # One after the other: Alembic has one context per process.
        migrate(settings.database_url_of(service), service)
    bank_child = children(settings, suite_env(settings), ["--execution-delay-ms", "0"])[:1]
    bank = Supervisor(bank_child, log_dir=folder / "log")
    await bank.start(healthy_within_s=90)
    policy = str(company.folder)
    try:
        async with running(folder, ports, payment_policy_dir=policy, gateway_policy_dir=policy) as house:
            first = await house.pay(1, company)
            second = await house.pay(5, company)
            control = BankControl(settings.address_of("sandbox_bank"))
            today = await control.business_date()
            await control.close()
            await house.sisters.fetch_statement(DEBTOR_ACCOUNT, today)
            await until(lambda: _reconciled(house, today))
            written = await command(ports, "evidence", first, "--out", str(folder / "a.jsonl"))
            a, b = (folder / "a.jsonl").read_bytes(), await house.collect(second)
            unknown = await command(ports, "evidence", "NO-SUCH-PAYMENT", "--out", str(folder / "none.jsonl"))
        async with running(folder, ports) as house:
            line = instruction(9, "proof")
            request = payment_service_pb2.InitiatePaymentRequest(instruction=line)
            await house.sisters.payment.InitiatePayment(request, timeout=60)
            await house.reaches(line.end_to_end_id, "SETTLED")
            unsigned = await house.collect(line.end_to_end_id)
    finally:
        await bank.stop()
    return Bundles(a, b, unsigned, folder / "journal", company, (written, unknown))


async def command(ports: dict[str, int], *words: str) -> Any:
    environment = {f"YINQI_{name.upper()}": str(port) for name, port in ports.items()}
    return await asyncio.to_thread(CliRunner().invoke, app, list(words), env={**environment, "COLUMNS": "300"})


async def _reconciled(house: House, today: str) -> bool:
    return (await house.sisters.reconcile(DEBTOR_ACCOUNT, today)).match_count == 6
