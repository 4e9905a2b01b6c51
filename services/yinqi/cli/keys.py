"""`yinqi keys`: the keys of bank profiles and their lives; and new keys for people and systems."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import grpc
import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from yinqi.api.gateway.v1 import key_pb2 as pb
from yinqi.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from yinqi.cli.connection import call, console, fail
from yinqi.crypto import CryptoError, VerifyKey
from yinqi.gateway.key_set import KeyEventKind, KeyPurpose, statement
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.errors import InvalidRequest, NotFound, YinqiError
from yinqi.orders.keys import KEY_CHANGE_CONTEXT, Algorithm, PrivateKey

app = typer.Typer(help="Bank keys, and keys of people and systems 银行密钥、人员与系统密钥.", no_args_is_help=True)
T = TypeVar("T")
_OVERLAP_HOURS = 72


class Purpose(StrEnum):
    """What a bank key is for."""

    SIGNING = "signing"
    CIPHER = "cipher"
    BANK = "bank"


_PURPOSES = {
    Purpose.SIGNING: pb.KEY_PURPOSE_SIGNING,
    Purpose.CIPHER: pb.KEY_PURPOSE_CIPHER,
    Purpose.BANK: pb.KEY_PURPOSE_BANK,
}
_PURPOSE_WORDS = {
    pb.KEY_PURPOSE_SIGNING: "signing 签名",
    pb.KEY_PURPOSE_CIPHER: "cipher 对称",
    pb.KEY_PURPOSE_BANK: "the bank's 银行公钥",
}
_STATE_WORDS = {
    pb.KEY_STATE_STAGED: "[yellow]staged 待启用[/]",
    pb.KEY_STATE_ACTIVE: "[green]active 使用中[/]",
    pb.KEY_STATE_RETIRING: "[cyan]retiring 退役中[/]",
    pb.KEY_STATE_RETIRED: "retired 已停用",
}
_Profile = Annotated[str, typer.Argument(help="Bank profile 银行配置")]
_KeyId = Annotated[str, typer.Argument(help="Key id, from `yinqi keys list` 密钥编号")]
_PurposeOption = Annotated[Purpose, typer.Option("--purpose", help="What it is for 用途")]
_Until = Annotated[str, typer.Option("--valid-until", help="Last day, e.g. 2027-12-31; empty: no end 有效期止")]


@app.command("list")
def list_keys(profile: Annotated[str, typer.Argument(help="Bank profile; empty: all 银行配置")] = "") -> None:
    """List the bank keys: states, days, and who did what 银行密钥清单."""
    keys = _ask(lambda stub: stub.ListKeys(pb.ListKeysRequest(bank_profile=profile))).keys
    table = Table(expand=False)
    for header in ("profile 配置", "key 密钥", "for 用途", "state 状态", "valid 有效期", "people 经办"):
        table.add_column(header, overflow="fold")
    for key in keys:
        table.add_row(
            key.bank_profile,
            key.key_id,
            _PURPOSE_WORDS.get(key.purpose, "?"),
            _STATE_WORDS.get(key.state, "?"),
            _days(key),
            _people(key),
        )
    console.print(table if keys else "no keys yet 尚无密钥")


@app.command("create")
def create(
    file: Annotated[Path | None, typer.Argument(help="New key file of a person or system 人员密钥文件")] = None,
    key_id: Annotated[str, typer.Option("--key-id", help="Its name in the policy 密钥在策略中的名称")] = "",
    algorithm: Annotated[Algorithm, typer.Option(help="How a person's key signs 算法")] = Algorithm.SM2,
    password: Annotated[
        str,
        typer.Option("--password", envvar="YINQI_KEY_PASSWORD", help="Of a person's key 口令", show_default=False),
    ] = "",
    profile: Annotated[str, typer.Option("--profile", help="For this bank profile, in the gateway 银行配置")] = "",
    purpose: _PurposeOption = Purpose.SIGNING,
    valid_until: _Until = "",
) -> None:
    """Make a bank key in the gateway (--profile), or a key file for a person or a system (FILE --key-id) 生成密钥."""
    if profile:
        request = pb.StageKeyRequest(bank_profile=profile, purpose=_PURPOSES[purpose], create=True)
        _stage(request, valid_until)
    elif file is not None and key_id:
        _create_for_a_person(file, key_id, algorithm, password)
    else:
        fail(
            InvalidRequest(
                "KEY_SOURCE",
                "For a bank: yinqi keys create --profile NAME. For a person or a system: yinqi keys create FILE --key-id NAME.",
                "银行密钥用 --profile；人员密钥给出文件与 --key-id。",
            )
        )


@app.command("import")
def import_key(
    profile: _Profile,
    file: Annotated[
        str, typer.Option("--file", help="Name of a file in the gateway's key folder 密钥目录中的文件")
    ] = "",
    device_index: Annotated[int, typer.Option("--device-index", help="Number in the signing device 设备密钥号")] = 0,
    bank_key: Annotated[
        Path | None, typer.Option("--bank-key", help="The bank's public key: PEM, DER or hexadecimal 银行公钥文件")
    ] = None,
    purpose: _PurposeOption = Purpose.SIGNING,
    valid_until: _Until = "",
) -> None:
    """Take in a key, checked; it is not in use yet. No private key travels: put its file into the key folder 导入密钥."""
    request = pb.StageKeyRequest(bank_profile=profile, purpose=_PURPOSES[purpose])
    if bank_key is not None:
        request.purpose, request.public_key = pb.KEY_PURPOSE_BANK, _point_of(bank_key)
    elif device_index:
        request.device_index = device_index
    else:
        request.file = file
    _stage(request, valid_until)


@app.command("export")
def export(
    profile: _Profile,
    key_id: _KeyId,
    out: Annotated[Path | None, typer.Option("--out", help="Write the PEM there 写入文件")] = None,
) -> None:
    """Print the public half of a key, PEM and hexadecimal, to hand to the bank 导出公钥."""
    key = _find(profile, key_id)
    if not key.public_key:
        fail(NotFound("KEY_UNKNOWN", f"no key {key_id} with a public half in {profile}", "没有此公钥"))
    public = VerifyKey.from_spki(key.public_key)
    if out is not None:
        out.write_bytes(public.to_pem())
        console.print(f"written 已写入: {out}")
    else:
        console.print(public.to_pem().decode("ascii"), end="", markup=False, highlight=False)
    console.print(public.to_bytes().hex(), soft_wrap=True, highlight=False)
    console.print(f"key id 密钥编号 {key.key_id}", highlight=False)


@app.command("rotate")
def rotate(
    profile: _Profile,
    key_id: _KeyId,
    confirm: Annotated[bool, typer.Option("--confirm", help="You are the second person 第二人确认")] = False,
    overlap_hours: Annotated[
        int, typer.Option("--overlap-hours", min=0, help="How long the key before still verifies 旧密钥重叠期")
    ] = _OVERLAP_HOURS,
    own_key: Annotated[
        Path | None, typer.Option("--key", help="Your own key file, where a policy is in force 本人密钥文件")
    ] = None,
    own_key_id: Annotated[str, typer.Option("--key-id", help="Its name in the policy 密钥在策略中的名称")] = "",
    password: Annotated[
        str,
        typer.Option("--password", envvar="YINQI_KEY_PASSWORD", help="Of your key 本人密钥口令", show_default=False),
    ] = "",
) -> None:
    """Put a staged key in the place of the one in use: one person asks, another confirms 轮换密钥（双人）."""
    found = _find(profile, key_id)
    overlap_s = found.overlap_seconds if confirm else overlap_hours * 3600
    if confirm:
        console.print(
            f"asked by 申请人 {found.asked_by or '-'}, overlap 重叠期 {overlap_s / 3600:g} h", highlight=False
        )
    signature = _signature(found, overlap_s, own_key, own_key_id, password, is_confirmation=confirm)
    if confirm:
        confirmation = pb.ConfirmKeyActivationRequest(
            bank_profile=profile, key_id=key_id, signer=own_key_id, signature=signature
        )
        key = _ask(lambda stub: stub.ConfirmKeyActivation(confirmation)).key
        console.print(
            f"[green]active 已启用[/]: {key.key_id}, since 自 {_at(key.activated_at)}, by {key.activated_by}",
            highlight=False,
        )
        return
    asking = pb.AskKeyActivationRequest(
        bank_profile=profile, key_id=key_id, overlap_seconds=overlap_s, signer=own_key_id, signature=signature
    )
    key = _ask(lambda stub: stub.AskKeyActivation(asking)).key
    console.print(
        f"asked 已申请 by {key.asked_by}. Another person now runs 请另一人执行:\n"
        f"  yinqi keys rotate {profile} {key_id} --confirm",
        highlight=False,
    )


def _signature(
    key: pb.BankKey, overlap_s: int, file: Path | None, name: str, password: str, *, is_confirmation: bool
) -> bytes:
    """Sign the change with the person's own key; empty without one."""
    if file is None:
        return b""
    kind = KeyEventKind.ACTIVATED if is_confirmation else KeyEventKind.ACTIVATION_ASKED
    purpose = {number: KeyPurpose[word.name] for word, number in _PURPOSES.items()}[key.purpose]
    point = VerifyKey.from_spki(key.public_key).to_bytes().hex() if key.public_key else ""
    overlap = timedelta(seconds=overlap_s)
    try:
        content = statement(key.bank_profile, purpose, key.key_id, point, kind, overlap)
        return PrivateKey.load(file, name, password).sign(KEY_CHANGE_CONTEXT, content).signature
    except YinqiError as error:
        fail(error)


