"""The bank's own tracing: one server span per call, continuing the caller's trace; nothing private is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_FINE = ("SUC0000",)


class Telemetry:
    """Tracer of the sandbox bank; exports by OTLP gRPC when an endpoint is given, else keeps nothing."""

    def __init__(self, otlp_endpoint: str) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "sandbox_bank"}))
        if otlp_endpoint:
            # Imported here because it brings gRPC along, which doubles the time to start.
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            # Small batches: a big one stalls the interpreter and with it the answers.
            exporter = OTLPSpanExporter(endpoint=otlp_endpoint, insecure=not otlp_endpoint.startswith("https"))
            self._provider.add_span_processor(
                BatchSpanProcessor(exporter, max_queue_size=65_536, schedule_delay_millis=100, max_export_batch_size=64)
            )
        self._tracer = self._provider.get_tracer("yinqi.sandbox_bank")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def server_span(self, name: str, headers: Mapping[str, str], method: str) -> Iterator[Callable[[str, int], None]]:
        """A span around one call; the block calls what it gets with the outcome and the number of lines."""
        attributes = {"rpc.system": "cdc", "rpc.method": method}
        context = self._propagator.extract(headers)
        with self._tracer.start_as_current_span(name, context, SpanKind.SERVER, attributes) as span:

            def record(outcome: str, lines: int) -> None:
                span.set_attribute("sandbox_bank.outcome", outcome)
                span.set_attribute("sandbox_bank.lines", lines)
                if outcome not in _FINE:
                    span.set_status(Status(StatusCode.ERROR, outcome))

            yield record

    def shut_down(self) -> None:
        """Send what is queued, then stop."""
        self._provider.shutdown()
