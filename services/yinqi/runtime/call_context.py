"""What a handler sees of its call: the part of grpc's servicer context that servicers use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_core import Call

from yinqi.kernel.errors import InvalidRequest


class Aborted(Exception):
    """A handler ended its call with a status of its own."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class CallContext:
    """The context of one call.

    Args:
        serialize: makes the bytes of a response.
        deserialize: reads a request of a stream.
    Attributes:
        why_cancelled: "draining" or "stopped" if the server cancels the call, "" if its caller is gone.
        shown: makes of a response what the caller may see of it.
    """

    __slots__ = ("_call", "_deserialize", "_message", "_room", "_serialize", "method", "shown", "why_cancelled")

    def __init__(
        self, method: str, call: Call, serialize: Callable[[Any], bytes], deserialize: Callable[[bytes], Any]
    ) -> None:
        self.method = method
        self.why_cancelled = ""
        self.shown: Callable[[Any], Any] = _whole
        self._call = call
        self._serialize = serialize
        self._deserialize = deserialize
        self._room: asyncio.Future[None] | None = None
        self._message: asyncio.Future[bytes | None] | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the caller's metadata."""
        return tuple(self._call.metadata.items())

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller stops waiting; None if it set no deadline."""
        return self._call.time_remaining()

    def peer(self) -> str:
        """Return the caller's address."""
        return self._call.peer

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with this status.

        Raises:
            Aborted: always; let it pass.
        """
        raise Aborted(status_pb2.Status(code=code.value[0], message=details))

    async def write(self, message: Any) -> None:
        """Send a message of a response stream; wait while the caller is slow to read."""
        if self._call.write(self._serialize(self.shown(message))):
            return
        self._room = asyncio.get_running_loop().create_future()
        await self._room

    async def read(self) -> Any:
        """Return the next message of a request stream, `grpc.aio.EOF` at its end.

        Raises:
            InvalidRequest: it is not a message of the method's type.
        """
        self._message = asyncio.get_running_loop().create_future()
        self._call.read()
        data = await self._message
        if data is None:
            return grpc.aio.EOF
        return parse_request(self.method, self._deserialize, data)

    async def requests(self) -> AsyncIterator[Any]:
        """Return the messages of a request stream (see `read`)."""
        while (request := await self.read()) is not grpc.aio.EOF:
            yield request

    def got_room(self) -> None:
        """The wire has sent what waited."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def got_message(self, data: bytes | None) -> None:
        """The wire brought the message that `read` asked for; None: there is none."""
        if self._message is not None and not self._message.done():
            self._message.set_result(data)


def _whole(message: Any) -> Any:
    return message


def parse_request(method: str, deserialize: Callable[[bytes], Any], data: bytes) -> Any:
    """Return the request.

    Raises:
        InvalidRequest: it is not a message of the method's type.
    """
    try:
        return deserialize(data)
    except (DecodeError, ValueError, RuntimeError):
        raise InvalidRequest(
            "REQUEST_UNPARSABLE", f"The request is not a valid message for {method}.", "请求报文无法解析。"
        ) from None
