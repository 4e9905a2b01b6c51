"""kill -9 while a message is on its way: after the restart the attempt is in doubt, and nothing goes out again."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.listening import free_port
from yinqi.runtime.settings import child_environment


async def test_a_killed_gateway_sends_nothing_again(scripted_bank: Any, run_gateway: Any, tmp_path: Path) -> None:
    async with run_gateway(scripted_bank.address) as gateway:  # makes keys and schema
        batch = [gateway.submission() for _ in range(20)]
        settings = gateway.settings
    scripted_bank.delay_s = 60
    port = free_port()
    variables = {
        "YINQI_VAR_DIR": str(tmp_path),
        "YINQI_GATEWAY_PORT": str(port),
        "YINQI_SANDBOX_BANK_ADDRESS": scripted_bank.address,
        "YINQI_EXCHANGE_DIR": settings.exchange_dir,
        "YINQI_GATEWAY_KEYS_DIR": settings.gateway_keys_dir,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "yinqi.gateway.main",
        env=child_environment(variables),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with open_channel(f"127.0.0.1:{port}", service_name="payment", settings=settings) as channel:
            request = pb.SubmitPaymentsRequest(submissions=batch)
            call = asyncio.ensure_future(GatewayServiceStub(channel).SubmitPayments(request, timeout=60))
            await asyncio.wait_for(scripted_bank.called.wait(), 60)
            process.send_signal(signal.SIGKILL)
            with pytest.raises(grpc.aio.AioRpcError):
                await call
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()

    scripted_bank.delay_s = 0
    async with run_gateway(scripted_bank.address) as gateway:
        reports = await gateway.submit(*batch)
        assert {report.status for report in reports} == {gateway_pb2.BANK_STATUS_UNKNOWN}
        assert {report.reason_code for report in reports} == {"ALREADY_SUBMITTED"}
        (sent,) = await gateway.messages(batch[0].instruction_id)
        assert sent.direction == pb.MESSAGE_DIRECTION_SENT
    assert sorted(scripted_bank.lines()) == sorted(one.instruction_id for one in batch)
