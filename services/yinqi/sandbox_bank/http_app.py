"""HTTP around the bank: the form post, limits, cut connections, health; nothing here knows money."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from yinqi.sandbox_bank.bank import Bank, Delivery
from yinqi.sandbox_bank.control import control_routes
from yinqi.sandbox_bank.errors import GatewayError
from yinqi.sandbox_bank.execution_loop import ExecutionLoop
from yinqi.sandbox_bank.functions import QUERIES, SUBMITS
from yinqi.sandbox_bank.telemetry import Telemetry

ABORT = "sandbox_bank.abort"
_FORM_FIELDS_MAX = 16


class CutConnection(Response):
    """No answer at all: the connection is closed as if the line had died."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Abort the transport that the server protocol left in the scope."""
        scope[ABORT]()
        while (await receive())["type"] != "http.disconnect":
            pass


class Door:
    """The endpoint behind POST /cdc."""

    def __init__(
        self, bank: Bank, telemetry: Telemetry, workers: ThreadPoolExecutor, changed: Callable[[], None]
    ) -> None:
        self._bank, self._telemetry, self._workers, self._changed = bank, telemetry, workers, changed
        self._running = {"submit": 0, "query": 0}
        self._late: set[asyncio.Task[None]] = set()

    async def post(self, request: Request) -> Response:
        """Answer one message."""
        try:
            form = await self._form(request)
        except ClientDisconnect:
            return Response(status_code=499)
        if form is None:
            return PlainTextResponse("body too large 报文过大", 413)
        function = form.get("FUNCODE", "")
        known = function if function in SUBMITS or function in QUERIES else "unknown"
        with self._telemetry.server_span(f"cdc {known}", request.headers, known) as record:
            with self._slot(function) as free:
                delivery = await self._exchange(form) if free else _too_many()
            record(delivery.outcome, delivery.lines)
        self._changed()
        return await self._respond(delivery)

    async def _form(self, request: Request) -> dict[str, str] | None:
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > self._bank.config.body_bytes_max:
                return None
        try:
            return dict(parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX))
        except ValueError:
            return {}

    async def _exchange(self, form: dict[str, str]) -> Delivery:
        return await asyncio.get_running_loop().run_in_executor(self._workers, self._bank.exchange, form)

    @contextlib.contextmanager
    def _slot(self, function: str) -> Iterator[bool]:
        """Count a running call; False when the bank's limit for its kind is reached."""
        kind, limit = ("submit", self._bank.config.submits_max)
        if function not in SUBMITS:
            kind, limit = ("query", self._bank.config.queries_max)
        if self._running[kind] >= limit:
            yield False
            return
        self._running[kind] += 1
        try:
            yield True
        finally:
            self._running[kind] -= 1

    async def _respond(self, delivery: Delivery) -> Response:
        if delivery.late is not None:
            task = asyncio.create_task(self._perform_late(delivery))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        if delivery.wait_ms:
            await asyncio.sleep(delivery.wait_ms / 1000)
        if delivery.body is None:
            return CutConnection()
        return PlainTextResponse(delivery.body, delivery.status)

    async def _perform_late(self, delivery: Delivery) -> None:
        await asyncio.sleep(delivery.late_ms / 1000)
        if delivery.late is not None:
            with contextlib.suppress(GatewayError):
                await asyncio.get_running_loop().run_in_executor(self._workers, delivery.late)
        self._changed()


def _too_many() -> Delivery:
    error = GatewayError("LIM0001", "too many concurrent calls 并发超限")
    return Delivery(200, str(error).encode("utf-8"), error.code)


def build_app(bank: Bank, telemetry: Telemetry) -> Starlette:
    """The whole HTTP face; its lifespan runs the execution loop and closes the bank."""
    # The bank's writer is one anyway; more threads only decrypt and read in parallel.
    workers = ThreadPoolExecutor(4, "sandbox-bank")
    loop = ExecutionLoop(bank, workers)
    door = Door(bank, telemetry, workers, loop.wake)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "serving"})

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with loop.running():
            yield
        workers.shutdown(wait=True)
        bank.close()
        telemetry.shut_down()

    routes = [
        Route("/cdc", door.post, methods=["POST"]),
        Route("/healthz", health, methods=["GET"]),
        *control_routes(bank, loop.wake),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
