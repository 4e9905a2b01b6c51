"""Commands around the bank: check a script, list the faults, move the clock, ask the judge (命令)."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from yinqi.sandbox_bank import tables
from yinqi.sandbox_bank.errors import ScriptError
from yinqi.sandbox_bank.fault_catalog import FAULTS
from yinqi.sandbox_bank.fault_script import parse_script

DEFAULT_ADDRESS = "127.0.0.1:7106"
_SECONDS_MAX = 60
_out, _errors = Console(highlight=False), Console(stderr=True, highlight=False)

Address = Annotated[str, typer.Option(help="HOST:PORT of the running bank. 沙箱银行地址")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the bank's answer as JSON. 输出 JSON")]

clock_app = typer.Typer(help="The bank's virtual clock: show, jump, run, freeze (虚拟时钟).", no_args_is_help=True)


def check(script: Annotated[Path, typer.Argument(help="Fault script, TOML or JSON. 故障脚本")]) -> None:
    """Read a fault script and say what is wrong: line, rule, field, what is allowed 检查故障脚本."""
    try:
        found = parse_script(script.read_text("utf-8"))
    except ScriptError as error:
        for problem in error.problems:
            _errors.print(f"{escape(str(script))}: {escape(str(problem))}", soft_wrap=True)
        raise typer.Exit(1) from None
    except (OSError, UnicodeDecodeError) as error:
        _errors.print(f"{escape(str(script))}: cannot be read: {escape(str(error))} 无法读取", soft_wrap=True)
        raise typer.Exit(2) from None
    _out.print(f"{escape(str(script))}: {len(found.rules)} rules, {len(found.entries)} entries, nothing wrong 检查通过")


def faults(
    name: Annotated[str | None, typer.Argument(help="Only this fault. 故障名")] = None, as_json: AsJson = False
) -> None:
    """List every fault with its fields and an example 列出全部故障."""
    if name is not None and name not in FAULTS:
        _errors.print(f"{escape(name)} is not a fault; there are {', '.join(FAULTS)}. 没有这种故障", soft_wrap=True)
        raise typer.Exit(1)
    shown = [fault for fault in FAULTS.values() if name in (None, fault.name)]
    _show([tables.fault_as_json(fault) for fault in shown], [tables.fault_text(fault) for fault in shown], as_json)


def fired(
    address: Address = DEFAULT_ADDRESS,
    limit: Annotated[int, typer.Option(min=0, help="How many of the last. 条数")] = 50,
    as_json: AsJson = False,
) -> None:
    """Count and list the faults that struck 列出已触发的故障."""
    report = _call(address, "GET", f"faults?limit={limit}")
    _show(report, [tables.rules_table(report), tables.fired_table(report)], as_json)


def judge(
    address: Address = DEFAULT_ADDRESS,
    limit: Annotated[int, typer.Option(min=0, help="How many references, newest last. 条数")] = 50,
    as_json: AsJson = False,
) -> None:
    """What the bank's own book says: debits, returns, net by reference; exit code 1 on a double debit 账簿裁判."""
    report = _call(address, "GET", "book")
    _show(report, [tables.references_table(report, limit), tables.verdict(report)], as_json)
    raise typer.Exit(1 if report["double_debits"] or any(report["integrity"].values()) else 0)


def load(
    script: Annotated[Path, typer.Argument(help="Fault script, TOML or JSON. 故障脚本")],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Give a running bank another fault script 更换故障脚本."""
    answer = _call(address, "POST", "script", content=script.read_bytes())
    _out.print(f"{answer['rules']} rules, {answer['entries']} entries are in force 已生效")


@clock_app.command("show")
def clock_show(address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Show the bank's time 查看时钟."""
    _clock(address, None, as_json)


@clock_app.command("jump")
def clock_jump(
    days: Annotated[int | None, typer.Option(min=0, help="Ahead by days. 天")] = None,
    seconds: Annotated[int | None, typer.Option(min=0, help="Ahead by seconds. 秒")] = None,
    to: Annotated[str | None, typer.Option(help="To a local time, 2026-12-01T09:00:00. 到某时刻")] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Jump ahead; what falls due on the way happens on its own day 时钟跳转."""
    asked = {"advance_days": days, "advance_seconds": seconds, "jump_to": to}
    _clock(address, {name: value for name, value in asked.items() if value is not None}, as_json)


@clock_app.command("run")
def clock_run(
    rate: Annotated[float, typer.Option(min=0, help="Business seconds per real second. 倍速")] = 1.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Let the clock run, at real speed or at a rate 时钟按倍速运行."""
    _clock(address, {"rate": rate}, as_json)


@clock_app.command("freeze")
def clock_freeze(address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Stop the clock; `run` lets it go again 冻结时钟."""
    _clock(address, {"freeze": True}, as_json)


def _clock(address: str, move: dict[str, Any] | None, as_json: bool) -> None:
    answer = _call(address, "GET", "clock") if move is None else _call(address, "POST", "clock", move=move)
    speed = "frozen 已冻结" if answer["frozen"] else f"running at {answer['rate']:g} 倍速"
    _show(answer, [f"{answer['now']}  business date 业务日期 {answer['business_date']}  {speed}"], as_json)


def _show(answer: Any, lines: list[Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        return
    for line in lines:
        _out.print(line)


def _call(address: str, method: str, path: str, content: bytes = b"", move: dict[str, Any] | None = None) -> Any:
    """One control call; ends the command in words when nobody answers or the bank refuses."""
    body = content if move is None else json.dumps(move).encode()
    try:
        with closing(HTTPConnection(address, timeout=_SECONDS_MAX)) as connection:
            connection.request(method, f"/control/{path}", body)
            response = connection.getresponse()
            answer = json.loads(response.read())
    except (OSError, HTTPException, ValueError):
        _errors.print(
            f"no sandbox bank answers at {escape(address)}. Start one with `yinqi sandbox-bank`, or name it with --address. "
            f"{escape(address)} 没有沙箱银行应答",
            soft_wrap=True,
        )
        raise typer.Exit(5) from None
    if response.status != 200:
        _errors.print(escape(str(answer.get("error", response.status))), soft_wrap=True)
        raise typer.Exit(1)
    return answer
