"""One connected trace per payment, whichever way it came in."""

from __future__ import annotations

import asyncio
from typing import Any

from payment_builders import instruction_message
from running import House, run_house

from yinqi.api.payment.v1 import payment_service_pb2
from yinqi.runtime.otlp_sink import OtlpSink
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import configure_telemetry


async def story_of(sink: OtlpSink, house: House, end_to_end_id: str) -> Any:
    traceparent = (await house.get(end_to_end_id)).payment.traceparent
    await asyncio.to_thread(house.telemetry.flush)  # type: ignore[union-attr]
    return sink.analyse().traces[traceparent.split("-")[1]]


async def test_every_payment_is_one_connected_trace(sqlite_url: str, settings: Settings, otlp_sink: OtlpSink):
    traced = settings.model_copy(update={"otlp_endpoint": otlp_sink.endpoint})
    telemetry = configure_telemetry("payment", traced)
    async with run_house(sqlite_url, traced, telemetry=telemetry) as house:
        house.gateway.script["B-3"] = ["lost_after"]
        await house.initiate(*(instruction_message(f"B-{n}") for n in range(5)))
        await house.stub.InitiatePayment(
            payment_service_pb2.InitiatePaymentRequest(instruction=instruction_message("U"))
        )
        for key in (*(f"B-{n}" for n in range(5)), "U"):
            await house.reaches(key, "SETTLED")
        for n in range(5):
            story = await story_of(otlp_sink, house, f"B-{n}")
            assert story.connected
            assert story.roots == ("payment",)
            assert {"payment", "screen", "submit", "status"} <= story.names
            assert story.linked  # to the call that brought it, and to the batch steps
        unary = await story_of(otlp_sink, house, "U")
        assert unary.connected
        assert unary.roots == ("yinqi.api.payment.v1.PaymentService/InitiatePayment",)
        assert {"screen", "submit", "status"} <= unary.names
        house.monitoring.is_away = True
        await house.initiate(instruction_message("C"))
        await house.stub.CancelPayment(payment_service_pb2.CancelPaymentRequest(end_to_end_id="C"))
        assert (await story_of(otlp_sink, house, "C")).roots == ("payment",)
        analysis = otlp_sink.analyse()
        assert analysis.orphans == 0
        spans = str(otlp_sink.spans)
        for secret in ("北京某某供应商有限公司", "6222020200112233445", "755901234567890"):
            assert secret not in spans