@app.command("retire")
def retire(profile: _Profile, key_id: _KeyId) -> None:
    """End a staged or retiring key at once and for ever 停用密钥."""
    key = _ask(lambda stub: stub.RetireKey(pb.RetireKeyRequest(bank_profile=profile, key_id=key_id))).key
    console.print(f"retired 已停用: {key.key_id}")


def _find(profile: str, key_id: str) -> pb.BankKey:
    listed = _ask(lambda stub: stub.ListKeys(pb.ListKeysRequest(bank_profile=profile))).keys
    key: pb.BankKey | None = next((one for one in listed if one.key_id == key_id), None)
    if key is None:
        fail(NotFound("KEY_UNKNOWN", f"no key {key_id} in {profile}; see `yinqi keys list`", "没有此密钥"))
    return key


def _stage(request: pb.StageKeyRequest, valid_until: str) -> None:
    if valid_until:
        request.valid_until.CopyFrom(_end_of_day(valid_until))
    key = _ask(lambda stub: stub.StageKey(request)).key
    console.print(f"[yellow]staged 待启用[/]: {key.key_id} {_PURPOSE_WORDS.get(key.purpose, '')}", highlight=False)
    if key.purpose == pb.KEY_PURPOSE_SIGNING:
        console.print(f"hand the bank 交给银行: yinqi keys export {key.bank_profile} {key.key_id}", highlight=False)
    console.print(f"then, two people 再由两人: yinqi keys rotate {key.bank_profile} {key.key_id}", highlight=False)


