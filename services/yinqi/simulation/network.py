"""Calls between the services without sockets: real stubs and real servicers, and a network that may do anything."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from grpc.aio import AioRpcError, Metadata

from yinqi.kernel.errors import YinqiError
from yinqi.runtime.errors import internal_status, status_of
from yinqi.runtime.identity import Principal, set_current_principal
from yinqi.simulation.loop import OWNER, Owner, Task, spawn

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_CALL_TIMEOUT_S = 10.0  # what `runtime.settings` gives a call that names none
_RECONNECT_S = 0.5
_SECOND_DELIVERY_S = 20.0  # a duplicate comes at most so much later
_STATUS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class MessageFault:
    """What happens to the next message of a link.

    Attributes:
        kind: lose_request, lose_answer, break_answer, delay, duplicate, or (to the bank only) forge.
        seconds: of a delay.
    """

    kind: str
    seconds: float = 0.0


NO_FAULT = MessageFault("")


@dataclass(slots=True)
class Link:
    """One direction of calls, e.g. "payment>gateway"; its latencies are drawn from a stream of its own."""

    name: str
    chance: random.Random
    tally: Counter[str]
    faults: deque[MessageFault] = field(default_factory=deque)
    cut_until: float = 0.0

    def latency_s(self) -> float:
        """Return how long one leg takes: mostly a few milliseconds, seldom seconds."""
        drawn = self.chance.random()
        return 0.001 + 0.02 * drawn if drawn < 0.95 else 3.0 * (drawn - 0.95) / 0.05

    def take_fault(self) -> MessageFault:
        """Return what happens to this message."""
        if not self.faults:
            return NO_FAULT
        fault = self.faults.popleft()
        self.tally[f"network: {fault.kind.replace('_', ' ')}"] += 1
        return fault


Tell = Callable[..., None]


class Server(Protocol):
    """A process that serves calls."""

    owner: Owner | None
    handlers: Mapping[str, Any]


class Network:
    """All links and all servers.

    Args:
        tally: counts the faults that struck.
    """

    def __init__(self, seed: str, tell: Tell, tally: Counter[str]) -> None:
        self._seed = seed
        self._links: dict[str, Link] = {}
        self._servers: dict[str, Server] = {}
        self.tell = tell
        self.tally = tally

    def link(self, name: str) -> Link:
        """Return the link of that name."""
        if name not in self._links:
            chance = random.Random(f"{self._seed}/{name}")  # noqa: S311 (chance, not secrecy)
            self._links[name] = Link(name, chance, self.tally)
        return self._links[name]

    def heal(self) -> None:
        """End all cuts and forget the faults that have not struck."""
        for link in self._links.values():
            link.cut_until = 0.0
            link.faults.clear()

    def serve(self, name: str, server: Server) -> None:
        """Make a process reachable by its name."""
        self._servers[name] = server

    def living(self, name: str) -> Owner | None:
        """Return the process behind a name, if it runs."""
        owner = self._servers[name].owner
        return owner if owner is not None and owner.is_alive else None

    def handler(self, name: str, method: str) -> Any:
        """Return the handler of a method."""
        return self._servers[name].handlers[method]

    def channel(self, source: str, target: str) -> Channel:
        """Return what a stub takes for a channel."""
        return Channel(self, source, target)


class Channel:
    """Implements what generated stubs and our clients use of `grpc.aio.Channel`."""

    def __init__(self, network: Network, source: str, target: str) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._link = network.link(f"{source}>{target}")

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY if self._is_reachable() else grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def unary_unary(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        def call(request: Any, timeout: float | None = None, wait_for_ready: bool | None = None) -> Awaitable[Any]:
            return self._call(
                method,
                request_serializer(request),
                response_deserializer,
                _CALL_TIMEOUT_S if timeout is None else timeout,
                wait_for_ready is not False,
            )

        return call

    def unary_stream(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        def call(request: Any) -> AsyncIterator[Any]:
            return self._stream(method, request_serializer(request), response_deserializer)

        return call

    # --- unary calls ---

    def _is_reachable(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._network.living(self._target) is not None and now >= self._link.cut_until

    async def _call(
        self, method: str, request: bytes, read: Callable[[bytes], Any], timeout_s: float, waits: bool
    ) -> Any:
        _stay_alive()
        served: list[Task] = []
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._exchange(method, request, waits, served)
        except TimeoutError:
            raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
        finally:
            for task in served:  # a server hears that its caller went away
                task.cancel()
        return read(answer)

    async def _exchange(self, method: str, request: bytes, waits: bool, served: list[Task]) -> bytes:
        while not self._is_reachable():
            if not waits:
                raise _error(grpc.StatusCode.UNAVAILABLE, "failed to connect")
            await asyncio.sleep(_RECONNECT_S)
        fault = self._link.take_fault()
        name = method.rpartition("/")[2]
        if fault.kind:
            self._network.tell("network", "{} {}: {}", self._link.name, name, _words(fault))
        await asyncio.sleep(self._link.latency_s() + (fault.seconds if fault.kind == "delay" else 0.0))
        owner = self._network.living(self._target)
        if owner is None or asyncio.get_running_loop().time() < self._link.cut_until:
            raise _error(grpc.StatusCode.UNAVAILABLE, "connection reset")
        if fault.kind == "lose_request":
            await _for_ever()
        task = spawn(owner, self._serve(method, request))
        served.append(task)
        if fault.kind == "duplicate":
            spawn(owner, self._serve_later(method, request, self._link.chance.uniform(0.0, _SECOND_DELIVERY_S)))
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            if owner.is_alive or not task.cancelled():
                raise
            raise _error(grpc.StatusCode.UNAVAILABLE, "the server went away") from None
        if fault.kind == "lose_answer":
            await _for_ever()
        await asyncio.sleep(self._link.latency_s())
        if fault.kind == "break_answer" or asyncio.get_running_loop().time() < self._link.cut_until:
            raise _error(grpc.StatusCode.UNAVAILABLE, "connection reset")
        if isinstance(answer, AioRpcError):
            raise answer
        return bytes(answer)

    async def _serve_later(self, method: str, request: bytes, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._serve(method, request)

    async def _serve(self, method: str, request: bytes) -> bytes | AioRpcError:
        """Do what `runtime.interceptors` does around a handler; runs as the server."""
        handler = self._network.handler(self._target, method)
        set_current_principal(Principal(self._source, all_roles=True))
        try:
            response = await handler.unary_unary(handler.request_deserializer(request), None)
            return bytes(handler.response_serializer(response))
        except YinqiError as error:
            status = status_of(error)
        except Exception as error:  # noqa: BLE001 (as the interceptor does; the story tells it)
            self._network.tell("network", "{} failed: {!r}", method, error)
            status = internal_status("simulation")
        return _error(_CODES[status.code], status.message, status.SerializeToString())

    # --- streams ---

    async def _stream(self, method: str, request: bytes, read: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        _stay_alive()
        owner = self._network.living(self._target)
        if owner is None or not self._is_reachable():
            raise _error(grpc.StatusCode.UNAVAILABLE, "failed to connect")
        messages: asyncio.Queue[bytes | AioRpcError] = asyncio.Queue()
        task = spawn(owner, self._serve_stream(method, request, messages))
        task.add_done_callback(lambda _: messages.put_nowait(_error(grpc.StatusCode.UNAVAILABLE, "stream ended")))
        try:
            while True:
                message = await messages.get()
                fault = self._link.take_fault()
                if fault.kind:
                    self._network.tell("network", "{} stream: {}", self._link.name, _words(fault))
                await asyncio.sleep(self._link.latency_s() + (fault.seconds if fault.kind == "delay" else 0.0))
                if isinstance(message, AioRpcError):
                    raise message
                cut = asyncio.get_running_loop().time() < self._link.cut_until
                if cut or fault.kind in ("lose_request", "lose_answer", "break_answer"):
                    raise _error(grpc.StatusCode.UNAVAILABLE, "stream broken")
                yield read(message)
                if fault.kind == "duplicate":
                    yield read(message)
        finally:
            task.cancel()

    async def _serve_stream(self, method: str, request: bytes, messages: asyncio.Queue[Any]) -> None:
        handler = self._network.handler(self._target, method)
        set_current_principal(Principal(self._source, all_roles=True))
        try:
            async for response in handler.unary_stream(handler.request_deserializer(request), None):
                messages.put_nowait(handler.response_serializer(response))
        except YinqiError as error:
            status = status_of(error)
            messages.put_nowait(_error(_CODES[status.code], status.message, status.SerializeToString()))


class HandlersOf:
    """Stands for a gRPC server while generated code registers its handlers; `handlers` are by full method name."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """The registered ones are enough."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def _stay_alive() -> None:
    """End the call of a process that is dead: its bytes do not leave."""
    owner = OWNER.get()
    if owner is not None and not owner.is_alive:
        raise asyncio.CancelledError


def _error(code: grpc.StatusCode, details: str, status: bytes = b"") -> AioRpcError:
    trailing = Metadata((_STATUS_KEY, status)) if status else Metadata()
    return AioRpcError(code, Metadata(), trailing, details)


def _words(fault: MessageFault) -> str:
    text = fault.kind.replace("_", " ")
    return f"{text} {fault.seconds:.1f} s" if fault.seconds else text
