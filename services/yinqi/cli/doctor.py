"""`yinqi doctor`: what is wrong with this installation, in words."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table

from yinqi.cli.connection import ExitCode, console, settings
from yinqi.demo.suite import SERVICES
from yinqi.kernel.errors import YinqiError
from yinqi.runtime.database_engine import with_password_hidden
from yinqi.runtime.grpc_client import bare_channel
from yinqi.runtime.listening import is_free, port_in_use
from yinqi.runtime.settings import Settings
from yinqi.runtime.tls import CLIENT, OFF, files_of, read

_FREE_BYTES_MIN = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `is_fault` False with `advice` is a hint."""

    subject: str
    is_fault: bool
    words: str
    advice: str = ""


def doctor() -> None:
    """Say what is wrong with this installation and what to do 体检：哪里有问题、怎么办.

    Exit code 0: nothing is wrong; 1: something is.
    """
    current = settings()
    findings = asyncio.run(_examine(current))
    table = Table(expand=False)
    for header in ("subject 项目", "", "finding 结果", "what to do 建议"):
        table.add_column(header, overflow="fold")
    for f in findings:
        table.add_row(f.subject, "[red]✗[/]" if f.is_fault else "[green]✓[/]", f.words, f.advice)
    console.print(table)
    faults = sum(f.is_fault for f in findings)
    console.print(f"[red]{faults} faults 处问题[/]" if faults else "[green]all is well 一切正常[/]")
    raise typer.Exit(ExitCode.FAILED if faults else ExitCode.OK)


async def _examine(current: Settings) -> list[Finding]:
    findings = [check(current) for check in (_python, _extension, _disk)]
    findings.append(_certificates(current))
    findings += _databases(current)
    findings += [finding async for finding in _services(current)]
    findings.append(await _bank(current))
    findings.append(_traces(current))
    return findings


def _python(_current: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "Python", sys.version_info < (3, 11), version, "" if sys.version_info >= (3, 11) else "use 3.11 or newer"
    )


def _extension(_current: Settings) -> Finding:
    try:
        from yinqi import crypto  # Looked at here, because a missing build must become words.

        key = crypto.SigningKey.generate()
        key.public_key().verify(b"doctor", key.sign(b"doctor"))
    except ImportError as error:
        return Finding("crypto extension", True, f"cannot be loaded: {error}", "build it: make setup")
    return Finding("crypto extension", False, "SM2 signs and verifies")


def _disk(current: Settings) -> Finding:
    folder = current.var_dir if current.var_dir.exists() else current.var_dir.absolute().parent
    free = shutil.disk_usage(folder).free
    words = f"{free / 1024**3:.1f} GiB free under {current.var_dir}"
    return Finding("disk 磁盘", free < _FREE_BYTES_MIN, words, "free some space" if free < _FREE_BYTES_MIN else "")


def _certificates(current: Settings) -> Finding:
    subject = "certificates 证书"
    if current.tls_mode == OFF:
        return Finding(
            subject, False, "not used: YINQI_TLS_MODE=off, plain text on this machine", "only for development"
        )
    try:
        read(files_of(current, CLIENT))
    except YinqiError as error:
        return Finding(subject, True, f"{error.message} {error.message_zh}", "yinqi certs show; yinqi certs create")
    return Finding(subject, False, f"our client certificate can be used (TLS, {current.tls_mode})")


def _databases(current: Settings) -> Iterator[Finding]:
    from yinqi.runtime.migrations import check_revision  # Imported late: alembic takes a second.

    for service in SERVICES:
        url = current.database_url_of(service)
        yield _schema(service, url, check_revision)


def _schema(service: str, url: str, check: Callable[[str, str], None]) -> Finding:
    subject = f"database of {service}"
    path = url.removeprefix("sqlite:///")
    if url.startswith("sqlite") and not Path(path).exists():
        return Finding(subject, False, f"{path} is not there yet", "it is made at the first start")
    try:
        check(url, service)
    except YinqiError as error:
        return Finding(subject, True, error.message, f"yinqi migrate {service}")
    return Finding(subject, False, f"{with_password_hidden(url)} has this program's schema")


async def _services(current: Settings) -> AsyncIterator[Finding]:
    for service in SERVICES:
        yield await _service(service, current)


async def _service(service: str, current: Settings) -> Finding:
    address = current.address_of(service)
    subject = f"{service} at {address}"
    try:
        channel = bare_channel(address, current)
    except YinqiError as error:
        return Finding(subject, True, f"cannot be asked: {error.message}", "yinqi certs show")
    async with channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=1.5
            )
        except grpc.aio.AioRpcError:
            return _absent(service, subject, current)
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return Finding(subject, False, "serving")
    return Finding(subject, True, "draining or not ready", f"look at {current.var_dir}/log/{service}.log")


def _absent(service: str, subject: str, current: Settings) -> Finding:
    host, _, port = current.address_of(service).rpartition(":")
    if host == current.host and not is_free(host, int(port)):
        return Finding(subject, True, port_in_use(service, int(port)).message, f"or set YINQI_{service.upper()}_PORT")
    return Finding(subject, True, "does not answer", "start it: yinqi up")


async def _bank(current: Settings) -> Finding:
    address = current.address_of("sandbox_bank")
    subject = f"sandbox bank at {address}"
    async with httpx.AsyncClient(trust_env=False, timeout=1.5) as client:
        try:
            ok = (await client.get(f"http://{address}/healthz")).is_success
        except httpx.HTTPError:
            ok = False
    return Finding(subject, not ok, "serving" if ok else "does not answer", "" if ok else "start it: yinqi up")


def _traces(current: Settings) -> Finding:
    if current.tracing_enabled:
        return Finding("traces 链路", False, f"exported to {current.otlp_endpoint}")
    return Finding(
        "traces 链路", False, "not exported", "set OTEL_EXPORTER_OTLP_ENDPOINT, e.g. http://127.0.0.1:4317 (Jaeger)"
    )
