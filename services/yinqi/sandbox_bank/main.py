"""Starting the sandbox bank: `python -m yinqi.sandbox_bank.main --help`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast

import typer
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from yinqi.sandbox_bank import commands
from yinqi.sandbox_bank.bank import Bank
from yinqi.sandbox_bank.clock import WallClock, system_wall_ms
from yinqi.sandbox_bank.config import BankConfig, read_config
from yinqi.sandbox_bank.errors import ControlRefused
from yinqi.sandbox_bank.http_app import ABORT, build_app
from yinqi.sandbox_bank.keys import KeyRing
from yinqi.sandbox_bank.sealed import SealedBank
from yinqi.sandbox_bank.telemetry import Telemetry

_log = logging.getLogger("yinqi.sandbox_bank")
_DRAIN_SECONDS = 10


class AbortableProtocol(HttpToolsProtocol):
    """Leaves a way to cut the connection in the scope, for answers that get lost."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wrap the application once per connection."""
        super().connection_made(cast(asyncio.Transport, transport))
        app = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            scope[ABORT] = lambda *, drain: _close(cast(asyncio.Transport, transport), drain=drain)
            await app(scope, receive, send)

        self.app = cast("uvicorn._types.ASGI3Application", with_abort)


def _close(transport: asyncio.Transport, *, drain: bool) -> None:
    """End a connection: at once, or once what was written has left."""
    transport.close() if drain else transport.abort()


class Server(uvicorn.Server):
    """uvicorn that leaves signals to us, so that the lifespan's end is reached before the process is."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle nothing here."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End slow answers and half-open connections first, then what uvicorn does."""
        cast(Starlette, self.config.app).state.close_door()
        await super().shutdown(sockets)


def run(config: BankConfig) -> None:
    """Serve until SIGTERM or SIGINT; running calls are finished, spans flushed.

    Raises:
        ControlRefused: the address is taken, or a setting is wrong; nothing was started.
    """
    listening = listen(config)
    server = build_server(config, system_wall_ms)
    host, port = listening.getsockname()[:2]
    _log.info(
        "sandbox bank listens on http://%s:%s/cdc, book %s, keys %s", host, port, config.database, config.keys_dir
    )
    uvloop.run(_serve(server, listening))


def build_server(config: BankConfig, wall_ms: WallClock) -> Server:
    """A server that is not started yet; `await server.serve(sockets=[...])` runs it, `should_exit` ends it."""
    bank = Bank(config, wall_ms, lambda: secrets.token_hex(6))
    app = build_app(SealedBank(bank, KeyRing(config.keys_dir)), Telemetry(config.otlp_endpoint))
    return Server(
        uvicorn.Config(
            app,
            http=AbortableProtocol,
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )


async def _serve(server: Server, listening: socket.socket) -> None:
    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.serve(sockets=[listening])


def listen(config: BankConfig) -> socket.socket:
    """Bind the address, or say in words why it cannot be had."""
    host, port = config.address
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ControlRefused(
            f"cannot listen on {config.listen}: {error.strerror}. Stop what uses the port or choose another with --listen. "
            f"端口 {port} 被占用或不可用，请更换 --listen"
        ) from None
    return listening


app = typer.Typer(
    help="A pretend bank that speaks the cdc dialect (沙箱银行). Without a command it is started.",
    pretty_exceptions_show_locals=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("check")(commands.check)
app.command("faults")(commands.faults)
app.command("fired")(commands.fired)
app.command("judge")(commands.judge)
app.command("load")(commands.load)
app.add_typer(commands.clock_app, name="clock")


@app.callback(invoke_without_command=True)
def command(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="TOML settings; flags overrule them. 配置文件")] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT, default 127.0.0.1:7106. 监听地址")] = None,
    database: Annotated[Path | None, typer.Option(help="The bank's book, SQLite, or :memory:. 银行账簿")] = None,
    keys_dir: Annotated[Path | None, typer.Option(help="Key exchange directory. 密钥交换目录")] = None,
    script: Annotated[Path | None, typer.Option(help="Fault script, TOML. 故障脚本")] = None,
    execution_delay_ms: Annotated[int | None, typer.Option(min=0, help="From receipt to debit. 执行延迟")] = None,
    notice_url: Annotated[str | None, typer.Option(help="Where notices are posted. 通知地址")] = None,
    otlp_endpoint: Annotated[
        str,
        typer.Option(
            envvar=["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"], help="OTLP gRPC. 链路追踪"
        ),
    ] = "",
) -> None:
    """Run a pretend bank that speaks the cdc dialect (沙箱银行), or one of its commands. Manual: docs/sandbox-bank.md."""
    if context.invoked_subcommand is not None:
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # It would write a line for every notice.
    flags = {"listen": listen, "database": database, "keys_dir": keys_dir, "script": script,
             "execution_delay_ms": execution_delay_ms, "notice_url": notice_url, "otlp_endpoint": otlp_endpoint}  # fmt: skip
    run(read_config(config, flags))


def main() -> None:
    """Entry point of `python -m` and of `yinqi sandbox-bank`; what cannot be done is said in words, exit code 2."""
    try:
        app()
    except (ControlRefused, OSError) as refused:
        typer.echo(f"Error 错误: {refused}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