def _create_for_a_person(file: Path, key_id: str, algorithm: Algorithm, password: str) -> None:
    """Make a key and print what the policy must say of it."""
    key = PrivateKey.generate(key_id, algorithm)
    try:
        key.save(file, password)
    except YinqiError as error:
        fail(error)
    console.print(
        f'[[key]]\nid = "{key_id}"\nperson = "…"\nalgorithm = "{algorithm}"\npublic_key = "{key.public_key().raw.hex()}"',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _ask(action: Callable[[Any], Awaitable[T]]) -> T:
    async def converse(channel: grpc.aio.Channel) -> T:
        return await action(GatewayServiceStub(channel))

    return call("gateway", converse)


def _point_of(file: Path) -> bytes:
    """Read a bank's public key in whatever form it was handed over; check that it is a point of the curve."""
    try:
        content = file.read_bytes()
        try:
            point = bytes.fromhex(content.decode("ascii"))
        except ValueError:
            return VerifyKey.from_spki(content).to_bytes()
        return VerifyKey.from_bytes(point if len(point) == 65 else b"\x04" + point).to_bytes()
    except (OSError, ValueError, CryptoError) as error:
        fail(
            InvalidRequest(
                "KEY_SOURCE",
                f"{file} is no SM2 public key ({error}). Allowed: SubjectPublicKeyInfo in PEM or DER, or 130 hexadecimal "
                "digits beginning with 04.",
                "不是 SM2 公钥；允许 PEM、DER 或 04 开头的 130 位十六进制。",
            )
        )


def _end_of_day(text: str) -> Timestamp:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        fail(InvalidRequest("DATE_FORMAT", f"--valid-until {text}: a day like 2027-12-31", "日期格式错误"))
    end = datetime.combine(day, time(0), BANK_ZONE) + timedelta(days=1)
    stamp = Timestamp()
    stamp.FromDatetime(end.astimezone(UTC).replace(tzinfo=None))
    return stamp


def _days(key: pb.BankKey) -> str:
    until = "" if not key.HasField("valid_until") else _at(key.valid_until)
    words = f"{_at(key.valid_from)} – {until or '∞'}"
    if key.state == pb.KEY_STATE_RETIRING:
        words += f"\nverifies until 验签至 {_at(key.retires_at)}"
    return words


def _people(key: pb.BankKey) -> str:
    steps = [f"{key.origin.lower()} {key.staged_by}"]
    if key.asked_by:
        steps.append(f"asked 申请 {key.asked_by}")
    if key.activated_by:
        steps.append(f"activated 启用 {key.activated_by}")
    if key.retired_by:
        steps.append(f"retired 停用 {key.retired_by}")
    return "\n".join(steps)


def _at(stamp: Timestamp) -> str:
    return f"{stamp.ToDatetime(UTC).astimezone(BANK_ZONE):%Y-%m-%d %H:%M}"
