"""`yinqi statement`: bring the bank's statement in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.table import Table

from yinqi.api.account.v1 import account_service_pb2, account_service_pb2_grpc
from yinqi.cli.connection import call, console, fail
from yinqi.demo.words import balance_table, masked
from yinqi.kernel.errors import InvalidRequest

app = typer.Typer(help="Bank statements 对账单.", no_args_is_help=True)

Stub = account_service_pb2_grpc.AccountServiceStub


@app.command("fetch")
def fetch_statement(
    account: Annotated[str, typer.Argument(help="Account 账号")],
    date: Annotated[str, typer.Option(help="Booking date YYYY-MM-DD; empty: the bank's today 记账日")] = "",
) -> None:
    """Fetch a day's statement and balances from the bank now 从银行取对账单."""

    async def ask(channel: grpc.aio.Channel) -> account_service_pb2.FetchStatementResponse:
        request = account_service_pb2.FetchStatementRequest(account=account, date=date)
        return await Stub(channel).FetchStatement(request, timeout=120)

    response = call("account", ask)
    console.print(
        f"{response.entry_count} entries 明细, {response.new_entry_count} new 新增, {response.page_count} pages 页"
    )
    console.print(balance_table([response.balance]))


@app.command("import")
def import_statement(
    file: Annotated[Path, typer.Argument(help="camt.053 file 对账单文件", exists=True, dir_okay=False)],
) -> None:
    """Import a statement file; importing it again adds nothing 导入对账单文件."""
    try:
        content = file.read_bytes()
    except OSError as error:
        fail(InvalidRequest("FILE_NOT_READABLE", f"{file} cannot be read: {error.strerror}", "文件无法读取"))

    async def ask(channel: grpc.aio.Channel) -> account_service_pb2.ImportStatementResponse:
        request = account_service_pb2.ImportStatementRequest(content=content, file_name=file.name)
        return await Stub(channel).ImportStatement(request, timeout=120)

    table = Table(expand=False)
    for header in ("account 账号", "statement 对账单号", "from 起", "to 止", "entries 明细", "new 新增"):
        table.add_column(header)
    for statement in call("account", ask).statements:
        table.add_row(
            masked(statement.account),
            statement.statement_id,
            statement.from_date,
            statement.to_date,
            str(statement.entry_count),
            str(statement.new_entry_count),
        )
    console.print(table)


@app.command("balances")
def show_balances() -> None:
    """Show balances of books and bank 余额."""

    async def ask(channel: grpc.aio.Channel) -> account_service_pb2.GetBalancesResponse:
        return await Stub(channel).GetBalances(account_service_pb2.GetBalancesRequest())

    console.print(balance_table(list(call("account", ask).balances)))
