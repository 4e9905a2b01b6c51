"""`yinqi data`: data at rest: the keys that seal it, their rotation, and the sealing of what is still in clear."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from yinqi.cli.connection import console, errors, fail, settings
from yinqi.demo.sealed_data import SEALING_SERVICES, SUITE_KEYS_DIR, opened, sealed_tables
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.errors import YinqiError
from yinqi.runtime.data_keys import list_data_keys
from yinqi.runtime.resealing import count_rows, reseal
from yinqi.runtime.settings import Settings
from yinqi.runtime.wrapping_keys import WrappingKeys

app = typer.Typer(help="Data at rest: keys, rotation, sealing 静态数据加密与密钥轮换.", no_args_is_help=True)


class Sealer(StrEnum):
    """Services that seal."""

    PAYMENT = "payment"
    GATEWAY = "gateway"
    ACCOUNT = "account"
    RECONCILIATION = "reconciliation"


class Algorithm(StrEnum):
    """What a key-encryption key is for."""

    SM4 = "sm4-gcm"
    AES = "aes-256-gcm"


_Services = Annotated[list[Sealer] | None, typer.Argument(help="Which services; all if left out 服务名")]


@app.command("keys")
def list_keys(service: _Services = None) -> None:
    """List the data keys, and which key-encryption key each needs 数据密钥清单."""
    table = Table(expand=False)
    for header in ("service 服务", "company 企业", "key 密钥", "state 状态", "made 创建", "wrapped by 包裹密钥"):
        table.add_column(header, overflow="fold")
    words = {"active": "[green]seals 加密中[/]", "old": "opens 仅解密", "index": "index 索引"}
    for name in _names(service):
        try:
            with opened(_settings(), name) as (database, _):
                for key in database.read_sync(list_data_keys):
                    made = f"{key.created_at.astimezone(BANK_ZONE):%Y-%m-%d %H:%M}"
                    table.add_row(name, key.company, key.key_id, words[key.state], made, key.wrapped_by)
        except YinqiError as error:
            fail(error)
    console.print(table)


@app.command("create-key")
def create_key(
    service: _Services = None,
    algorithm: Annotated[Algorithm, typer.Option(help="How it wraps 算法")] = Algorithm.SM4,
) -> None:
    """Make a new key-encryption key per service; from then on it wraps 创建新的密钥加密密钥."""
    current = _settings()
    for name in _names(service):
        try:
            file = WrappingKeys(Path(current.sealing_keys_of(name))).create(secrets.token_bytes, algorithm.value)
        except YinqiError as error:
            fail(error)
        console.print(f"{name}: {file}", highlight=False, soft_wrap=True)
    console.print("back it up apart from the databases; without it nothing sealed can be read 请与数据库分开备份")


@app.command("rewrap")
def rewrap(service: _Services = None) -> None:
    """Wrap every data key with the newest key-encryption key; services go on meanwhile 重新包裹数据密钥."""
    for name in _names(service):
        try:
            with opened(_settings(), name) as (database, sealing):
                count = database.run_sync(sealing.keys.rewrap)
        except YinqiError as error:
            fail(error)
        console.print(f"{name}: {count} data keys rewrapped 已重新包裹", highlight=False)
    console.print(
        "the older *.kek files are not needed any more, once every backup that needs them is gone 旧密钥文件可移除"
    )


@app.command("rotate")
def rotate(service: _Services = None) -> None:
    """Give every company a new data key for what is written from now on 轮换数据密钥."""
    for name in _names(service):
        try:
            with opened(_settings(), name) as (database, sealing):
                count = database.run_sync(sealing.keys.rotate)
        except YinqiError as error:
            fail(error)
        console.print(f"{name}: {count} new data keys 新数据密钥", highlight=False)


@app.command("reseal")
def reseal_rows(
    service: _Services = None,
    rows: Annotated[int, typer.Option(min=1, max=10_000, help="Rows at once 每批行数")] = 500,
) -> None:
    """Seal rows that were written in clear, while the services work; may be broken off and begun again 加密存量数据."""
    for name in _names(service):
        try:
            with opened(_settings(), name) as (database, _), _bar() as bar:
                tables = sealed_tables(name)
                total = database.read_sync(lambda connection: count_rows(connection, tables))  # noqa: B023 (at once)
                task, done, sealed = bar.add_task(name, total=total), dict[str, int](), dict[str, int]()
                for walked in reseal(database, tables, rows_at_once=rows):
                    done[walked.table], sealed[walked.table] = walked.seen, walked.sealed
                    bar.update(task, completed=sum(done.values()))
        except YinqiError as error:
            fail(error)
        console.print(
            f"{name}: {sum(sealed.values())} of {sum(done.values())} rows sealed now 本次加密行数", highlight=False
        )
    console.print(
        "what was in clear is still in free pages, logs and backups (docs/data-at-rest.md) 旧明文可能仍在空闲页与备份中"
    )


def _settings() -> Settings:
    current = settings()
    if current.sealing_keys_dir:
        return current
    return current.model_copy(update={"sealing_keys_dir": SUITE_KEYS_DIR})


def _names(given: Sequence[Sealer] | None) -> list[str]:
    return list(dict.fromkeys(one.value for one in given)) if given else list(SEALING_SERVICES)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=errors
    )
