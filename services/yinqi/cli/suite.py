"""`yinqi up`, `serve`, `sandbox-bank`, `migrate`, `demo`: start things."""

from __future__ import annotations

import asyncio
import importlib
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.panel import Panel
from rich.table import Table

from yinqi.cli.connection import console, fail, settings
from yinqi.demo.suite import SERVICES, children, console_url, prepare, suite_env
from yinqi.kernel.errors import YinqiError
from yinqi.runtime.grpc_server import stop_on_signals
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Supervisor


class Service(StrEnum):
    """What `serve` and `migrate` know."""

    PAYMENT = "payment"
    ACCOUNT = "account"
    RECONCILIATION = "reconciliation"
    MONITORING = "monitoring"
    GATEWAY = "gateway"


def serve(service: Annotated[Service, typer.Argument(help="Which service 服务名")]) -> None:
    """Run one service in this process, as Kubernetes does 运行单个服务."""
    raise typer.Exit(importlib.import_module(f"yinqi.{service.value}.main").run())


def sandbox_bank(context: typer.Context) -> None:
    """Run the sandbox bank, or ask a running one: yinqi sandbox-bank --help tells its options and commands 沙箱银行."""
    bank = importlib.import_module("yinqi.sandbox_bank.main")
    sys.argv = ["yinqi sandbox-bank", *context.args]
    bank.main()


def migrate(
    service: Annotated[Service | None, typer.Argument(help="Only this service; all if left out 服务名")] = None,
) -> None:
    """Bring database schemas to this program's version 升级数据库结构."""
    from yinqi.runtime import migrations  # Imported late: alembic takes a second, and most commands do without.

    current = settings()
    for name in [service.value] if service else SERVICES:
        try:
            before, after = migrations.migrate(current.database_url_of(name), name)
        except YinqiError as error:
            fail(error)
        console.print(f"{name}: {before or 'empty'} → {after}")


def up() -> None:
    """Start all services and the sandbox bank, and keep them running until Ctrl-C 启动全部服务."""
    current = settings()
    try:
        asyncio.run(_up(current))
    except YinqiError as error:
        fail(error)


async def _up(current: Settings) -> None:
    prepare(current)
    supervisor = Supervisor(
        children(current, suite_env(current)),
        log_dir=current.var_dir / "log",
        on_event=lambda _name, text: console.print(f"[yellow]{text}[/]"),
    )
    stop = stop_on_signals()
    with console.status("starting six processes 正在启动…"):
        await supervisor.start()
    console.print(_addresses(current))
    console.print(_three_things(current))
    await stop.wait()
    with console.status("draining and stopping 正在停止…"):
        await supervisor.stop()
    console.print("stopped 已停止")


def _addresses(current: Settings) -> Table:
    table = Table(title="yinqi 银企 is up", title_justify="left", expand=False)
    table.add_column("what")
    table.add_column("where")
    table.add_row("console 控制台", f"[link={console_url(current)}]{console_url(current)}[/]")
    for service in SERVICES:
        table.add_row(f"{service} (gRPC)", current.address_of(service))
    table.add_row("sandbox bank 沙箱银行 (HTTP)", f"http://{current.address_of('sandbox_bank')}")
    table.add_row("data and logs", str(current.var_dir.resolve()))
    return table


def _three_things(current: Settings) -> Panel:
    return Panel.fit(
        "1. pay a supplier list 付一份供应商清单\n"
        "   .venv/bin/yinqi pay services/yinqi/demo/data/suppliers-2026-11.csv\n"
        "2. watch it 看它走完\n"
        "   .venv/bin/yinqi payments watch --until-final\n"
        "3. reconcile today 对今天的账\n"
        "   .venv/bin/yinqi statement fetch 755915678910001 && .venv/bin/yinqi reconcile 755915678910001\n"
        "Ctrl-C drains and stops everything 退出",
        title="three things to try",
        title_align="left",
    )


def demo(
    kill: Annotated[
        bool, typer.Option("--kill", help="kill -9 each process in turn in the middle 中途逐个强杀进程")
    ] = False,
) -> None:
    """Pay real files through the sandbox bank, reconcile two days, and prove it 演示：真实文件付款并对账."""
    from yinqi.demo.run import run_demo  # Imported late: only the demo needs what it needs.

    try:
        raise typer.Exit(asyncio.run(run_demo(settings(), console, kill=kill)))
    except YinqiError as error:
        fail(error)
