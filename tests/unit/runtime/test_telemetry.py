"""Which traces are recorded."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import SpanKind

from yinqi.kernel.errors import YinqiError
from yinqi.runtime.settings import Settings, load_settings
from yinqi.runtime.telemetry import Telemetry, parse_traceparent


@pytest.mark.parametrize(
    ("sampler", "argument", "share"),
    [
        ("", "", 1.0),
        ("always_off", "", 0.0),
        ("parentbased_always_off", "0.7", 0.0),
        ("always_on", "0.1", 1.0),
        ("traceidratio", "0.25", 0.25),
        ("parentbased_traceidratio", "0.5", 0.5),
    ],
)
def test_the_standard_variables_say_which_share_is_recorded(
    monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str, share: float
) -> None:
    for name, value in (("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)):
        if value:
            monkeypatch.setenv(name, value)
    assert load_settings(Settings).sampled_share == share


@pytest.mark.parametrize(("name", "value"), [("OTEL_TRACES_SAMPLER", "sometimes"), ("OTEL_TRACES_SAMPLER_ARG", "2")])
def test_a_wrong_sampler_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(YinqiError, match=name):
        load_settings(Settings)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_payments_is_sampled_by_the_trace_id_as_the_sdk_does_it(share: float) -> None:
    telemetry = Telemetry("payment", SimpleSpanProcessor(InMemorySpanExporter()), sampled_share=share)
    sdk = TraceIdRatioBased(share)
    contexts = [parse_traceparent(text) for text in telemetry.new_traceparents(2_000)]
    assert [c.trace_flags.sampled for c in contexts] == [
        sdk.should_sample(None, c.trace_id, "payment").decision.is_sampled() for c in contexts
    ]
    assert abs(sum(c.trace_flags.sampled for c in contexts) - 2_000 * share) < 150


def test_what_is_not_sampled_is_recorded_nowhere_along_its_trace() -> None:
    spans = InMemorySpanExporter()
    telemetry = Telemetry("payment", SimpleSpanProcessor(spans), sampled_share=0.0)
    root = telemetry.new_traceparent()
    assert telemetry.emit_span("step", parent_traceparent=root, start_ns=1).endswith("-00")
    with telemetry.payment_span("payment.submit", root):
        telemetry.start_server_span("call", "", {}).end()
    with telemetry.tracer.start_as_current_span("worker", kind=SpanKind.INTERNAL) as span:
        assert not span.is_recording()
    assert not spans.get_finished_spans()


def test_a_callers_decision_is_kept() -> None:
    spans = InMemorySpanExporter()
    telemetry = Telemetry("payment", SimpleSpanProcessor(spans), sampled_share=0.0)
    telemetry.start_server_span("call", f"00-{'a' * 32}-{'b' * 16}-01", {}).end()
    assert [span.name for span in spans.get_finished_spans()] == ["call"]
