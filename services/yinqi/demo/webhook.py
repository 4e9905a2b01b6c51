"""A receiver of webhooks that counts: it proves that alerts arrive."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


class WebhookReceiver:
    """Listens on a free loopback port and keeps what was posted."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; return the apprise URL that delivers here."""
        app = Starlette(routes=[Route("/alerts", self._take, methods=["POST"])])
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._task = asyncio.create_task(self._server._serve())
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"json://127.0.0.1:{port}/alerts"

    @property
    def alert_ids(self) -> list[str]:
        """Ids of the alerts received, each as often as it came; one message may carry many."""
        lines = (line for one in self.received for line in str(one.get("message", "")).splitlines())
        return [line.removeprefix("alert_id: ") for line in lines if line.startswith("alert_id: ")]

    async def _take(self, request: Request) -> JSONResponse:
        self.received.append(await request.json())
        return JSONResponse({"received": len(self.received)})

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
