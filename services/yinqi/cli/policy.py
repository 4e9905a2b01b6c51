"""`yinqi policy`: check and sign a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yinqi.cli.connection import console, fail
from yinqi.kernel.errors import YinqiError
from yinqi.orders.keys import PrivateKey
from yinqi.orders.policy_file import load_policy, sign_policy

app = typer.Typer(help="The approval policy 审批策略.", no_args_is_help=True)

_Directory = Annotated[Path, typer.Argument(help="Folder of policy.toml and policy_keys.toml 策略目录")]
_KeyId = Annotated[str, typer.Option("--key-id", help="Its name in the policy 密钥名称")]
_Password = Annotated[
    str, typer.Option("--password", envvar="YINQI_KEY_PASSWORD", help="Of the key file 密钥口令", show_default=False)
]


@app.command("check")
def check(directory: _Directory) -> None:
    """Check a policy and its signatures, as a service does at its start 检查策略与签名."""
    try:
        found = load_policy(directory)
    except YinqiError as error:
        fail(error)
    console.print(
        f"[green]valid 有效[/] version {found.policy.version} of {found.policy.company}, signed by "
        f"{', '.join(found.signers)}: {len(found.policy.rules)} rules, {len(found.policy.roles)} people and systems, "
        f"{len(found.keys)} keys"
    )


@app.command("sign")
def sign(
    directory: _Directory,
    key: Annotated[Path, typer.Option("--key", help="Your key file 密钥文件")],
    key_id: _KeyId,
    password: _Password = "",
) -> None:
    """Sign a policy as it stands; two people must 签署策略（须两人）."""
    try:
        file = sign_policy(directory, PrivateKey.load(key, key_id, password))
    except YinqiError as error:
        fail(error)
    console.print(f"signed 已签署: {file}")
