"""`yinqi pay FILE`: hand a payment file in, line by line accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from yinqi.api.payment.v1 import payment_service_pb2_grpc
from yinqi.cli.connection import ExitCode, call, console, fail
from yinqi.demo.words import refusal_table
from yinqi.intake.handover import Handover, hand_over, unsigned
from yinqi.intake.line import FileRefused, PaymentFile
from yinqi.intake.reader import read_payment_file


def pay(
    file: Annotated[Path, typer.Argument(help="CSV, Excel (.xlsx) or pain.001 file 付款文件", show_default=False)],
    lenient: Annotated[
        bool,
        typer.Option(
            "--lenient", help="Warn of a wrong CNAPS check digit instead of refusing 联行号校验位错误时仅提示"
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, pay nothing 只检查不付款")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON 输出 JSON")] = False,
) -> None:
    """Pay the lines of a file 提交付款文件.

    Broken lines are refused with line, field and reason; the others go on. Handing the same file in again is safe.
    Exit codes: 0 all lines taken, 3 some lines refused, 4 the file refused, 5 the service is away.
    """
    handover = Handover(_read(file, strict=not lenient))
    if not dry_run:
        _send(handover)
    if as_json:
        console.print_json(json.dumps(handover.as_dict(), ensure_ascii=False))
    else:
        _print(handover, dry_run=dry_run)
    raise typer.Exit(ExitCode.LINES_REFUSED if handover.refused else ExitCode.OK)


def _read(file: Path, *, strict: bool) -> PaymentFile:
    try:
        return read_payment_file(file, strict=strict)
    except FileRefused as error:
        fail(error)


def _send(handover: Handover) -> None:
    async def send(channel: grpc.aio.Channel) -> None:
        stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(handover.file.name, total=len(handover.file.lines))
            await hand_over(handover, unsigned(stub), lambda lines: progress.advance(task, lines))

    call("payment", send)


def _print(handover: Handover, *, dry_run: bool) -> None:
    if handover.refused:
        console.print(refusal_table(handover.refused))
    for warning in handover.file.warned:
        console.print(
            f"[yellow]{warning.where}: {warning.field} {warning.reason}[/] {warning.message} {warning.message_zh}"
        )
    if dry_run:
        console.print(
            f"{len(handover.file.lines)} lines would be paid, {len(handover.refused)} refused 仅检查，未付款。"
        )
        return
    console.print(
        f"[green]{handover.recorded} recorded 已受理[/], {handover.already_recorded} already recorded 重复提交, "
        f"[red]{len(handover.refused)} refused 被拒绝[/] of {handover.file.count} lines. "
        "Follow them: yinqi payments watch"
    )
