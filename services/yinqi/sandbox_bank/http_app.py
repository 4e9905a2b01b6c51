"""HTTP around the bank: the form post, limits, cut connections, health; nothing here knows money."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from yinqi.sandbox_bank.control import control_routes
from yinqi.sandbox_bank.effects import Ending, too_many_calls
from yinqi.sandbox_bank.execution_loop import ExecutionLoop
from yinqi.sandbox_bank.functions import QUERIES, SUBMITS
from yinqi.sandbox_bank.notice_loop import NoticeLoop
from yinqi.sandbox_bank.sealed import Delivery, SealedBank
from yinqi.sandbox_bank.telemetry import Telemetry

ABORT = "sandbox_bank.abort"
_FORM_FIELDS_MAX = 16


class CutConnection(Response):
    """The connection is closed as if the line had died: before the first byte, or after some of the body."""

    def __init__(self, body: bytes = b"", cut_after_bytes: int | None = None) -> None:
        super().__init__(body, media_type="text/plain")
        self._cut_after_bytes = cut_after_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Abort the transport that the server protocol left in the scope."""
        if self._cut_after_bytes is not None:
            # The head promises the whole body.
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            part = bytes(self.body)[: min(self._cut_after_bytes, len(self.body) - 1)]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        scope[ABORT](drain=self._cut_after_bytes is not None)
        while (await receive())["type"] != "http.disconnect":
            pass


class Door:
    """The endpoint behind POST /cdc."""

    def __init__(
        self, bank: SealedBank, telemetry: Telemetry, workers: ThreadPoolExecutor, changed: Callable[[], None]
    ) -> None:
        self._bank, self._telemetry, self._workers, self._changed = bank, telemetry, workers, changed
        self._slots, self._body_bytes_max = bank.bank.slots, bank.bank.config.body_bytes_max
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Let nobody wait any longer for a slow answer or on a half-open connection."""
        self._closing.set()

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
        free = self._slots.take(function)
        try:
            with self._telemetry.server_span(f"cdc {known}", request.headers, known) as record:
                delivery = await self._exchange(form) if free else _too_many()
                record(delivery.outcome, delivery.effects.lines)
            self._changed()
            return await self._respond(delivery)
        finally:
            # A call that is slow is still running.
            if free:
                self._slots.give_back(function)

    async def _form(self, request: Request) -> dict[str, str] | None:
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > self._body_bytes_max:
                return None
        try:
            return dict(parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX))
        except ValueError:
            return {}

    async def _exchange(self, form: dict[str, str]) -> Delivery:
        return await asyncio.get_running_loop().run_in_executor(self._workers, self._bank.exchange, form)

    async def _respond(self, delivery: Delivery) -> Response:
        effects = delivery.effects
        if effects.wait_ms:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), effects.wait_ms / 1000)
        match effects.ending:
            case Ending.ANSWERED:
                return PlainTextResponse(delivery.body, effects.status)
            case Ending.CUT_MIDWAY:
                return CutConnection(delivery.body, effects.cut_after_bytes)
            case _:
                return CutConnection()


def _too_many() -> Delivery:
    effects = too_many_calls()
    return Delivery(effects, effects.text.encode("utf-8"))


def build_app(bank: SealedBank, telemetry: Telemetry) -> Starlette:
    """The whole HTTP face; its lifespan runs the loops of execution and notices, and closes the bank."""
    # The bank's writer is one anyway; more threads only decrypt and read in parallel.
    workers = ThreadPoolExecutor(4, "sandbox-bank")
    notices = NoticeLoop(bank, workers)
    execution = ExecutionLoop(bank.bank, workers, notices.wake)
    door = Door(bank, telemetry, workers, execution.wake)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "serving"})

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with execution.running(), notices.running():
            yield
        workers.shutdown(wait=True)
        bank.bank.close()
        telemetry.shut_down()

    routes = [
        Route("/cdc", door.post, methods=["POST"]),
        Route("/healthz", health, methods=["GET"]),
        *control_routes(bank.bank, execution.wake),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.close_door = door.close
    return app
