"""`yinqi audit`: journals that show tampering, exported, checked without any service, and put on paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from yinqi.cli.connection import ExitCode, console, errors, fail, settings
from yinqi.cli.suite import Service
from yinqi.demo.suite import SERVICES
from yinqi.kernel.errors import InvalidRequest, YinqiError
from yinqi.runtime.database_engine import with_password_hidden
from yinqi.runtime.journal.chain import Seal, instant_text
from yinqi.runtime.journal.findings import Report
from yinqi.runtime.journal.keys import PublicKey
from yinqi.runtime.journal.outside_store import lines_in_store
from yinqi.runtime.journal.verify import Copies, Receipt
from yinqi.runtime.journal.verify import verify as check_lines

app = typer.Typer(help="Journals that show tampering 防篡改日志.", no_args_is_help=True)

ServicesArgument = Annotated[list[Service] | None, typer.Argument(help="Which services 服务名")]
AllOption = Annotated[bool, typer.Option("--all", help="All services 全部服务")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines 机器可读")]


@app.command("export")
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write 输出文件")],
    service: ServicesArgument = None,
    every: AllOption = False,
) -> None:
    """Write journals with their seals to a file; the services may run or not 导出日志及封条."""
    from yinqi.demo.journals import Progress, export_services  # Imported late: it loads every service's tables.

    names = _services(service, every)
    bar = Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=errors)
    try:
        with bar:
            task = bar.add_task("rows 行", total=None)
            progress = Progress(lambda rows: bar.update(task, total=rows), lambda: bar.advance(task))
            rows = export_services(settings(), names, output, progress=progress)
    except YinqiError as error:
        fail(error)
    except OSError as error:
        fail(_unreadable(output, error))
    console.print(f"{rows:,} rows of 行，来自 {', '.join(names)} → {output}", highlight=False)
    console.print(f"check it 校验: yinqi audit verify {output} --checkpoints … --public-key …", highlight=False)


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="An export 导出文件")],
    checkpoints: Annotated[
        list[str] | None,
        typer.Option(help="Seals kept outside: files, folders, URLs of databases 库外封条文件、目录或数据库"),
    ] = None,
    receipt: Annotated[
        list[str] | None, typer.Option(help="A printed receipt, journal:position:hash, or a file of them 纸质回执")
    ] = None,
    public_key: Annotated[
        list[Path] | None, typer.Option(help="Whose seals count: PEM or DER, files or folders 签名公钥")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check an export without any service; name the first bad row 离线校验，指出第一处被改动的行.

    Exit code 0: nothing shows tampering; 1: something does; 4: a file cannot be read.
    """
    current = settings()  # quiets the logs
    try:
        keys = [PublicKey(one.read_bytes()) for one in _files(public_key or [], "*.pem")]
        copies = Copies.read([Path(one) for one in checkpoints or [] if "://" not in one], keys)
        for url in [one for one in checkpoints or [] if "://" in one]:
            copies.add(with_password_hidden(url), lines_in_store(url, current.journal_source()))
        receipts = [Receipt.of(text) for given in receipt or [] for text in _receipt_texts(given)]
        with file.open("rb") as lines, _bytes_bar(quiet=as_json) as bar:
            task = bar.add_task("check 校验", total=file.stat().st_size)
            report = check_lines(
                lines, copies=copies, receipts=receipts, keys=keys, advance=lambda count: bar.advance(task, count)
            )
    except OSError as error:
        fail(_unreadable(file, error))
    except YinqiError as error:
        fail(error)
    except ValueError as error:
        fail(InvalidRequest("AUDIT_INPUT_INVALID", str(error), "公钥或回执格式错误"))
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False, indent=2))
    else:
        _print(report)
    raise typer.Exit(ExitCode.OK if report.is_good else ExitCode.FAILED)


@app.command("receipt")
def receipt(service: ServicesArgument = None, every: AllOption = False, as_json: JsonOption = False) -> None:
    """Print where each journal stands now, to be kept on paper 打印日志回执，留存纸面."""
    from yinqi.demo.journals import journal_tables, reading
    from yinqi.runtime.journal.seals import last_seal

    current, found = settings(), dict[str, Seal | None]()
    try:
        for name in _services(service, every):
            with reading(current, name) as connection:
                found |= {stream: last_seal(connection, stream) for stream in sorted(journal_tables(name))}
    except YinqiError as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps([seal.as_json() for seal in found.values() if seal], indent=2))
        return
    for stream, seal in found.items():
        if seal is None:
            console.print(f"{stream}: nothing sealed yet 尚无封条\n", highlight=False)
        else:
            console.print(_receipt_text(seal), highlight=False, markup=False, soft_wrap=True)


def _services(service: list[Service] | None, every: bool) -> list[str]:
    if every == bool(service):
        fail(InvalidRequest("SERVICE_NEEDED", "name services, or give --all (not both)", "请指定服务名，或用 --all"))
    return list(SERVICES) if every else list(dict.fromkeys(one.value for one in service or []))


def _files(given: list[Path], pattern: str) -> list[Path]:
    return [file for path in given for file in (sorted(path.glob(pattern)) if path.is_dir() else [path])]


def _receipt_texts(given: str) -> list[str]:
    if ":" in given or not Path(given).is_file():
        return [given]
    # Below each receipt stands an indented line for people.
    return [line for line in Path(given).read_text("utf-8").splitlines() if line.strip() and not line.startswith(" ")]


def _receipt_text(seal: Seal) -> str:
    digits = seal.hash.hex()
    groups = " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))
    return (
        f"{seal.stream}:{seal.position}:{groups}\n"
        f"  row 末行 {seal.sequence}  sealed 封存 {instant_text(seal.sealed_at)}  key 密钥 {seal.key_id}\n"
    )


def _bytes_bar(*, quiet: bool) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=errors,
        disable=quiet,
    )


def _unreadable(file: Path, error: OSError) -> InvalidRequest:
    return InvalidRequest("FILE_UNREADABLE", f"{error.filename or file}: {error.strerror}", f"无法读写 {file}")


def _print(report: Report) -> None:
    table = Table(expand=False)
    for header in (
        "journal 日志",
        "rows 已封存行",
        "unsealed 未封存",
        "seals 封条",
        "outside 库外至",
        "last seal 最后封存",
    ):
        table.add_column(header, justify="left" if header[0] in "jl" else "right")
    for one in report.journals.values():
        mark = "[green]✓[/]" if one.first_bad is None else "[red]✗[/]"
        counts = [f"{n:,}" for n in (one.rows, one.unsealed, one.seals, one.outside_position)]
        table.add_row(f"{mark} {one.journal}", *counts, one.last_seal)
    console.print(table)
    if report.faults:
        first = report.faults[0]
        console.print(f"[bold red]✗ first bad row 第一处[/]: {first.journal} {first.sequence or ''}", highlight=False)
        for fault in report.faults[:20]:
            errors.print(f"  {fault.words}\n  {fault.words_zh}", highlight=False, markup=False)
        if report.fault_count > 20:
            errors.print(f"  … {report.fault_count:,} in all 共 {report.fault_count} 处", highlight=False)
    else:
        console.print(
            f"[green]✓ {report.rows:,} rows are as they were sealed, in order, none missing between 封存行完整、有序、未改[/]"
        )
    console.print("not shown by this 未能证明:")
    for words, words_zh in report.not_proved():
        console.print(f"  - {words} {words_zh}", highlight=False, markup=False)
