"""The console's web server: FastAPI under uvicorn, in the event loop that also serves gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from yinqi.kernel.clock import Clock
from yinqi.monitoring.console.evidence import AUDITOR, add_download
from yinqi.monitoring.console.frame import LANGUAGE_COOKIE, THEME_COOKIE, THEMES
from yinqi.monitoring.console.fresh import Fresh
from yinqi.monitoring.console.markup import local_path
from yinqi.monitoring.console.pages import Console, add_pages
from yinqi.monitoring.console.sisters import SERVICES, VIEWER_ROLES, Sisters
from yinqi.monitoring.model import ActivityBucket
from yinqi.monitoring.repository import SqlStore
from yinqi.monitoring.settings import MonitoringSettings
from yinqi.runtime.database import Database
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.listening import is_free, port_in_use
from yinqi.runtime.tls import CONSOLE

_HERE = Path(__file__).parent
_ASSETS = {"console.css": "text/css", "console.js": "text/javascript"}
_CHOICES = {"language": (LANGUAGE_COOKIE, ("zh", "en")), "theme": (THEME_COOKIE, THEMES)}
_YEAR_S = 365 * 24 * 3600
_FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1f5f8b"/>'
    '<path d="M8 9l8 8 8-8M16 17v7M10 20h12" stroke="#fff" stroke-width="2.6" fill="none" stroke-linecap="round"/></svg>'
)
# Everything comes from this server; Vue compiles its templates in the browser, hence 'unsafe-eval'.
_SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; object-src 'none'; base-uri 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_NOT_KEPT = (b"cache-control", b"no-store")  # unless the response says otherwise


@dataclass(frozen=True)
class ServedConsole:
    """A console that serves."""

    port: int


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the service stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _SecurityHeaders:
    """Adds _SECURITY_HEADERS to every response, and lets no browser keep a page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                is_said = any(name.lower() == _NOT_KEPT[0] for name, _ in given)
                message["headers"] = [*given, *_SECURITY_HEADERS, *(() if is_said else (_NOT_KEPT,))]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


@asynccontextmanager
async def open_console(
    settings: MonitoringSettings, own_port: int, database: Database, clock: Clock
) -> AsyncIterator[ServedConsole]:
    """Serve the console until the block ends.

    Args:
        own_port: where this process serves MonitoringService.
        database: only for the throughput that this service counts itself.
    Raises:
        PortInUse: names the holder of the port and the setting to change.
    """
    host = settings.console_host or settings.host
    listener = _listen(host, settings.console_port)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        channels = await _open_channels(stack, settings, own_port, VIEWER_ROLES)
        app = _build_app(
            settings,
            host,
            Console(Sisters(channels), _activity_of(database), clock, settings.jaeger_url, _assets_version()),
            await _open_channels(stack, settings, own_port, AUDITOR),
        )
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="on",
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="console")
        try:
            await _started(server, serving)
            yield ServedConsole(listener.getsockname()[1])
        finally:
            server.should_exit = True
            await asyncio.wait([serving])


async def _open_channels(
    stack: AsyncExitStack, settings: MonitoringSettings, own_port: int, roles: str
) -> dict[str, grpc.aio.Channel]:
    return {
        service: await stack.enter_async_context(
            open_channel(
                _address(settings, service, own_port),
                service_name="console",
                settings=settings,
                roles=roles,
                certificate=CONSOLE,
            )
        )
        for service in SERVICES
    }


def _listen(host: str, port: int) -> socket.socket:
    if port and not is_free(host, port):
        raise port_in_use("console", port)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise port_in_use("console", port) from None
    return listener


def _address(settings: MonitoringSettings, service: str, own_port: int) -> str:
    return f"{settings.own_host}:{own_port}" if service == "monitoring" else settings.address_of(service)


async def _started(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    while not server.started:
        if serving.done():
            serving.result()
            raise RuntimeError("the console ended before it served")
        await asyncio.sleep(0.01)


def _activity_of(database: Database) -> _Activity:
    return _Activity(database)


class _Activity:
    """Throughput counted by this service, shared by all open pages."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fresh: Fresh[Sequence[ActivityBucket]] = Fresh(1.0)

    async def __call__(self, from_s: int) -> Sequence[ActivityBucket]:
        return await self._fresh.get(
            "activity",
            lambda: self._database.read(lambda connection: SqlStore(connection).watch.list_activity(from_s)),
        )


def _assets_version() -> str:
    content = b"".join((_HERE / name).read_bytes() for name in sorted(_ASSETS))
    return hashlib.sha256(content).hexdigest()[:12]


def _build_app(
    settings: MonitoringSettings, host: str, console: Console, for_auditors: Mapping[str, grpc.aio.Channel]
) -> FastAPI:
    # They log every client and every socket at INFO, with its address.
    for noisy in ("nicegui", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    app = FastAPI(title="yinqi console", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(_SecurityHeaders)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_allowed_hosts(settings, host))
    _add_routes(app)
    add_download(app, for_auditors)  # before NiceGUI, which takes every other address
    add_pages(console)
    ui.run_with(app, title="yinqi 银企", favicon=_FAVICON, show_welcome_message=False, tailwind=False, dark=None)
    return app


def _allowed_hosts(settings: MonitoringSettings, host: str) -> list[str]:
    """Return the names a browser may use; a console that listens beyond this machine has names we cannot know."""
    given = [name.strip() for name in settings.console_allowed_hosts.split(",") if name.strip()]
    if given:
        return given
    return ["127.0.0.1", "localhost"] if _is_loopback(host) else ["*"]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _add_routes(app: FastAPI) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        return PlainTextResponse("ok")

    @app.get("/assets/{name}")
    async def asset(name: str) -> Response:
        if name not in _ASSETS:
            return PlainTextResponse("not found", status_code=404)
        headers = {"cache-control": f"public, max-age={_YEAR_S}, immutable"}
        return Response((_HERE / name).read_bytes(), media_type=_ASSETS[name], headers=headers)

    @app.get("/set/{what}/{choice}")
    async def choose(request: Request, what: str, choice: str) -> Response:
        """Remember a choice of the reader and go back to the page."""
        cookie, allowed = _CHOICES.get(what, ("", ()))
        if choice not in allowed:
            return PlainTextResponse("not found", status_code=404)
        response = RedirectResponse(local_path(request.query_params.get("to", "/")), status_code=303)
        response.set_cookie(cookie, choice, max_age=_YEAR_S, samesite="strict")
        return response
