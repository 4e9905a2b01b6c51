"""`yinqi certs`: certificates for development, and what a certificate says, in words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from rich.table import Table

from yinqi.cli.connection import ExitCode, console, fail, settings
from yinqi.demo.certificates import CLIENTS, make_suite_certificates
from yinqi.kernel.clock import SystemClock
from yinqi.kernel.errors import YinqiError
from yinqi.runtime.certificates import AUTHORITY, uri_names
from yinqi.runtime.settings import GRPC_SERVICES, Settings
from yinqi.runtime.tls import check_dates, files_of, read, read_key

app = typer.Typer(help="Certificates of services and callers 证书.", no_args_is_help=True)
_SOON_DAYS = 30


@app.command("create")
def create(
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Another name or address of the services 服务的其他主机名或地址")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Make new ones for all, by the same CA 全部换发")] = False,
) -> None:
    """Make a development CA, and certificates for all services, the console and a client 生成开发用证书.

    What is there and lasts another 30 days is kept. For production bring your own: see docs/identity.md.
    """
    current = settings()
    folder = current.var_dir / "tls"
    if renew:
        for name in (*GRPC_SERVICES, *CLIENTS):
            (folder / f"{name}.crt").unlink(missing_ok=True)
    try:
        made = make_suite_certificates(current, host or [])
    except YinqiError as error:
        fail(error)
    if not made:
        console.print(f"nothing to do: all in {folder} last another {_SOON_DAYS} days 无需更新", highlight=False)
        return
    console.print(f"made 已生成: {', '.join(made)}", highlight=False)
    console.print(
        f"in 目录: {folder}\n"
        f"the CA's key, {AUTHORITY}.key, can make certificates for anybody: this CA is for development only\n"
        f"CA 私钥 {AUTHORITY}.key 可签发任意身份，仅限开发使用",
        highlight=False,
    )
    if AUTHORITY in made and len(made) > 1:
        console.print(
            "running services take the new certificates within seconds 运行中的服务会自动换用", highlight=False
        )


@app.command("secrets")
def secrets() -> None:
    """Print the development certificates as Secrets for kubectl apply -f - 输出 Kubernetes Secret."""
    current = settings()
    manifests = []
    for name in (*GRPC_SERVICES, *CLIENTS):
        try:
            material = read(files_of(current, name))
        except YinqiError as error:
            fail(error)
        files = {"tls.crt": material.certificate, "tls.key": material.key, "ca.crt": material.authorities}
        manifests.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {"name": f"{name}-tls", "namespace": "yinqi"},
                "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
            }
        )
    typer.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}, indent=2))


@app.command("show")
def show(
    file: Annotated[Path | None, typer.Argument(help="A certificate in PEM; all of ours if left out 证书文件")] = None,
) -> None:
    """Say whom certificates name, until when, and whether their keys are well kept 查看证书.

    Exit code 0: all can be used; 1: one cannot.
    """
    current, now = settings(), SystemClock().now()
    table = Table(expand=False)
    for header in ("certificate 证书", "", "names 身份与主机名", "until 有效期至", "finding 结果"):
        table.add_column(header, overflow="fold")
    rows = [_row(file.name, file, now, [])] if file else list(_ours(current, now))
    for row, is_fault in rows:
        table.add_row(*row[:1], "[red]✗[/]" if is_fault else "[green]✓[/]", *row[1:])
    console.print(table)
    raise typer.Exit(ExitCode.FAILED if any(is_fault for _, is_fault in rows) else ExitCode.OK)


_Row = tuple[tuple[str, str, str, str], bool]


def _ours(current: Settings, now: datetime) -> Iterator[_Row]:
    authority = current.tls_file(current.tls_ca_file)
    key = authority.with_suffix(".key")
    yield _row(AUTHORITY, authority, now, [partial(read_key, key)] if key.exists() else [])
    names = [name for name in (*GRPC_SERVICES, *CLIENTS) if files_of(current, name).certificate.exists()]
    if not names:  # say what is missing
        names = [GRPC_SERVICES[0]]
    for name in names:
        files = files_of(current, name)
        yield _row(name, files.certificate, now, [partial(read, files)])


def _row(name: str, file: Path, now: datetime, checks: Sequence[Callable[[], object]]) -> _Row:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        words = (
            "is not there 不存在; make it: yinqi certs create"
            if isinstance(error, OSError)
            else "no certificate 不是证书"
        )
        return (name, str(file), "", words), True
    until = certificate.not_valid_after_utc
    days = (until - now).days
    try:
        check_dates(file, certificate, now)
        for check in checks:
            check()
    except YinqiError as error:
        return (name, _names(certificate), f"{until:%Y-%m-%d}", f"{error.message}\n{error.message_zh}"), True
    words = f"ends soon, in {days} days 即将到期" if days < _SOON_DAYS else f"good for {days} days 还有 {days} 天"
    return (name, _names(certificate), f"{until:%Y-%m-%d}", words), False


def _names(certificate: x509.Certificate) -> str:
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return certificate.subject.rfc4514_string()
    hosts = [
        *others.get_values_for_type(x509.DNSName),
        *(str(address) for address in others.get_values_for_type(x509.IPAddress)),
    ]
    return "\n".join([*uri_names(certificate), ", ".join(hosts)]).strip()
