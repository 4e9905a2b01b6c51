"""Each payment's trace holds its steps at the bank, and leads to the bank's own spans."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from yinqi.runtime.telemetry import Telemetry, format_traceparent

PAYMENT = "00-{0:032x}-{1:016x}-01"


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


async def test_a_single_payment_has_the_bank_call_in_its_own_trace(scripted_bank: Any, run_gateway: Any) -> None:
    spans = InMemorySpanExporter()
    telemetry = Telemetry("gateway", SimpleSpanProcessor(spans))
    async with run_gateway(scripted_bank.address, telemetry=telemetry) as gateway:
        await gateway.submit(gateway.submission(traceparent=PAYMENT.format(0xAB, 0xCD)))
        (step,), (call,) = named(spans, "bank.submit"), named(spans, "bank BB1PAYOP")
        assert step.context is not None
        assert call.context is not None
        assert step.parent is not None
        assert call.parent is not None
        assert (step.context.trace_id, step.parent.span_id) == (0xAB, 0xCD)
        assert (call.context.trace_id, call.parent.span_id) == (0xAB, step.context.span_id)
        assert scripted_bank.calls[0].headers["traceparent"] == format_traceparent(call.context)
        assert step.attributes is not None
        assert step.attributes["yinqi.payment.status"] == "PROCESSING"
        assert all("6225881234567890" not in str(dict(span.attributes or {})) for span in spans.get_finished_spans())


async def test_each_payment_of_a_batch_links_to_the_one_call(scripted_bank: Any, run_gateway: Any) -> None:
    spans = InMemorySpanExporter()
    telemetry = Telemetry("gateway", SimpleSpanProcessor(spans))
    async with run_gateway(scripted_bank.address, telemetry=telemetry) as gateway:
        batch = [gateway.submission(traceparent=PAYMENT.format(trace, 0xCD)) for trace in range(1, 4)]
        await gateway.submit(*batch)
        await gateway.query(*batch)
        for step_name, call_name in (("bank.submit", "bank BB1PAYBH"), ("bank.query", "bank BB1PAYQR")):
            steps, (call,) = named(spans, step_name), named(spans, call_name)
            assert [step.context.trace_id for step in steps if step.context] == [1, 2, 3]
            assert {step.parent.span_id for step in steps if step.parent} == {0xCD}
            assert call.context is not None
            assert call.context.trace_id not in (1, 2, 3)
            assert {step.links[0].context.span_id for step in steps} == {call.context.span_id}
            assert [link.context.trace_id for link in call.links] == [1, 2, 3]
