"""What every caller may rely on, whatever the service: errors, limits, identity, an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
import pytest
import structlog
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from yinqi.runtime.errors import error_reason, typed_error
from yinqi.runtime.grpc_server import GrpcServer
from yinqi.runtime.listening import PortInUse
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry

Serve = Callable[..., Awaitable["EchoHouse"]]  # noqa: F821 (a fixture of conftest.py)
CODE = grpc.StatusCode


async def failing(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def test_a_unary_call_is_answered(serve_echo: Serve) -> None:
    house = await serve_echo()
    assert (await house.stub.Echo(StringValue(value="银企"))).value == "银企"


async def test_a_typed_error_arrives_with_reason_fields_and_chinese(serve_echo: Serve) -> None:
    house = await serve_echo()
    error = await failing(house.stub.Echo(StringValue(value="wrong")))
    found = error_reason(error)
    assert (found.code, found.reason, found.message) == (
        CODE.INVALID_ARGUMENT,
        "AMOUNT_INVALID",
        "The amount is wrong.",
    )
    assert found.message_zh == "金额有误。"
    assert found.metadata == {"limit": "2"}
    assert [(v.field, v.reason, v.description_zh) for v in found.violations] == [
        ("amount", "TOO_MANY_DECIMALS", "人民币有两位小数")
    ]
    again = typed_error(error)
    assert type(again).__name__ == "InvalidRequest"
    assert again.reason == "AMOUNT_INVALID"


@pytest.mark.parametrize("method", ["Echo", "Generate", "Write"])
async def test_trap_5_an_unforeseen_error_shows_a_reference_and_nothing_internal(
    serve_echo: Serve, method: str
) -> None:
    house = await serve_echo()
    with structlog.testing.capture_logs() as logs:
        call = getattr(house.stub, method)(StringValue(value="crash"))
        error = await failing(call if method == "Echo" else _drained(call))
    assert error.code() is CODE.INTERNAL
    shown = f"{error.details()} {error.trailing_metadata()}"
    assert not any(secret in shown for secret in ("6222", "张三", "secret.key", "KeyError", "Traceback"))
    reference = error_reason(error).metadata["reference"]
    assert error.details() == f"internal error, reference {reference}"
    assert [log["reference"] for log in logs if "exc_info" in log] == [reference]  # inside, everything is kept


async def _drained(call: object) -> None:
    async for _ in call:  # type: ignore[attr-defined]
        pass


@pytest.mark.parametrize("junk", [b"\xff" * 20, b"\x0a\xff", b"\x0a\x02\xc3\x28"])
async def test_trap_6_an_unparsable_request_is_an_invalid_argument(serve_echo: Serve, junk: bytes) -> None:
    house = await serve_echo()
    error = await failing(house.stub.EchoBytes(junk))
    assert (error.code(), error_reason(error).reason) == (CODE.INVALID_ARGUMENT, "REQUEST_UNPARSABLE")
    assert house.servicer.calls == 0


async def test_an_over_long_message_is_refused_with_the_limit_and_the_server_goes_on(serve_echo: Serve) -> None:
    house = await serve_echo(message_bytes_max=1024 * 1024)
    error = await failing(house.stub.Echo(StringValue(value="x" * 3 * 1024 * 1024)))
    assert error.code() is CODE.RESOURCE_EXHAUSTED
    assert "1048576" in (error.details() or "")
    assert (await house.stub.Echo(StringValue(value="ok"))).value == "ok"


async def test_too_many_calls_at_once_are_told_when_to_come_back(serve_echo: Serve) -> None:
    house = await serve_echo(in_flight_max=1)
    first = asyncio.ensure_future(_call(house))
    await house.servicer.entered.wait()
    error = await failing(house.stub.Echo(StringValue(value="second")))
    assert (error.code(), error_reason(error).reason) == (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    status = rpc_status.from_call(error)
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
    house.servicer.go_on.set()
    assert await first == "wait"


async def test_a_method_with_a_bound_of_its_own_leaves_room_for_the_others(serve_echo: Serve) -> None:
    house = await serve_echo(calls_max={"Echo": 1})
    first = asyncio.ensure_future(_call(house))
    await house.servicer.entered.wait()
    error = await failing(house.stub.Echo(StringValue(value="second")))
    assert (error.code(), error_reason(error).reason) == (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    assert (await house.stub.Collect(iter([StringValue(value="other")]))).value == "other"
    house.servicer.go_on.set()
    await first
    assert await _call(house, "again") == "again"


async def test_a_full_server_still_says_that_it_is_healthy(serve_echo: Serve) -> None:
    house = await serve_echo(in_flight_max=1)
    first = asyncio.ensure_future(_call(house))
    await house.servicer.entered.wait()
    answer = await health_pb2_grpc.HealthStub(house.channel).Check(health_pb2.HealthCheckRequest(service="echo"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    house.servicer.go_on.set()
    await first


async def test_more_streams_than_allowed_are_refused_and_the_place_of_one_that_ended_is_free(serve_echo: Serve) -> None:
    house = await serve_echo(streams_max=1)
    stream = house.stub.Generate(StringValue(value="follow"))
    await stream.read()
    error = await failing(house.stub.Generate(StringValue(value="g")).read())
    assert (error.code(), error_reason(error).reason) == (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    stream.cancel()
    await asyncio.wait_for(house.servicer.cancelled.wait(), 10)
    assert [m.value async for m in house.stub.Generate(StringValue(value="g"))] == ["g0", "g1", "g2"]


async def test_a_caller_that_goes_away_or_stops_waiting_ends_its_handler(serve_echo: Serve) -> None:
    house = await serve_echo()
    gone = asyncio.ensure_future(_call(house))
    await house.servicer.entered.wait()
    gone.cancel()
    await asyncio.wait_for(house.servicer.cancelled.wait(), 10)
    house.servicer.cancelled.clear()
    await failing(house.stub.Echo(StringValue(value="wait"), timeout=0.1))
    await asyncio.wait_for(house.servicer.cancelled.wait(), 10)


async def test_a_slow_reader_makes_the_handler_wait_and_gets_everything(serve_echo: Serve) -> None:
    house = await serve_echo()
    stream = house.stub.Flood(StringValue(value="x" * 100_000))
    assert len((await stream.read()).value) == 100_000
    async with asyncio.timeout(30):
        before = -1
        while before != (before := house.servicer.flooded):  # noqa: ASYNC110 (it shows by standing still)
            await asyncio.sleep(0.2)
    assert house.servicer.flooded < house.servicer.flood
    assert 1 + len([m async for m in stream]) == house.servicer.flood


async def test_a_compressed_request_is_refused_with_a_word_on_what_is_taken(serve_echo: Serve) -> None:
    house = await serve_echo()
    error = await failing(house.stub.Echo(StringValue(value="x" * 1000), compression=grpc.Compression.Gzip))
    assert error.code() is CODE.UNIMPLEMENTED
    assert (await _call(house, "plain")) == "plain"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 3 + b"\x00\x40\x00\x01\x05",
        b"",
    ],
    ids=["http-1", "junk", "cut in a frame", "nothing"],
)
async def test_what_is_no_grpc_ends_its_own_connection_only(serve_echo: Serve, sent: bytes) -> None:
    house = await serve_echo()
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    async with asyncio.timeout(20):
        with suppress(OSError):  # the server may be the first to hang up
            writer.write(sent)
            writer.write_eof()
            await reader.read()
    writer.close()
    assert await _call(house, "on") == "on"


async def test_an_unknown_method_is_unimplemented(serve_echo: Serve) -> None:
    house = await serve_echo()
    error = await failing(house.channel.unary_unary("/yinqi.test.v1.EchoService/Nothing")(b""))
    assert error.code() is CODE.UNIMPLEMENTED
    assert "Nothing" in (error.details() or "")


async def test_a_long_request_stream_arrives_in_order(serve_echo: Serve) -> None:
    house = await serve_echo()
    numbers = [str(number) for number in range(2_000)]
    answer = await house.stub.Collect(StringValue(value=number) for number in numbers)
    assert answer.value == ",".join(numbers)


async def _call(house: object, value: str = "wait") -> str:
    return str((await house.stub.Echo(StringValue(value=value))).value)  # type: ignore[attr-defined]


async def test_a_call_without_deadline_gets_one(serve_echo: Serve) -> None:
    house = await serve_echo(deadline_default_s=0.1)
    bare = grpc.aio.insecure_channel(f"127.0.0.1:{house.server.port}")
    echo = bare.unary_unary("/yinqi.test.v1.EchoService/Echo", StringValue.SerializeToString, StringValue.FromString)
    error = await failing(echo(StringValue(value="wait")))
    await bare.close()
    assert error.code() is CODE.DEADLINE_EXCEEDED
    assert "same key" in (error.details() or "")


async def test_the_callers_own_deadline_is_kept(serve_echo: Serve) -> None:
    house = await serve_echo()
    error = await failing(house.stub.Echo(StringValue(value="wait"), timeout=0.1))
    assert error.code() is CODE.DEADLINE_EXCEEDED


async def test_our_clients_never_wait_for_ever(settings: Settings, serve_echo: Serve) -> None:
    house = await serve_echo()
    from yinqi.runtime.grpc_client import open_channel

    quick = settings.model_copy(update={"call_timeout_s": 0.1})
    channel = open_channel(f"127.0.0.1:{house.server.port}", service_name="payment", settings=quick)
    echo = channel.unary_unary("/yinqi.test.v1.EchoService/Echo", StringValue.SerializeToString, StringValue.FromString)
    assert (await failing(echo(StringValue(value="wait")))).code() is CODE.DEADLINE_EXCEEDED
    await channel.close()


async def test_a_missing_role_is_named(serve_echo: Serve) -> None:
    house = await serve_echo(access=lambda _method: frozenset({"checker"}))
    error = await failing(house.stub.Echo(StringValue(value="x")))
    found = error_reason(error)
    assert (found.code, found.reason) == (CODE.PERMISSION_DENIED, "ROLE_MISSING")
    assert "checker" in found.message
    assert house.servicer.calls == 0


async def test_an_rpc_that_names_no_roles_is_closed_to_all_with_an_identity(serve_echo: Serve) -> None:
    house = await serve_echo(access=lambda _method: frozenset())
    assert (await failing(house.stub.Echo(StringValue(value="x")))).code() is CODE.PERMISSION_DENIED


async def test_the_right_role_may_call(serve_echo: Serve) -> None:
    house = await serve_echo(access=lambda _method: frozenset({"maker", "service/payment"}))
    assert await _call(house, "x") == "x"


async def test_without_dev_identity_nobody_may_claim_to_be_somebody(serve_echo: Serve) -> None:
    house = await serve_echo(dev_identity_enabled=False)
    assert (await failing(house.stub.Echo(StringValue(value="x")))).code() is CODE.UNAUTHENTICATED


async def test_both_streaming_styles_and_client_streams_work(serve_echo: Serve) -> None:
    house = await serve_echo()
    assert [m.value async for m in house.stub.Generate(StringValue(value="g"))] == ["g0", "g1", "g2"]
    assert [m.value async for m in house.stub.Write(StringValue(value="w"))] == ["w0", "w1", "w2"]
    two = [StringValue(value="a"), StringValue(value="b")]
    assert [m.value async for m in house.stub.Chat(iter(two))] == ["A", "B"]
    assert (await house.stub.Collect(iter(two))).value == "a,b"


async def test_a_handlers_own_abort_is_kept(serve_echo: Serve) -> None:
    house = await serve_echo()
    error = await failing(house.stub.Echo(StringValue(value="abort")))
    assert (error.code(), error.details()) == (CODE.ABORTED, "by hand")


async def test_draining_finishes_calls_ends_streams_and_says_so(serve_echo: Serve) -> None:
    house = await serve_echo()
    call = asyncio.ensure_future(_call(house))
    await house.servicer.entered.wait()
    house.servicer.entered.clear()
    stream = house.stub.Generate(StringValue(value="follow"))
    for _ in range(3):
        await stream.read()
    await house.servicer.entered.wait()
    draining = asyncio.ensure_future(house.server.drain(5.0))
    error = await failing(stream.read())
    assert (error.code(), error_reason(error).reason) == (CODE.UNAVAILABLE, "DRAINING")
    assert not call.done()
    house.servicer.go_on.set()
    assert await call == "wait"
    await asyncio.wait_for(draining, 3)


async def test_draining_under_load_loses_no_call_that_was_begun(serve_echo: Serve) -> None:
    house = await serve_echo()
    outcomes: list[str] = []

    async def caller() -> None:
        while True:
            try:
                outcomes.append((await house.stub.Echo(StringValue(value="x"), wait_for_ready=False)).value)
            except grpc.aio.AioRpcError as error:
                outcomes.append(error.code().name)
                return

    callers = [asyncio.ensure_future(caller()) for _ in range(8)]
    await asyncio.sleep(0.2)
    await house.server.drain(5.0)
    async with asyncio.timeout(10):  # nobody is left without an answer, those who came after the end included
        await asyncio.gather(*callers)
    answered = outcomes.count("x")
    assert answered == house.servicer.calls  # every call that reached the handler was answered
    assert set(outcomes) <= {"x", "UNAVAILABLE"}


async def test_a_call_that_outlives_the_grace_is_told_so(serve_echo: Serve) -> None:
    house = await serve_echo()
    call = asyncio.ensure_future(_call(house))
    await house.servicer.entered.wait()
    await house.server.drain(0.1)
    error = await failing(call)
    assert (error.code(), error_reason(error).reason) == (CODE.UNAVAILABLE, "STOPPED")


async def test_health_watchers_do_not_hold_up_the_end(serve_echo: Serve) -> None:
    house = await serve_echo()
    watch = health_pb2_grpc.HealthStub(house.channel).Watch(health_pb2.HealthCheckRequest(service="echo"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    async with asyncio.timeout(10):
        await house.server.drain(600.0)


async def test_health_says_serving_then_not_serving_while_draining(serve_echo: Serve) -> None:
    house = await serve_echo()
    stub = health_pb2_grpc.HealthStub(house.channel)
    for name in ("", "echo", "yinqi.test.v1.EchoService"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    waiting = asyncio.ensure_future(_call(house))
    await house.servicer.entered.wait()
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="echo"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    draining = asyncio.ensure_future(house.server.drain(5.0))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    house.servicer.go_on.set()
    await waiting
    await draining


async def test_reflection_lists_the_services(serve_echo: Serve) -> None:
    house = await serve_echo()
    stub = reflection_pb2_grpc.ServerReflectionStub(house.channel)
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = await anext(aiter(stub.ServerReflectionInfo(iter([ask]))))
    assert "grpc.health.v1.Health" in {service.name for service in answer.list_services_response.service}


async def test_a_port_in_use_is_named_with_its_holder_and_the_way_out(serve_echo: Serve, settings: Settings) -> None:
    house = await serve_echo()
    second = GrpcServer("payment", f"127.0.0.1:{house.server.port}", [], settings=settings, telemetry=Telemetry.off())
    with pytest.raises(PortInUse) as refused:
        await second.start()
    for word in ("payment", str(house.server.port), "pid", "YINQI_PAYMENT_PORT"):
        assert word in refused.value.message
