"""An OTLP trace receiver that counts: are a payment's spans one connected story, and is any span an orphan?

Used by the tests and by the demo. It keeps six small values per span, so it takes many tens of thousands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

_MESSAGE_BYTES_MAX = 64 * 1024 * 1024
_STATUS_ERROR = 2  # opentelemetry.proto.trace.v1.Status.STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """What is kept of a span. Ids are bytes (16 and 8); `parent_id` is empty for a root span."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    service: str
    links: tuple[tuple[bytes, bytes], ...]
    attributes: Mapping[str, str]
    is_error: bool
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class TraceStory:
    """One trace: how many roots and orphans, which services, which other traces it is linked with.

    Attributes:
        connected: exactly one root and no orphan: every span hangs together by parents.
        linked: other traces that link to this one or that it links to.
    """

    trace_id: str
    spans: int
    roots: tuple[str, ...]
    orphans: tuple[str, ...]
    services: frozenset[str]
    linked: frozenset[str]
    names: frozenset[str]

    @property
    def connected(self) -> bool:
        return len(self.roots) == 1 and not self.orphans


@dataclass(frozen=True)
class Analysis:
    """All traces of a run.

    Attributes:
        orphans: spans whose parent never arrived.
        broken_links: links to a span that never arrived.
    """

    traces: Mapping[str, TraceStory]
    spans: int
    orphans: int
    broken_links: int
    errors: int
    span_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def connected(self) -> int:
        """How many traces are connected."""
        return sum(story.connected for story in self.traces.values())

    def connected_of(self, trace_ids: Iterable[str]) -> int:
        """Return how many of these traces (hex ids) arrived and are connected."""
        return sum(1 for one in trace_ids if one in self.traces and self.traces[one].connected)


class OtlpSink(trace_service_pb2_grpc.TraceServiceServicer):
    """Receives spans over OTLP/gRPC and keeps them.

    Args:
        kept_attributes: names of the attributes to keep of each span; others are dropped.
    """

    def __init__(self, kept_attributes: Iterable[str] = ()) -> None:
        self.spans: list[StoredSpan] = []
        self.endpoint = ""
        self._kept = frozenset(kept_attributes)
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str = "127.0.0.1:0") -> str:
        """Listen; return the endpoint for OTEL_EXPORTER_OTLP_ENDPOINT."""
        self._server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX)]
        )
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        port = self._server.add_insecure_port(address)
        await self._server.start()
        self.endpoint = f"http://{address.rpartition(':')[0]}:{port}"
        return self.endpoint

    async def stop(self) -> None:
        """Stop listening; the spans stay."""
        if self._server is not None:
            await self._server.stop(1.0)

    async def Export(self, request: Any, context: Any) -> Any:
        self.add(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def add(self, request: Any) -> None:
        """Keep the spans of one export request."""
        for of_resource in request.resource_spans:
            service = next(
                (a.value.string_value for a in of_resource.resource.attributes if a.key == "service.name"), ""
            )
            for of_scope in of_resource.scope_spans:
                self.spans.extend(self._stored(span, service) for span in of_scope.spans)

    def _stored(self, span: Any, service: str) -> StoredSpan:
        return StoredSpan(
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            span.name,
            service,
            tuple((link.trace_id, link.span_id) for link in span.links),
            {a.key: _text(a.value) for a in span.attributes if a.key in self._kept} if self._kept else {},
            span.status.code == _STATUS_ERROR,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
        )

    def analyse(self) -> Analysis:
        """Return the stories of all spans received so far."""
        return analyse(self.spans)


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    return str(getattr(value, kind)) if kind else ""


def analyse(spans: Iterable[StoredSpan]) -> Analysis:
    """Group spans into traces and find what does not hang together. Order of arrival does not matter."""
    by_trace: dict[bytes, list[StoredSpan]] = defaultdict(list)
    # A sender that had no answer sends again, and so does a worker after a crash: the same span counts once.
    for span in {(span.trace_id, span.span_id): span for span in spans}.values():
        by_trace[span.trace_id].append(span)
    known = {(span.trace_id, span.span_id) for of_trace in by_trace.values() for span in of_trace}
    linked: dict[bytes, set[str]] = defaultdict(set)
    broken_links = 0
    counts: dict[str, int] = defaultdict(int)
    for trace_id, of_trace in by_trace.items():
        for span in of_trace:
            counts[f"{span.service}: {span.name}"] += 1
            for target in span.links:
                broken_links += target not in known
                if target[0] != trace_id:
                    linked[trace_id].add(target[0].hex())
                    linked[target[0]].add(trace_id.hex())
    traces = {
        trace_id.hex(): _story(trace_id, of_trace, known, frozenset(linked[trace_id]))
        for trace_id, of_trace in by_trace.items()
    }
    return Analysis(
        traces=traces,
        spans=sum(len(of_trace) for of_trace in by_trace.values()),
        orphans=sum(len(story.orphans) for story in traces.values()),
        broken_links=broken_links,
        errors=sum(span.is_error for of_trace in by_trace.values() for span in of_trace),
        span_counts=dict(counts),
    )


def _story(
    trace_id: bytes, spans: list[StoredSpan], known: set[tuple[bytes, bytes]], linked: frozenset[str]
) -> TraceStory:
    return TraceStory(
        trace_id=trace_id.hex(),
        spans=len(spans),
        roots=tuple(span.name for span in spans if not span.parent_id),
        orphans=tuple(
            f"{span.service}: {span.name}"
            for span in spans
            if span.parent_id and (trace_id, span.parent_id) not in known
        ),
        services=frozenset(span.service for span in spans),
        linked=linked,
        names=frozenset(span.name for span in spans),
    )
