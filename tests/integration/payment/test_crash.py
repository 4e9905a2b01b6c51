"""kill -9 at any time: nothing accepted is lost, nothing is sent twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeGateway, FakeMonitoring, until
from payment_builders import instruction_message
from running import STATUS, start_sister

from yinqi.api.gateway.v1 import gateway_service_pb2_grpc
from yinqi.api.monitoring.v1 import monitoring_service_pb2_grpc
from yinqi.api.payment.v1 import payment_service_pb2 as api
from yinqi.api.payment.v1 import payment_service_pb2_grpc
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.settings import Settings, child_environment

SERVICES = Path(__file__).parents[3] / "services"


@asynccontextmanager
async def process(environment: dict[str, str], settings: Settings, port: int) -> AsyncIterator[Any]:
    """The real service as a process; yields (process, stub)."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "yinqi.payment.main",
        env=child_environment(environment),
        stderr=asyncio.subprocess.DEVNULL,
    )
    channel = open_channel(f"127.0.0.1:{port}", service_name="", settings=settings)
    try:
        yield child, payment_service_pb2_grpc.PaymentServiceStub(channel)
    finally:
        await channel.close()
        if child.returncode is None:
            child.kill()
        await child.wait()


async def count_by_status(stub: Any) -> dict[str, int]:
    counts = (await stub.CountPayments(api.CountPaymentsRequest())).counts
    return {STATUS.Name(count.status).removeprefix("PAYMENT_STATUS_"): count.count for count in counts}


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_kill_nine_loses_nothing_and_sends_nothing_twice(
    store: str, request: pytest.FixtureRequest, settings: Settings, free_port: Any
):
    gateway, monitoring = FakeGateway(), FakeMonitoring()
    sisters = [
        await start_sister("gateway", gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server, gateway, settings),
        await start_sister(
            "monitoring", monitoring_service_pb2_grpc.add_MonitoringServiceServicer_to_server, monitoring, settings
        ),
    ]
    port = free_port()
    environment = {
        "PYTHONPATH": str(SERVICES),
        "YINQI_DATABASE_URL": request.getfixturevalue(f"{store}_url"),
        "YINQI_PAYMENT_PORT": str(port),
        "YINQI_GATEWAY_ADDRESS": f"127.0.0.1:{sisters[0].port}",
        "YINQI_MONITORING_ADDRESS": f"127.0.0.1:{sisters[1].port}",
        "YINQI_POLL_INTERVAL_MS": "20",
        "YINQI_FIRST_QUERY_DELAY_S": "0.05",
        "YINQI_QUERY_INTERVAL_S": "0.2",
        "YINQI_PAYMENT_BATCH_MAX": "20",
        "YINQI_CALL_TIMEOUT_S": "1",
        "YINQI_PAYMENT_BANK_TIMEOUT_S": "1",
        "YINQI_PAYMENT_LEASE_S": "2",
    }

    async def slow(_account: str) -> None:
        await asyncio.sleep(0.02)

    gateway.before_answer = slow
    accepted: list[str] = []
    answers: dict[str, str] = {}
    for life in range(3):
        async with process(environment, settings, port) as (child, stub):
            messages = [instruction_message(f"K-{life}-{n}") for n in range(100)]
            # What was sent in an earlier life is repeated as a caller would who is not sure.
            repeats = [instruction_message(key) for key in accepted]
            response = await stub.InitiatePayments(
                api.InitiatePaymentsRequest(instructions=[*messages, *repeats]), timeout=15
            )
            for outcome in response.outcomes:
                assert answers.setdefault(outcome.end_to_end_id, outcome.instruction_id) == outcome.instruction_id
            accepted += [message.end_to_end_id for message in messages]
            if life < 2:
                submitted_before = len(gateway.submitted)
                await until(lambda: len(gateway.submitted) >= submitted_before + 20, "submissions")  # noqa: B023
                os.kill(child.pid, signal.SIGKILL)
                await child.wait()
                continue

            async def all_settled() -> bool:
                return await count_by_status(stub) == {"SETTLED": 300}

            await until(all_settled, "all payments to settle", 40)
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 10) == 0
    assert set(gateway.paid) == set(accepted)
    assert set(gateway.paid.values()) == {1}
    for server in sisters:
        await server.drain(0.1)


async def test_a_taken_port_is_named_and_the_process_ends(tmp_path: Path, settings: Settings):
    other = await start_sister(
        "gateway", gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server, FakeGateway(), settings
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "yinqi.payment.main",
        env=child_environment(
            {
                "PYTHONPATH": str(SERVICES),
                "YINQI_VAR_DIR": str(tmp_path),
                "YINQI_PAYMENT_PORT": str(other.port),
            }
        ),
        stderr=asyncio.subprocess.PIPE,
    )
    _, written = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 78
    assert f"port {other.port}".encode() in written
    assert b"YINQI_PAYMENT_PORT" in written
    await other.drain(0.1)
