"""One story per payment; the defects met in other instrumentation (docs: traps 1 to 4) do not occur here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import text

from yinqi.kernel.clock import epoch_ns
from yinqi.runtime import attributes
from yinqi.runtime.coalescer import Coalescer
from yinqi.runtime.database import Database
from yinqi.runtime.lean_spans import encode
from yinqi.runtime.otlp_sink import OtlpSink
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry, configure_telemetry, current_traceparent, parse_traceparent

Serve = Callable[..., Awaitable["EchoHouse"]]  # noqa: F821 (a fixture of conftest.py)


class Recorder:
    """A telemetry whose spans stay in memory."""

    def __init__(self, name: str = "test") -> None:
        self.exporter = InMemorySpanExporter()
        self.telemetry = Telemetry(name, SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    async def wait_for(self, name: str) -> list[ReadableSpan]:
        """Return the spans of that name once there is one: a server ends its span just after its answer."""
        async with asyncio.timeout(5):
            while not self.named(name):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return self.named(name)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


ECHO = "yinqi.test.v1.EchoService/Echo"


async def test_client_and_server_spans_are_one_trace(serve_echo: Serve) -> None:
    server, client = Recorder("server"), Recorder("client")
    house = await serve_echo(telemetry=server.telemetry, client_telemetry=client.telemetry)
    await house.stub.Echo(StringValue(value="x"))
    (ours,), (theirs,) = client.named(ECHO), await server.wait_for(ECHO)
    assert theirs.context.trace_id == ours.context.trace_id
    assert theirs.parent.span_id == ours.context.span_id
    assert (ours.kind, theirs.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert theirs.attributes[attributes.RPC_STATUS] == 0
    assert theirs.status.status_code is StatusCode.UNSET


async def test_trap_2_a_crash_is_an_error_span_with_the_code_the_client_saw(serve_echo: Serve) -> None:
    server, client = Recorder("server"), Recorder("client")
    house = await serve_echo(telemetry=server.telemetry, client_telemetry=client.telemetry)
    with pytest.raises(grpc.aio.AioRpcError):
        await house.stub.Echo(StringValue(value="crash"))
    for span in (*await server.wait_for(ECHO), *client.named(ECHO)):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes[attributes.RPC_STATUS] == grpc.StatusCode.INTERNAL.value[0]
    (span,) = server.named(ECHO)
    assert not any(secret in span.to_json() for secret in ("6222020200112233445", "secret.key", "KeyError"))
    assert span.attributes[attributes.ERROR_REFERENCE]


async def test_a_callers_mistake_leaves_the_server_span_unset(serve_echo: Serve, recorder: Recorder) -> None:
    house = await serve_echo(telemetry=recorder.telemetry)
    with pytest.raises(grpc.aio.AioRpcError):
        await house.stub.Echo(StringValue(value="wrong"))
    (span,) = await recorder.wait_for(ECHO)
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes[attributes.RPC_STATUS] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert span.attributes[attributes.ERROR_REASON] == "AMOUNT_INVALID"


async def test_trap_3_both_streaming_styles_work_and_are_traced(serve_echo: Serve, recorder: Recorder) -> None:
    house = await serve_echo(telemetry=recorder.telemetry)
    assert len([m async for m in house.stub.Generate(StringValue(value="g"))]) == 3
    assert len([m async for m in house.stub.Write(StringValue(value="w"))]) == 3
    assert [m.value async for m in house.stub.Chat(iter([StringValue(value="a")]))] == ["A"]
    for method in ("Generate", "Write", "Chat"):
        (span,) = await recorder.wait_for(f"yinqi.test.v1.EchoService/{method}")
        assert span.attributes[attributes.RPC_STATUS] == 0


@pytest.mark.parametrize("method", ["Generate", "Write"])
async def test_trap_3_a_crash_in_the_middle_of_a_stream_is_an_error_span(
    serve_echo: Serve, recorder: Recorder, method: str
) -> None:
    house = await serve_echo(telemetry=recorder.telemetry)
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in getattr(house.stub, method)(StringValue(value="crash")):
            pass
    (span,) = await recorder.wait_for(f"yinqi.test.v1.EchoService/{method}")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes[attributes.RPC_STATUS] == grpc.StatusCode.INTERNAL.value[0]


async def test_trap_1_every_commit_has_one_span_below_its_caller(
    sqlite_url: str, open_database: Callable[..., Database], recorder: Recorder
) -> None:
    store = open_database(sqlite_url, telemetry=recorder.telemetry)
    with recorder.telemetry.payment_span("accept", recorder.telemetry.new_traceparent()) as span:
        await store.run(lambda connection: connection.execute(text("CREATE TABLE t (a INTEGER)")) and None)
    (commit,) = recorder.named("COMMIT test")
    assert commit.parent.span_id == span.get_span_context().span_id
    assert commit.attributes[attributes.DB_SYSTEM] == "sqlite"
    assert len(recorder.spans) == 2  # one per commit, not one per statement


async def test_trap_1_a_shared_commit_links_to_each_of_its_callers(
    sqlite_url: str, open_database: Callable[..., Database], recorder: Recorder
) -> None:
    store = open_database(sqlite_url, telemetry=recorder.telemetry)
    go = threading.Event()

    async def caller(number: int) -> int:
        with recorder.telemetry.payment_span(f"caller {number}", recorder.telemetry.new_traceparent()) as span:
            await store.run(lambda _connection: go.wait(5))
            return span.get_span_context().span_id

    callers = [asyncio.ensure_future(caller(number)) for number in range(3)]
    await asyncio.sleep(0.05)
    go.set()
    ids = await asyncio.gather(*callers)
    commits = recorder.named("COMMIT test")
    parents = {commit.parent.span_id for commit in commits if commit.parent}
    linked = {link.context.span_id for commit in commits for link in commit.links}
    assert parents | linked == set(ids)


async def test_trap_4_two_stores_of_one_process_are_both_traced(
    sqlite_url: str, postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    for url in (sqlite_url, postgresql_url):
        recorder = Recorder()
        store = open_database(url, telemetry=recorder.telemetry)
        with recorder.telemetry.payment_span("accept", recorder.telemetry.new_traceparent()):
            await store.run(lambda _connection: None)
        assert len(recorder.named("COMMIT test")) == 1


async def test_coalesced_calls_keep_to_their_own_traces(recorder: Recorder) -> None:
    seen: list[str] = []

    async def handle(items: list[int]) -> list[int]:
        seen.append(current_traceparent())
        return items

    coalescer: Coalescer[int, int] = Coalescer(handle, batch_max=10)

    async def caller(number: int) -> str:
        with recorder.telemetry.payment_span("call", recorder.telemetry.new_traceparent()):
            await coalescer.submit(number)
            return current_traceparent()

    alone = await caller(0)
    assert seen == [alone]  # a batch of one belongs to its caller
    await asyncio.gather(caller(1), caller(2))
    assert seen[1:] == [""]  # a batch of two belongs to neither


async def test_a_root_span_can_be_written_later_under_identifiers_fixed_earlier(
    settings: Settings, otlp_sink: OtlpSink
) -> None:
    """1,000 payments: acceptance only stores a trace context, workers write the spans; all stories are whole."""
    payment = configure_telemetry("payment", settings.model_copy(update={"otlp_endpoint": otlp_sink.endpoint}))
    gateway = configure_telemetry("gateway", settings.model_copy(update={"otlp_endpoint": otlp_sink.endpoint}))
    stored = [payment.new_traceparent() for _ in range(1000)]
    started_ns = epoch_ns()
    for traceparent in stored:
        with gateway.payment_span("send", traceparent, attributes={attributes.BANK: "CDC"}):
            pass
        payment.emit_span("payment", traceparent_of_span=traceparent, start_ns=started_ns)
    batch = payment.emit_span("dispatch batch", start_ns=started_ns, links=stored[:100])
    await asyncio.to_thread(payment.shutdown)
    await asyncio.to_thread(gateway.shutdown)
    result = otlp_sink.analyse()
    trace_ids = [f"{parse_traceparent(one).trace_id:032x}" for one in stored]
    assert result.connected_of(trace_ids) == 1000
    assert (result.orphans, result.broken_links, result.spans) == (0, 0, 2001)
    assert result.traces[trace_ids[0]].services == {"payment", "gateway"}
    assert result.traces[trace_ids[0]].linked == {f"{parse_traceparent(batch).trace_id:032x}"}


async def test_all_kinds_of_facts_survive_the_way_to_the_collector(settings: Settings) -> None:
    """Our encoder against the SDK's own, field by field."""
    recorder = Recorder("payment")
    telemetry = recorder.telemetry
    root = telemetry.new_traceparent()
    with telemetry.payment_span(
        "step", root, attributes={"a": "文", "b": 1, "c": 1.5, "d": True}, links=[root]
    ) as span:
        span.add_event("sent", {"n": 1})
        span.set_status(StatusCode.ERROR, "why")
    telemetry.emit_span("later", parent_traceparent=root, start_ns=1, end_ns=2, kind=SpanKind.CLIENT, error="no answer")
    telemetry.emit_span("root", traceparent_of_span=root, start_ns=1, end_ns=2)
    ours, theirs = encode(recorder.spans), encode_spans(recorder.spans)
    for message in (ours, theirs):
        for one in message.resource_spans[0].scope_spans[0].spans:
            one.ClearField("trace_state")
            for link in one.links:
                link.ClearField("trace_state")
            if not one.status.code:
                one.ClearField("status")
    assert ours == theirs


