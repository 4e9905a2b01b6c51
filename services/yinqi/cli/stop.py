"""`yinqi stop`: hold back what has not left for the banks, see what is held back, let it go again with two people."""

from __future__ import annotations

from typing import Annotated

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from yinqi.api.gateway.v1 import gateway_service_pb2_grpc, stop_pb2
from yinqi.cli.connection import call, call_as, console
from yinqi.demo.words import instant_text

app = typer.Typer(help="The kill switch: one person stops, two lift 紧急止付.", no_args_is_help=True)

Stub = gateway_service_pb2_grpc.GatewayServiceStub
_SCOPES = {
    stop_pb2.STOP_SCOPE_KIND_HOUSE: "everything 全部",
    stop_pb2.STOP_SCOPE_KIND_BANK: "bank 银行",
    stop_pb2.STOP_SCOPE_KIND_COMPANY: "company 企业",
    stop_pb2.STOP_SCOPE_KIND_ACCOUNT: "account 账户",
}
Person = Annotated[str, typer.Option(help="Who says so 经办人")]
Reason = Annotated[str, typer.Option(help="Why, on one line 原因")]


@app.command("pull")
def pull_stop(
    reason: Reason,
    person: Person,
    bank: Annotated[str, typer.Option(help="One bank profile 银行配置")] = "",
    company: Annotated[str, typer.Option(help="One company, as the bank profiles name it 企业")] = "",
    account: Annotated[str, typer.Option(help="One debtor account 付款账户")] = "",
    everything: Annotated[bool, typer.Option("--everything", help="All payments 全部付款")] = False,
) -> None:
    """Stop payments at once; what is at the bank is followed to its end 立即止付."""
    request = stop_pb2.PullStopRequest(scope=_scope(bank, company, account, everything), reason=reason)

    async def ask(channel: grpc.aio.Channel) -> stop_pb2.PullStopResponse:
        return await Stub(channel).PullStop(request)

    response = call_as(person, "stop_puller", "gateway", ask)
    told = "[red]stopped[/] 已止付" if response.is_news else "[yellow]it was stopped before[/] 此前已止付"
    console.print(f"{told}: {response.stop.stop_id}")
    console.print(_table([response.stop]))


@app.command("lift")
def lift_stop(
    stop_id: Annotated[str, typer.Argument(help="Which stop 止付编号")], reason: Reason, person: Person
) -> None:
    """Ask to lift a stop; it is lifted when a second person says the same 解除止付（须两人）."""
    request = stop_pb2.LiftStopRequest(stop_id=stop_id, reason=reason)

    async def ask(channel: grpc.aio.Channel) -> stop_pb2.LiftStopResponse:
        return await Stub(channel).LiftStop(request)

    response = call_as(person, "stop_lifter", "gateway", ask)
    if response.is_lifted:
        console.print("[green]lifted; what waited goes out by itself[/] 已解除，等待中的付款将自动继续")
    else:
        console.print(
            "[yellow]recorded; it holds until a second person says the same[/] 已记录，须由第二人确认后解除:\n"
            f"  yinqi stop lift {escape(stop_id)} --reason … --person …",
            highlight=False,
        )
    console.print(_table([response.stop]))


@app.command("list")
def list_stops(
    everything: Annotated[bool, typer.Option("--all", help="Also lifted ones 含已解除")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most rows 最多行数")] = 100,
) -> None:
    """List what is stopped 止付列表."""

    async def ask(channel: grpc.aio.Channel) -> stop_pb2.ListStopsResponse:
        return await Stub(channel).ListStops(stop_pb2.ListStopsRequest(include_lifted=everything, page_size=limit))

    stops = list(call("gateway", ask).stops)
    console.print(_table(stops) if stops else "nothing is stopped 没有止付")


def _scope(bank: str, company: str, account: str, everything: bool) -> stop_pb2.StopScope:
    named = [
        (stop_pb2.STOP_SCOPE_KIND_BANK, bank),
        (stop_pb2.STOP_SCOPE_KIND_COMPANY, company),
        (stop_pb2.STOP_SCOPE_KIND_ACCOUNT, account),
    ]
    chosen = [stop_pb2.StopScope(kind=kind, name=name) for kind, name in named if name]
    if everything:
        chosen.append(stop_pb2.StopScope(kind=stop_pb2.STOP_SCOPE_KIND_HOUSE))
    if len(chosen) != 1:
        raise typer.BadParameter(
            "say exactly one of --bank, --company, --account, --everything 请且仅请指定一个范围",
            param_hint="scope 范围",
        )
    return chosen[0]


def _table(stops: list[stop_pb2.Stop]) -> Table:
    table = Table(expand=False)
    for header in ("stop 编号", "scope 范围", "pulled 止付", "why 原因", "lift asked 申请解除", "lifted 已解除"):
        table.add_column(header, overflow="fold")
    for stop in stops:
        table.add_row(
            stop.stop_id,
            escape(f"{_SCOPES.get(stop.scope.kind, '?')} {_name(stop.scope)}".strip()),
            _word(stop.pulled),
            escape(stop.pulled.reason),
            _word(stop.lift_asked, with_reason=True) if stop.HasField("lift_asked") else "",
            _word(stop.lifted, with_reason=True) if stop.HasField("lifted") else "[red]no 否[/]",
        )
    return table


def _name(scope: stop_pb2.StopScope) -> str:
    is_account = scope.kind == stop_pb2.STOP_SCOPE_KIND_ACCOUNT
    return f"{scope.name[:4]}****{scope.name[-4:]}" if is_account else scope.name


def _word(word: stop_pb2.StopWord, *, with_reason: bool = False) -> str:
    parts = (word.person, instant_text(word.said_at), word.reason if with_reason else "")
    return escape(" ".join(part for part in parts if part))
