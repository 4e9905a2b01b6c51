"""`yinqi reconcile` and `yinqi breaks`."""

from __future__ import annotations

from typing import Annotated

import grpc
import typer

from yinqi.api.reconciliation.v1 import reconciliation_pb2 as pb
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2, reconciliation_service_pb2_grpc
from yinqi.cli.connection import ExitCode, call, console
from yinqi.demo.words import adjustment_table, break_table, masked
from yinqi.kernel.clock import SystemClock

app = typer.Typer(help="Breaks 差异.", no_args_is_help=True)

Stub = reconciliation_service_pb2_grpc.ReconciliationServiceStub


def reconcile(
    account: Annotated[str, typer.Argument(help="Account 账号")],
    date: Annotated[str, typer.Argument(help="Day YYYY-MM-DD; today if left out 日期")] = "",
) -> None:
    """Reconcile a day and print the balance adjustment table 日对账，打印余额调节表.

    Exit code 0 if the table adds up, 1 if it does not.
    """
    day = date or SystemClock().today().isoformat()

    async def ask(channel: grpc.aio.Channel) -> reconciliation_service_pb2.ReconcileDayResponse:
        request = reconciliation_service_pb2.ReconcileDayRequest(account=account, date=day)
        return await Stub(channel).ReconcileDay(request, timeout=60)

    run = call("reconciliation", ask).reconciliation
    console.print(
        f"{masked(run.account)} {run.date}: {run.booking_count} bookings 账面笔数, {run.entry_count} entries 银行笔数, "
        f"{run.match_count} matched 已勾对 ({run.reference_match_count} by reference 按参考号, "
        f"{run.amount_match_count} by amount, date, counterparty 按金额日期户名), {run.break_count} breaks 差异"
    )
    console.print(adjustment_table(run))
    if run.breaks:
        console.print(break_table(run.breaks))
    raise typer.Exit(ExitCode.OK if run.balance_adjustment.is_balanced else ExitCode.FAILED)


@app.command("list")
def list_breaks(
    account: Annotated[str, typer.Option(help="Account 账号")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also resolved and cleared 含已处理")] = False,
) -> None:
    """List breaks 差异列表."""

    async def ask(channel: grpc.aio.Channel) -> reconciliation_service_pb2.ListBreaksResponse:
        status = pb.BREAK_STATUS_UNSPECIFIED if everything else pb.BREAK_STATUS_OPEN
        request = reconciliation_service_pb2.ListBreaksRequest(account=account, status=status, page_size=1000)
        return await Stub(channel).ListBreaks(request)

    console.print(break_table(call("reconciliation", ask).breaks))


@app.command("resolve")
def resolve_break(
    break_id: Annotated[str, typer.Argument(help="Which break 差异编号")],
    resolution: Annotated[str, typer.Argument(help="Words for the auditor 处理说明")],
) -> None:
    """Explain a break 处理差异."""

    async def ask(channel: grpc.aio.Channel) -> reconciliation_service_pb2.ResolveBreakResponse:
        request = reconciliation_service_pb2.ResolveBreakRequest(break_id=break_id, resolution=resolution)
        return await Stub(channel).ResolveBreak(request)

    console.print(break_table([call("reconciliation", ask).reconciliation_break]))
