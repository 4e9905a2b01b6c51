"""Traces: one story per payment, exported over OTLP when the standard OTEL_* variables say so.

Three kinds of spans exist here: those of calls (made by the interceptors), steps of a payment
(`Telemetry.payment_span`, in the payment's own trace), and spans written down afterwards under identifiers fixed
earlier (`Telemetry.emit_span`): acceptance only stores a trace context, and the worker that picks the payment up
writes its root span. Nothing here sets process-wide state, so several services can share a process.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from yinqi.kernel.clock import epoch_ns
from yinqi.runtime.lean_spans import SCOPE, LeanOtlpExporter, LeanTracer
from yinqi.runtime.settings import Settings

AttributeValue = str | bool | int | float
Attributes = Mapping[str, AttributeValue]

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$")
_UNSET = Status(StatusCode.UNSET)


def format_traceparent(context: SpanContext) -> str:
    """Return the W3C traceparent of a span context, or "" if it is not valid."""
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@functools.lru_cache(maxsize=8192)  # A batch names the same few contexts again and again.
def parse_traceparent(traceparent: str) -> SpanContext:
    """Return the span context; an empty or malformed text gives an invalid context, never an error."""
    match = _TRACEPARENT.match(traceparent)
    if match is None:
        return trace.INVALID_SPAN_CONTEXT
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    if not trace_id or not span_id:
        return trace.INVALID_SPAN_CONTEXT
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def current_traceparent() -> str:
    """Return the traceparent of the current span, or "" if there is none."""
    return format_traceparent(trace.get_current_span().get_span_context())


def context_from_traceparent(traceparent: str) -> Context:
    """Return a context in which the named span is the parent; for an empty text, a context without parent."""
    return trace.set_span_in_context(NonRecordingSpan(parse_traceparent(traceparent)), Context())


_NOT_SAMPLED = f"00-{'0' * 31}1-{'0' * 15}1-00"


@contextmanager
def untraced() -> Iterator[None]:
    """Keep calls out of the trace store: of a question asked every few seconds only what it finds is worth telling."""
    token = otel_context.attach(context_from_traceparent(_NOT_SAMPLED))
    try:
        yield
    finally:
        otel_context.detach(token)


def links_to(traceparents: Sequence[str]) -> list[Link]:
    """Return links to each valid traceparent (batch steps name every payment they touch)."""
    contexts = (parse_traceparent(text) for text in traceparents)
    return [Link(context) for context in contexts if context.is_valid]


class Telemetry:
    """One service's tracer and its way out.

    Args:
        processor: where finished spans go; None turns tracing off (everything still works, nothing is recorded).
        sampled_share: of the traces that begin here, the share that is recorded, chosen by the trace id as OpenTelemetry's
            `traceidratio` does.
    """

    def __init__(
        self, service_name: str, processor: SpanProcessor | None = None, *, sampled_share: float = 1.0
    ) -> None:
        self.service_name = service_name
        self._processor = processor
        self._sampled_below = TraceIdRatioBased.get_bound_for_rate(sampled_share)
        self._samples_all = sampled_share >= 1
        self._resource = Resource.create(
            {
                "service.name": service_name,
                "service.namespace": "yinqi",
                "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            }
        )
        self.tracer: trace.Tracer = (
            trace.NoOpTracer() if processor is None else LeanTracer(processor, self._resource, self._is_sampled)
        )

    @classmethod
    def off(cls, service_name: str = "yinqi") -> Telemetry:
        """Return a telemetry that records nothing."""
        return cls(service_name)

    @property
    def enabled(self) -> bool:
        """Whether spans are recorded."""
        return self._processor is not None

    def _is_sampled(self, trace_id: int) -> bool:
        return trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._sampled_below

    def _flag(self, trace_id: str) -> str:
        """Return the flags of a new trace."""
        if self.enabled and (self._samples_all or self._is_sampled(int(trace_id, 16))):
            return "01"
        return "00"

    def start_server_span(self, name: str, parent_traceparent: str, attributes: Attributes) -> Span:
        """Return the span of a call that came in, not yet the current one; one that records nothing if tracing is off."""
        if not isinstance(self.tracer, LeanTracer):
            return trace.INVALID_SPAN
        parent = parse_traceparent(parent_traceparent) if parent_traceparent else trace.INVALID_SPAN_CONTEXT
        return self.tracer.start_child(parent, name, SpanKind.SERVER, attributes)

    def new_traceparent(self, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
        """Return the traceparent of a new root span; its sampled flag says whether the trace is recorded."""
        return self.new_traceparents(1, random_bytes)[0]

    def new_traceparents(self, count: int, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> list[str]:
        """Return `count` traceparents like `new_traceparent`, with one call for randomness: a batch has thousands."""
        material = random_bytes(24 * count).hex()
        ids = [(material[i : i + 32], material[i + 32 : i + 48]) for i in range(0, 48 * count, 48)]
        return [f"00-{trace_id}-{span_id}-{self._flag(trace_id)}" for trace_id, span_id in ids]

    def child_traceparent(self, parent: str, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
        """Return the traceparent of a new span in the parent's trace; a new root if `parent` is empty."""
        context = parse_traceparent(parent)
        if not context.is_valid:
            return self.new_traceparent(random_bytes)
        return f"00-{context.trace_id:032x}-{random_bytes(8).hex()}-{context.trace_flags:02x}"

    def emit_span(
        self,
        name: str,
        *,
        traceparent_of_span: str = "",
        parent_traceparent: str = "",
        start_ns: int,
        end_ns: int | None = None,
        attributes: Attributes | None = None,
        links: Sequence[Link] | Sequence[str] = (),
        kind: SpanKind = SpanKind.INTERNAL,
        error: str = "",
    ) -> str:
        """Write a finished span; return its traceparent.

        Args:
            traceparent_of_span: the identifiers the span must have; "" makes new ones (in the parent's trace).
            parent_traceparent: "" makes it a root span.
            start_ns, end_ns: nanoseconds since 1970; `end_ns` None means now.
            links: links, or traceparents to link to.
            error: a text here sets the span's status to ERROR.
        """
        parent = parse_traceparent(parent_traceparent)
        if traceparent_of_span:
            context = parse_traceparent(traceparent_of_span)
        elif parent.is_valid:
            context = SpanContext(parent.trace_id, secrets.randbits(64) or 1, True, parent.trace_flags)
        else:
            context = parse_traceparent(self.new_traceparent())
        own = traceparent_of_span or format_traceparent(context)
        if self._processor is None or not context.trace_flags & TraceFlags.SAMPLED:
            return own
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=context,
                parent=parent if parent.is_valid else None,
                resource=self._resource,
                attributes=dict(attributes) if attributes else {},
                links=[link for one in links for link in (links_to([one]) if isinstance(one, str) else [one])],
                kind=kind,
                status=Status(StatusCode.ERROR, error) if error else _UNSET,
                start_time=start_ns,
                end_time=end_ns or epoch_ns(),
                instrumentation_scope=SCOPE,
            )
        )
        return own

    @contextmanager
    def payment_span(
        self,
        name: str,
        traceparent: str,
        *,
        attributes: Attributes | None = None,
        links: Sequence[str] = (),
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Iterator[Span]:
        """Run a block as a step of the story whose context is `traceparent`; an exception marks the span ERROR."""
        with self.tracer.start_as_current_span(
            name,
            context=context_from_traceparent(traceparent),
            attributes=dict(attributes or {}),
            links=links_to(links),
            kind=kind,
            record_exception=False,  # An exception's text may hold an account number.
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except Exception as error:
                span.set_status(StatusCode.ERROR, type(error).__name__)
                raise

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what is still queued; return whether that was done in time. Blocks: from a loop use `to_thread`."""
        processor = self._processor
        return processor is None or _within(timeout_s, lambda: processor.force_flush(int(timeout_s * 1000)))

    def shutdown(self, timeout_s: float = 5.0) -> bool:
        """Send what is still queued and stop; return whether that was done in time (a collector may be away)."""
        processor = self._processor
        return processor is None or _within(timeout_s, processor.shutdown)


def _within(timeout_s: float, action: Callable[[], object]) -> bool:
    """Run a blocking action for at most `timeout_s`: the exporter itself retries for much longer."""
    thread = threading.Thread(target=action, name="telemetry-end", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return not thread.is_alive()


def configure_telemetry(service_name: str, settings: Settings) -> Telemetry:
    """Return the service's telemetry: OTLP over gRPC if OTEL_EXPORTER_OTLP_ENDPOINT is set, else off."""
    if not settings.tracing_enabled:
        return Telemetry.off(service_name)
    endpoint = settings.otlp_endpoint
    exporter = LeanOtlpExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
    return Telemetry(
        service_name,
        BatchSpanProcessor(
            exporter,
            max_queue_size=settings.otel_queue_size,
            schedule_delay_millis=settings.otel_batch_delay_ms,
            max_export_batch_size=settings.otel_batch_size,
        ),
        sampled_share=settings.sampled_share,
    )
