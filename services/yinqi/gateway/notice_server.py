"""The door for banks that call (通知接收): verified, archived and recorded before it is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from yinqi.crypto import sm3
from yinqi.gateway import use_cases
from yinqi.gateway.adapters.cdc.notices import ACKNOWLEDGED, FUNCTION
from yinqi.gateway.exchange import Bank
from yinqi.gateway.model import ArchivedMessage, Direction, Notice
from yinqi.gateway.ports import NoticeRefused
from yinqi.gateway.repository import SqlStore
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import YinqiError
from yinqi.kernel.ids import IdSource
from yinqi.runtime.database import Database
from yinqi.runtime.listening import is_free, port_in_use

_log = structlog.get_logger(__name__)
_CALLS_MAX = 64
_BODY_S = 10.0  # The bank gives up after that, too.
_REFUSED_BYTES_KEPT = 4_096


class NoticeTaker:
    """Takes notices of all banks."""

    def __init__(self, database: Database, clock: Clock, ids: IdSource) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids

    async def take(self, bank: Bank, content: bytes) -> str:
        """Record what a bank, or somebody, posted; return why it was refused, "" to acknowledge it.

        Raises:
            Unavailable: nothing was recorded; the bank will repeat.
        """
        try:
            notice = bank.dialect.open_notice(content)
        except NoticeRefused as error:
            message = self._message(bank, content, error.plain or content[:_REFUSED_BYTES_KEPT], failure=error.reason)
            refused = error.reason
            await self._database.run(lambda connection: use_cases.refuse_notice(refused, message, SqlStore(connection)))
            _log.warning("a notice was refused", reason=refused, bank=bank.profile.name)
            return refused
        return await self._record(bank, content, notice)

    async def _record(self, bank: Bank, content: bytes, notice: Notice) -> str:
        message = replace(
            self._message(bank, content, notice.plain, number=notice.number),
            key_id=notice.key_id,
            cipher_key_id=notice.cipher_key_id,
        )
        refusal = await self._database.run(
            lambda connection: use_cases.take_notice(notice, message, SqlStore(connection))
        )
        if refusal:
            _log.warning("a notice was refused", reason=refusal, bank=bank.profile.name)
        return refusal

    def _message(
        self, bank: Bank, content: bytes, kept: bytes, *, number: str = "", failure: str = ""
    ) -> ArchivedMessage:
        return ArchivedMessage(
            archive_id=self._ids.new_ids("AR", 1)[0],
            exchange_id=self._ids.new_ids("EX", 1)[0],
            profile=bank.profile.name,
            direction=Direction.RECEIVED,
            function=FUNCTION,
            message_id=number,
            recorded_at=self._clock.now(),
            size_bytes=len(content),
            digest=sm3(content).hex(),
            content=kept,
            is_verified=not failure,
            failure=failure,
        )


@asynccontextmanager
async def open_notice_door(banks: Mapping[str, Bank], taker: NoticeTaker, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the block ends; yield the port, 0 when no profile asks for notices.

    Raises:
        PortInUse: names the holder of the port and the setting to change.
    """
    asking = [bank for bank in banks.values() if bank.profile.notices.enabled]
    if not asking:
        yield 0
        return
    listener = _listen(host, port)
    routes = [Route(bank.profile.notices.path, _endpoint(bank, taker), methods=["POST"]) for bank in asking]
    config = uvicorn.Config(
        Starlette(routes=routes),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=_CALLS_MAX,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="notices")
    try:
        await _started(server, serving)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait([serving])
        listener.close()


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the service stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _started(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    while not server.started:
        if serving.done():
            serving.result()
            raise RuntimeError("the door for notices ended before it served")
        await asyncio.sleep(0.01)


def _endpoint(bank: Bank, taker: NoticeTaker) -> Callable[[Request], Awaitable[Response]]:
    async def take(request: Request) -> Response:
        content = await _body(request, bank.profile.notices.bytes_max)
        if content is None:
            return PlainTextResponse("too long or too slow", 413)
        try:
            refusal = await taker.take(bank, content)
        except YinqiError as error:
            return PlainTextResponse(error.reason, 503)
        return PlainTextResponse("refused", 403) if refusal else PlainTextResponse(ACKNOWLEDGED.decode("ascii"))

    return take


async def _body(request: Request, bytes_max: int) -> bytes | None:
    received = bytearray()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                received += chunk
                if len(received) > bytes_max:
                    return None
            return bytes(received)
    return None


def _listen(host: str, port: int) -> socket.socket:
    if port and not is_free(host, port):
        raise port_in_use("gateway_notice", port)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise port_in_use("gateway_notice", port) from None
    return listener