async def test_an_orphan_is_found(settings: Settings, otlp_sink: OtlpSink) -> None:
    telemetry = configure_telemetry("payment", settings.model_copy(update={"otlp_endpoint": otlp_sink.endpoint}))
    with telemetry.payment_span("send", telemetry.new_traceparent()):
        pass  # and nobody ever writes the root
    await asyncio.to_thread(telemetry.shutdown)
    result = otlp_sink.analyse()
    assert (result.orphans, result.connected) == (1, 0)
    assert next(iter(result.traces.values())).orphans == ("payment: send",)


async def test_a_long_stream_is_a_story_of_its_own(serve_echo: Serve) -> None:
    server, client = Recorder("server"), Recorder("client")
    house = await serve_echo(telemetry=server.telemetry, client_telemetry=client.telemetry)
    with client.telemetry.payment_span("follower", client.telemetry.new_traceparent()):
        assert len([m async for m in house.stub.Generate(StringValue(value="g"))]) == 3
    (span,) = await server.wait_for("yinqi.test.v1.EchoService/Generate")
    assert span.parent is None


def test_with_tracing_off_nothing_is_recorded_and_everything_works() -> None:
    telemetry = Telemetry.off()
    traceparent = telemetry.new_traceparent()
    assert traceparent.endswith("-00")
    with telemetry.payment_span("step", traceparent):
        assert telemetry.emit_span("payment", traceparent_of_span=traceparent, start_ns=1) == traceparent
    on = Recorder()
    with on.telemetry.payment_span("step", traceparent):  # accepted with tracing off: never a half story
        pass
    assert on.spans == []


def test_ids_come_from_the_source_of_randomness_one_passes() -> None:
    assert Recorder().telemetry.new_traceparent(lambda n: b"\x11" * n) == f"00-{'11' * 16}-{'11' * 8}-01"


@pytest.mark.parametrize(
    "text_", ["", "junk", "00-0-0-01", f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01"]
)
def test_a_malformed_traceparent_starts_a_new_story(text_: str) -> None:
    assert not parse_traceparent(text_).is_valid
    recorder = Recorder()
    with recorder.telemetry.payment_span("step", text_):
        pass
    assert recorder.spans[0].parent is None
