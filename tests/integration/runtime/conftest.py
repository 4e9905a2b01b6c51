"""A small echo service, without generated code, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.grpc_server import GrpcServer
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry

SERVICE = "yinqi.test.v1.EchoService"


class EchoServicer:
    """Echoes; certain texts make it fail in certain ways."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.calls = 0
        self.flood = 1_000
        self.flooded = 0

    async def Echo(self, request: StringValue, context: Any) -> StringValue:
        self.calls += 1
        match request.value:
            case "crash":
                raise KeyError("6222020200112233445 张三 /srv/yinqi/secret.key")
            case "wrong":
                raise InvalidRequest(
                    "AMOUNT_INVALID",
                    "The amount is wrong.",
                    "金额有误。",
                    violations=[
                        FieldViolation("amount", "TOO_MANY_DECIMALS", "CNY has 2 decimals", "人民币有两位小数")
                    ],
                    metadata={"limit": "2"},
                )
            case "abort":
                await context.abort(grpc.StatusCode.ABORTED, "by hand")
            case "wait":
                self.entered.set()
                try:
                    await self.go_on.wait()
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
        return request

    async def Generate(self, request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        for number in range(3):
            yield StringValue(value=f"{request.value}{number}")
        if request.value == "crash":
            raise KeyError("6222020200112233445")
        if request.value == "follow":
            self.entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()

    async def Flood(self, request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        for self.flooded in range(1, self.flood + 1):  # noqa: B020
            yield request

    async def Write(self, request: StringValue, context: Any) -> None:
        for number in range(3):
            await context.write(StringValue(value=f"{request.value}{number}"))
        if request.value == "crash":
            raise KeyError("6222020200112233445")

    async def Chat(self, requests: AsyncIterator[StringValue], context: Any) -> None:
        """The read/write style, in which request iteration broke under other interceptors."""
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(StringValue(value=request.value.upper()))

    async def Collect(self, requests: AsyncIterator[StringValue], _context: Any) -> StringValue:
        return StringValue(value=",".join([request.value async for request in requests]))


def add_echo(servicer: EchoServicer, server: Any) -> None:
    """Do what a generated add-function does."""
    io = (StringValue.FromString, StringValue.SerializeToString)
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(servicer.Echo, *io),
        "Generate": grpc.unary_stream_rpc_method_handler(servicer.Generate, *io),
        "Flood": grpc.unary_stream_rpc_method_handler(servicer.Flood, *io),
        "Write": grpc.unary_stream_rpc_method_handler(servicer.Write, *io),
        "Chat": grpc.stream_stream_rpc_method_handler(servicer.Chat, *io),
        "Collect": grpc.stream_unary_rpc_method_handler(servicer.Collect, *io),
    }
    server.add_registered_method_handlers(SERVICE, handlers)


class EchoStub:
    """Does what a generated stub does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        io = (StringValue.SerializeToString, StringValue.FromString)
        self.Echo = channel.unary_unary(f"/{SERVICE}/Echo", *io)
        self.Generate = channel.unary_stream(f"/{SERVICE}/Generate", *io)
        self.Flood = channel.unary_stream(f"/{SERVICE}/Flood", *io)
        self.Write = channel.unary_stream(f"/{SERVICE}/Write", *io)
        self.Chat = channel.stream_stream(f"/{SERVICE}/Chat", *io)
        self.Collect = channel.stream_unary(f"/{SERVICE}/Collect", *io)
        self.EchoBytes = channel.unary_unary(f"/{SERVICE}/Echo")  # whatever bytes one gives it


class EchoHouse:
    """A served echo servicer and a stub to call it."""

    def __init__(self, servicer: EchoServicer, server: GrpcServer, channel: grpc.aio.Channel) -> None:
        self.servicer = servicer
        self.server = server
        self.channel = channel
        self.stub = EchoStub(channel)


@pytest.fixture
async def serve_echo(settings: Settings) -> AsyncIterator[Callable[..., Awaitable[EchoHouse]]]:
    """A function that serves an echo service: `await serve_echo(telemetry=…, client_telemetry=…, **settings)`."""
    opened: list[EchoHouse] = []

    async def serve(
        telemetry: Telemetry | None = None,
        client_telemetry: Telemetry | None = None,
        access: Callable[[str], frozenset[str] | None] = lambda _method: None,
        caller: tuple[str, str] = ("tester", "maker"),
        calls_max: Mapping[str, int] = MappingProxyType({}),
        **changes: Any,
    ) -> EchoHouse:
        own = settings.model_copy(update=changes)
        servicer = EchoServicer()
        server = GrpcServer(
            "echo",
            "127.0.0.1:0",
            [(add_echo, servicer)],
            settings=own,
            telemetry=telemetry or Telemetry.off(),
            access=access,
            calls_max=calls_max,
        )
        await server.start()
        channel = open_channel(
            f"127.0.0.1:{server.port}",
            service_name=caller[0],
            roles=caller[1],
            settings=settings,
            telemetry=client_telemetry,
        )
        house = EchoHouse(servicer, server, channel)
        opened.append(house)
        return house

    yield serve
    for house in opened:
        house.servicer.go_on.set()
        await house.channel.close()
        await house.server.drain(0.5)
