"""One payment, one story: a thousand payments through real processes, and every span accounted for."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.demo.bank_control import BankControl
from yinqi.demo.sisters import Sisters
from yinqi.demo.suite import children, prepare, suite_env
from yinqi.runtime.listening import free_port
from yinqi.runtime.otlp_sink import OtlpSink
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Supervisor
from yinqi.runtime.telemetry import configure_telemetry

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.bench.orders import DEBTOR_ACCOUNT, instruction

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
NAMES = ("payment", "account", "reconciliation", "monitoring", "gateway", "sandbox_bank", "console")
UNARY, BATCHED = 200, 800


async def pay_all(sisters: Sisters) -> None:
    """200 unary calls, 16 at a time, and 800 lines in two calls."""
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        async with gate:
            request = payment_service_pb2.InitiatePaymentRequest(instruction=instruction(number, "story"))
            await sisters.payment.InitiatePayment(request)

    await asyncio.gather(*(one(number) for number in range(UNARY)))
    for start in (UNARY, UNARY + BATCHED // 2):
        lines = [instruction(number, "story") for number in range(start, start + BATCHED // 2)]
        request = payment_service_pb2.InitiatePaymentsRequest(instructions=lines)
        await sisters.payment.InitiatePayments(request, timeout=60)


async def until_settled(sisters: Sisters, count: int) -> None:
    async with asyncio.timeout(180):
        while True:
            counts = await sisters.counts()
            if sum(c.count for c in counts if c.status == payment_pb2.PAYMENT_STATUS_SETTLED) == count:
                return
            await asyncio.sleep(0.2)


async def test_a_thousand_payments_are_a_thousand_connected_traces(tmp_path: Path) -> None:
    sink = OtlpSink()
    endpoint = await sink.start()
    ports = {f"{name}_port": free_port() for name in NAMES}
    settings = Settings(var_dir=tmp_path, otlp_endpoint=endpoint, **ports)
    prepare(settings)
    env = {
        **suite_env(settings),
        **{f"YINQI_{name.upper()}": str(port) for name, port in ports.items()},
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "YINQI_QUERY_INTERVAL_S": "1",
    }
    telemetry = configure_telemetry("erp", settings)
    supervisor = Supervisor(children(settings, env), log_dir=tmp_path / "log")
    await supervisor.start(healthy_within_s=90)
    try:
        async with AsyncExitStack() as stack:
            sisters = Sisters(settings, telemetry, stack)
            await sisters.open()
            bank = BankControl(settings.address_of("sandbox_bank"))
            stack.push_async_callback(bank.close)
            await pay_all(sisters)
            await until_settled(sisters, UNARY + BATCHED)
            today = await bank.business_date()
            await sisters.fetch_statement(DEBTOR_ACCOUNT, today)
            run = await sisters.reconcile(DEBTOR_ACCOUNT, today)
            payments = await sisters.payments()
    finally:
        await supervisor.stop()
        telemetry.shutdown()
        await sink.stop()
    assert run.match_count == UNARY + BATCHED
    stories = sink.analyse()
    ids = {payment.traceparent[3:35] for payment in payments}
    assert len(ids) == UNARY + BATCHED
    assert stories.connected_of(ids) == UNARY + BATCHED
    assert stories.orphans == 0
    for trace_id in ids:
        story = stories.traces[trace_id]
        assert {"payment", "monitoring", "gateway", "account", "reconciliation"} <= story.services
        assert any(
            "sandbox_bank" in stories.traces[other].services for other in story.linked if other in stories.traces
        )
