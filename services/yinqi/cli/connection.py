"""How a command talks to the services, and how it says what went wrong."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from enum import IntEnum
from typing import NoReturn, TypeVar

import grpc
import typer
from rich.console import Console

from yinqi.client import OrderClient
from yinqi.demo.sisters import COMPANY_ROLES
from yinqi.demo.suite import SERVICES
from yinqi.kernel.errors import InvalidRequest, Unavailable, YinqiError
from yinqi.runtime.errors import typed_error
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.logging import configure_logging
from yinqi.runtime.settings import Settings, load_settings

T = TypeVar("T")
console = Console()
errors = Console(stderr=True)


class ExitCode(IntEnum):
    """Exit codes of all commands."""

    OK = 0
    FAILED = 1
    USAGE = 2  # typer's own
    LINES_REFUSED = 3
    FILE_REFUSED = 4
    UNAVAILABLE = 5


def settings() -> Settings:
    """Read the settings, or end the command with words; logs of libraries stay out of what people read."""
    configure_logging("cli", level="ERROR", format_="console")
    try:
        return load_settings(Settings)
    except YinqiError as error:
        fail(error)


def call(service: str, action: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
    """Run one conversation with a service and end the command with words if it fails."""
    return call_as(_identity(), COMPANY_ROLES, service, action)


def call_as(person: str, roles: str, service: str, action: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
    """Do what `call` does, in a person's name."""
    current = settings()

    async def converse() -> T:
        async with open_channel(
            current.address_of(service), service_name=person, settings=current, roles=roles
        ) as channel:
            return await action(channel)

    try:
        return asyncio.run(converse())
    except grpc.aio.AioRpcError as error:
        fail(_with_address(typed_error(error), error, service, current))
    except YinqiError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def call_orders(action: Callable[[OrderClient], Awaitable[T]]) -> T:
    """Run one conversation about orders with the payment service and end the command with words if it fails."""
    current = settings()

    async def converse() -> T:
        address = current.address_of("payment")
        async with OrderClient(address, identity=_identity(), settings=current) as client:
            return await action(client)

    try:
        return asyncio.run(converse())
    except grpc.aio.AioRpcError as error:
        fail(_with_address(typed_error(error), error, "payment", current))
    except YinqiError as error:
        fail(error)


def call_all(action: Callable[[Callable[[str], grpc.aio.Channel]], Awaitable[T]]) -> T:
    """Run one conversation with several services and end the command with words if it fails."""
    current, asked = settings(), [""]

    async def converse() -> T:
        async with AsyncExitStack() as stack:
            channels: dict[str, grpc.aio.Channel] = {}
            for service in SERVICES:
                channel = open_channel(
                    current.address_of(service), service_name=_identity(), settings=current, roles=COMPANY_ROLES
                )
                channels[service] = await stack.enter_async_context(channel)

            def channel_of(service: str) -> grpc.aio.Channel:
                asked[0] = service
                return channels[service]

            return await action(channel_of)

    try:
        return asyncio.run(converse())
    except grpc.aio.AioRpcError as error:
        fail(_with_address(typed_error(error), error, asked[0], current))
    except YinqiError as error:
        fail(error)


def _identity() -> str:
    return f"cli:{getpass.getuser()}"


def _with_address(typed: YinqiError, error: grpc.aio.AioRpcError, service: str, current: Settings) -> YinqiError:
    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return typed
    address = current.address_of(service)
    return Unavailable(
        typed.reason,
        f"the {service} service at {address} does not answer. Is it running? Start everything with `yinqi up`, "
        f"or set YINQI_{service.upper()}_ADDRESS; a certificate may not be believed: `yinqi certs show`; "
        "`yinqi doctor` tells more",
        f"{address} 的 {service} 服务没有应答，请用 `yinqi up` 启动，或用 `yinqi doctor` 检查",
    )


def fail(error: YinqiError) -> NoReturn:
    """Print an error for people and end the command."""
    errors.print(f"[bold red]{error.reason}[/] {error.message}", highlight=False)
    if error.message_zh and error.message_zh != error.message:
        errors.print(f"  {error.message_zh}", highlight=False)
    for violation in error.violations:
        errors.print(f"  • {violation.field}: {violation.description}", highlight=False, markup=False)
    raise typer.Exit(_exit_code(error))


def _exit_code(error: YinqiError) -> ExitCode:
    if isinstance(error, Unavailable):
        return ExitCode.UNAVAILABLE
    return ExitCode.FILE_REFUSED if isinstance(error, InvalidRequest) else ExitCode.FAILED
