"""`yinqi approve`: the orders that wait for people, each proven here before it is shown, and signed decisions on them."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from yinqi.api.payment.v1 import order_pb2
from yinqi.cli.connection import call_orders, console, fail
from yinqi.client import KeyFileInvalid, OrderClient, PrivateKey, ShownOrder
from yinqi.demo.words import status_text
from yinqi.kernel.errors import FailedPrecondition, YinqiError
from yinqi.kernel.money import Money
from yinqi.orders.evidence import signed_from
from yinqi.orders.order import read_order
from yinqi.orders.policy_file import load_policy
from yinqi.payment.code_secrets import CodeSecrets, enrolment_uri
from yinqi.payment.settings import PaymentSettings
from yinqi.runtime.settings import load_settings

app = typer.Typer(help="Orders that wait for approval 待审批付款单.", no_args_is_help=True)

_Order = Annotated[str, typer.Argument(help="The order's id or digest 付款单号或摘要")]
_Key = Annotated[Path, typer.Option("--key", help="Your key file 审批人密钥文件")]
_KeyId = Annotated[str, typer.Option("--key-id", help="Its name in the policy 密钥在策略中的名称")]
_Password = Annotated[
    str, typer.Option("--password", envvar="YINQI_KEY_PASSWORD", help="Of the key file 密钥口令", show_default=False)
]
_Code = Annotated[str, typer.Option("--code", help="Of your device, if asked for 动态口令", show_default=False)]
_Yes = Annotated[bool, typer.Option("--yes", help="Sign without asking again 不再询问")]


@app.command("list")
def list_approvals() -> None:
    """List orders that wait, oldest first 待审批列表."""
    approvals = call_orders(lambda client: client.approvals())
    table = Table(expand=False)
    for header in ("order 付款单", "made by 经办", "lines 笔数", "total 合计", "missing 尚缺", "received 受理时间"):
        table.add_column(header, overflow="fold")
    for approval in approvals:
        order = read_order(signed_from(approval.evidence.order))
        table.add_row(
            escape(order.order_id),
            escape(order.vouched_for or order.key_id),
            str(order.line_count),
            ", ".join(str(Money(currency, units)) for currency, units in sorted(order.totals.items())),
            _missing(approval),
            approval.received_at.ToJsonString(),
        )
    console.print(table if approvals else "nothing waits for approval 没有待审批的付款单")


@app.command("show")
def show(order: _Order) -> None:
    """Show one order as it was signed 审批详情."""
    _print(call_orders(lambda client: client.show(order)))


@app.command("give")
def give(
    order: _Order, key: _Key, key_id: _KeyId, password: _Password = "", code: _Code = "", yes: _Yes = False
) -> None:
    """Approve an order with your own key 同意."""
    _decide(order, key, key_id, password, approves=True, is_sure=yes, code=code)


@app.command("refuse")
def refuse(order: _Order, key: _Key, key_id: _KeyId, password: _Password = "", yes: _Yes = False) -> None:
    """Refuse an order with your own key; it is never paid then 拒绝."""
    _decide(order, key, key_id, password, approves=False, is_sure=yes)


@app.command("enrol")
def enrol(person: Annotated[str, typer.Argument(help="As the policy names him 策略中的姓名")]) -> None:
    """Give a person one-time codes, where the payment service runs; what is printed is shown once 开通动态口令."""
    own = load_settings(PaymentSettings)
    try:
        signed = load_policy(own.filled(own.payment_policy_dir)) if own.payment_policy_dir else None
        if signed is None or person not in signed.policy.roles:
            raise FailedPrecondition(
                "PERSON_UNKNOWN",
                "The policy of YINQI_PAYMENT_POLICY_DIR has no such person.",
                "策略（YINQI_PAYMENT_POLICY_DIR）中没有该人员。",
            )
        codes = CodeSecrets(own.filled(own.payment_codes_file), own.filled(own.payment_codes_key_file))
        secret = codes.enrol(person, secrets.token_bytes)
    except YinqiError as error:
        fail(error)
    console.print(
        "Put this into the person's authenticator app now; it is not shown again. 请立即录入动态口令 App，不再显示。"
    )
    console.print(enrolment_uri(person, signed.policy.company, secret), markup=False, highlight=False, soft_wrap=True)


def _decide(
    order: str, file: Path, key_id: str, password: str, *, approves: bool, is_sure: bool, code: str = ""
) -> None:
    try:
        key = PrivateKey.load(file, key_id, password)
    except KeyFileInvalid as error:
        fail(error)
    shown = call_orders(lambda client: client.show(order))
    _print(shown)
    if not is_sure:
        typer.confirm("Sign your approval? 确认同意？" if approves else "Sign your refusal? 确认拒绝？", abort=True)

    if approves and shown.approval.needs_one_time_code and not code:
        code = typer.prompt("One-time code 动态口令", hide_input=True)

    async def decide(client: OrderClient) -> order_pb2.Approval:
        return await client.decide(shown, key, approves=approves, one_time_code=code)

    approval = call_orders(decide)
    console.print(f"recorded 已受理; missing 尚缺: {_missing(approval)}")


def _print(shown: ShownOrder) -> None:
    console.print(shown.text, markup=False, highlight=False)
    counts = ", ".join(f"{one.count} {status_text(one.status)}" for one in shown.approval.counts)
    console.print(f"digest 摘要 {shown.digest.hex()}\n{counts}; missing 尚缺: {_missing(shown.approval)}")


def _missing(approval: order_pb2.Approval) -> str:
    missing = [f"{one.count} {one.role}{_who(one)}" for one in approval.missing]
    obstacles = [f"{one.reason} x {one.count}: {escape(one.text)}" for one in approval.obstacles]
    return ", ".join((*missing, *obstacles)) or "nothing 无"


def _who(missing: order_pb2.MissingApproval) -> str:
    return f" ({escape(' / '.join(missing.people))})" if missing.people else ""
