"""The payment service as `main` builds it, between fakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from fakes import FakeGateway, FakeMonitoring, until

from yinqi.api.gateway.v1 import gateway_service_pb2_grpc
from yinqi.api.monitoring.v1 import monitoring_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.payment.main import main
from yinqi.payment.settings import PaymentSettings
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.grpc_server import GrpcServer
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry

STATUS = payment_pb2.PaymentStatus


@dataclass
class House:
    """What a test holds in its hands."""

    gateway: FakeGateway
    monitoring: FakeMonitoring
    settings: PaymentSettings
    channel: grpc.aio.Channel
    sisters: dict[str, GrpcServer]
    stop: asyncio.Event
    task: asyncio.Task[None]
    telemetry: Telemetry | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    channel_address: str = ""

    @property
    def stub(self) -> Any:
        return payment_service_pb2_grpc.PaymentServiceStub(self.channel)

    async def initiate(self, *messages: payment_pb2.PaymentInstruction) -> Any:
        return await self.stub.InitiatePayments(
            payment_service_pb2.InitiatePaymentsRequest(instructions=messages), timeout=60
        )

    async def get(self, end_to_end_id: str) -> Any:
        return await self.stub.GetPayment(
            payment_service_pb2.GetPaymentRequest(end_to_end_id=end_to_end_id), timeout=60
        )

    async def status(self, end_to_end_id: str) -> str:
        return STATUS.Name((await self.get(end_to_end_id)).payment.status).removeprefix("PAYMENT_STATUS_")

    async def reaches(self, end_to_end_id: str, status: str) -> Any:
        async def there() -> bool:
            return await self.status(end_to_end_id) == status

        await until(there, f"{end_to_end_id} to be {status}")
        return await self.get(end_to_end_id)


async def start_sister(name: str, add: Any, servicer: object, settings: Settings, port: int = 0) -> GrpcServer:
    """Serve a fake on a port chosen by the system, or on a given one."""
    server = GrpcServer(name, f"127.0.0.1:{port}", [(add, servicer)], settings=settings, telemetry=Telemetry.off(name))
    await server.start()
    return server


@asynccontextmanager
async def run_house(
    database_url: str,
    settings: Settings,
    *,
    gateway: FakeGateway | None = None,
    monitoring: FakeMonitoring | None = None,
    with_gateway: bool = True,
    telemetry: Telemetry | None = None,
    **changes: Any,
) -> AsyncIterator[House]:
    """Run the service and its fake sisters; drain them at the end."""
    gateway, monitoring = gateway or FakeGateway(), monitoring or FakeMonitoring()
    sisters = {
        "monitoring": await start_sister(
            "monitoring", monitoring_service_pb2_grpc.add_MonitoringServiceServicer_to_server, monitoring, settings
        )
    }
    if with_gateway:
        sisters["gateway"] = await start_sister(
            "gateway", gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server, gateway, settings
        )
    given = {name: getattr(settings, name) for name in type(settings).model_fields if name in Settings.model_fields}
    fast = {
        "database_url": database_url,
        "monitoring_address": f"127.0.0.1:{sisters['monitoring'].port}",
        "gateway_address": f"127.0.0.1:{sisters['gateway'].port}" if with_gateway else "127.0.0.1:1",
        "poll_interval_ms": 20,
        "first_query_delay_s": 0.02,
        "query_interval_s": 0.05,
        "payment_retry_delay_s": 0.02,
        "returns_interval_s": 0.05,
        "call_timeout_s": 3.0,
        "payment_bank_timeout_s": 3.0,
        "payment_lease_s": 5.0,
    }
    own = PaymentSettings(**(given | fast | changes))
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(main(own, stop, telemetry=telemetry, on_started=started.set_result))
    await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    channel = open_channel(f"127.0.0.1:{started.result().port}", service_name="", settings=own)
    try:
        house = House(gateway, monitoring, own, channel, sisters, stop, task, telemetry)
        house.channel_address = f"127.0.0.1:{started.result().port}"
        yield house
    finally:
        await channel.close()
        stop.set()
        await task
        for server in sisters.values():
            await server.drain(0.1)
