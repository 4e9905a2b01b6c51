"""`yinqi evidence`: one file with all that proves a payment, for auditors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from yinqi.cli.connection import ExitCode, call_all, console, errors, fail
from yinqi.client.evidence import collect_evidence
from yinqi.kernel.errors import InvalidRequest
from yinqi.runtime.durable_files import write_durably
from yinqi.verify import Report, Standing, verify

_OWN = 0o600  # names and account numbers are in it


def evidence(
    payment: Annotated[str, typer.Argument(help="end_to_end_id or instruction_id 业务参考号或指令标识")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write 输出文件")] = None,
) -> None:
    """Write a payment's evidence bundle, and check it 导出付款证据包.

    Exit code 1: it was written, and something in it is wrong; the line is named.
    """
    content = call_all(lambda channel_of: collect_evidence(payment, channel_of))
    file = out or Path(f"evidence-{re.sub(r'[^A-Za-z0-9._-]', '-', payment)}.jsonl")
    try:
        write_durably(file, content, _OWN)
    except OSError as error:
        fail(InvalidRequest("FILE_UNWRITABLE", f"{file}: {error.strerror}", f"无法写入 {file}"))
    report = verify(content)
    _print(file, content, report)
    raise typer.Exit(ExitCode.OK if report.broken is None else ExitCode.FAILED)


def _print(file: Path, content: bytes, report: Report) -> None:
    lines = content.count(b"\n")
    console.print(f"{lines:,} lines 行, {len(content):,} bytes 字节 → {file}", highlight=False, soft_wrap=True)
    if report.broken is not None:
        errors.print(f"✗ line 行 {report.broken.line}: {report.broken.words} {report.broken.words_zh}", highlight=False)
    for claim in report.claims:
        if claim.standing is Standing.MISSING and claim.line:
            console.print(f"  – {claim.words} {claim.words_zh}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"check it anywhere 离线校验: yinqi-verify {file}", highlight=False, soft_wrap=True)
