"""`yinqi payments`: look at payments and follow them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

import grpc
import typer
from rich.live import Live
from rich.table import Table

from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.cli.connection import ExitCode, call, console
from yinqi.demo.words import FINAL, count_table, instant_text, local, masked, money_text, status_text

app = typer.Typer(help="Look at payments 查询付款.", no_args_is_help=True)

Stub = payment_service_pb2_grpc.PaymentServiceStub


@app.command("list")
def list_payments(
    status: Annotated[str, typer.Option(help="e.g. SETTLED, UNKNOWN 状态")] = "",
    account: Annotated[str, typer.Option(help="Debtor account 付款账号")] = "",
    batch: Annotated[str, typer.Option(help="payment_information_id 批次号")] = "",
    creditor: Annotated[str, typer.Option(help="Part of the creditor's name 收款人")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most rows 最多行数")] = 50,
) -> None:
    """List payments, newest first 付款列表."""
    payment_filter = payment_service_pb2.PaymentFilter(
        statuses=[_status(status)] if status else [],
        debtor_account=account,
        payment_information_id=batch,
        creditor_name=creditor,
    )

    async def ask(channel: grpc.aio.Channel) -> payment_service_pb2.ListPaymentsResponse:
        request = payment_service_pb2.ListPaymentsRequest(filter=payment_filter, page_size=limit)
        return await Stub(channel).ListPayments(request)

    response = call("payment", ask)
    table = Table(expand=False)
    for header in (
        "received 受理时间",
        "end_to_end_id",
        "creditor 收款人",
        "account 账号",
        "amount 金额",
        "status 状态",
        "reason 原因",
    ):
        table.add_column(header, justify="right" if header.startswith("amount") else "left", overflow="fold")
    for payment in response.payments:
        order = payment.instruction
        table.add_row(
            instant_text(payment.received_at),
            order.end_to_end_id,
            order.creditor.name,
            masked(order.creditor_account.identification),
            money_text(order.instructed_amount),
            status_text(payment.status),
            payment.status_reason.code,
        )
    console.print(table)
    if response.next_page_token:
        console.print(f"[dim]only the newest {limit} are shown; narrow the filter or raise --limit[/]")


def _status(text: str) -> payment_pb2.PaymentStatus.ValueType:
    try:
        return payment_pb2.PaymentStatus.Value(f"PAYMENT_STATUS_{text.upper()}")
    except ValueError:
        allowed = ", ".join(name.removeprefix("PAYMENT_STATUS_") for name in payment_pb2.PaymentStatus.keys()[1:])
        raise typer.BadParameter(f"{text} is not a status; one of {allowed}") from None


@app.command("show")
def show_payment(end_to_end_id: Annotated[str, typer.Argument(help="The caller's id 业务参考号")]) -> None:
    """Show one payment with its journal 付款详情与流转记录."""

    async def ask(channel: grpc.aio.Channel) -> payment_service_pb2.GetPaymentResponse:
        return await Stub(channel).GetPayment(payment_service_pb2.GetPaymentRequest(end_to_end_id=end_to_end_id))

    response = call("payment", ask)
    payment = response.payment
    order = payment.instruction
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("end_to_end_id", order.end_to_end_id),
        ("instruction_id 指令标识", payment.instruction_id),
        ("status 状态", status_text(payment.status)),
        ("reason 原因", " ".join(filter(None, [payment.status_reason.code, payment.status_reason.text]))),
        ("creditor 收款人", order.creditor.name),
        ("creditor account 收款账号", order.creditor_account.identification),
        (
            "creditor agent 收款行",
            f"{order.creditor_agent.clearing_member_id or order.creditor_agent.bicfi} {order.creditor_agent.name}",
        ),
        ("amount 金额", money_text(order.instructed_amount)),
        ("debtor account 付款账号", order.debtor_account.identification),
        ("remittance 附言", order.remittance_information),
        ("bank serial 银行流水号", payment.account_servicer_reference),
        ("settled 记账日", payment.settlement_date),
        ("returned 退汇日", payment.return_date),
        ("attempts 提交次数", str(payment.submission_attempts)),
        ("trace", payment.traceparent[3:35]),
    ):
        if value.strip():
            facts.add_row(f"[dim]{name}[/]", value)
    console.print(facts)
    journal = Table(title="Journal 流转记录", title_justify="left", expand=False)
    for header in ("at 时间", "event 事件", "status 状态", "reason 原因", "by 操作者"):
        journal.add_column(header, overflow="fold")
    for event in response.journal:
        at = local(event.occurred_at).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        reason = " ".join(filter(None, [event.reason.code, event.reason.proprietary_code, event.reason.text]))
        journal.add_row(at, event.type, status_text(event.to_status), reason, event.actor)
    console.print(journal)


@app.command("cancel")
def cancel_payment(
    end_to_end_id: Annotated[str, typer.Argument(help="The caller's id 业务参考号")],
    reason: Annotated[str, typer.Option(help="For the journal 撤销原因")] = "",
) -> None:
    """Withdraw a payment that was not yet released 撤销未提交的付款."""

    async def ask(channel: grpc.aio.Channel) -> payment_service_pb2.CancelPaymentResponse:
        request = payment_service_pb2.CancelPaymentRequest(end_to_end_id=end_to_end_id, reason=reason)
        return await Stub(channel).CancelPayment(request)

    console.print(status_text(call("payment", ask).payment.status))


@app.command("watch")
def watch_payments(
    until_final: Annotated[bool, typer.Option("--until-final", help="End when nothing is open 全部完结后退出")] = False,
    timeout_s: Annotated[float, typer.Option(help="With --until-final: give up after seconds 最长等待秒数")] = 300.0,
) -> None:
    """Follow payments by status, live 实时跟踪."""
    deadline = time.monotonic() + timeout_s

    async def watch(channel: grpc.aio.Channel) -> bool:
        with Live(console=console, refresh_per_second=4) as live:
            async for counts in _counts(channel):
                live.update(count_table(counts))
                if until_final and counts and all(row.status in FINAL for row in counts):
                    return True
                if until_final and time.monotonic() > deadline:
                    return False
        return True

    if not call("payment", watch):
        console.print("[yellow]some payments are still open 仍有未完结的付款[/]: yinqi payments list --status UNKNOWN")
        raise typer.Exit(ExitCode.FAILED)


async def _counts(channel: grpc.aio.Channel) -> AsyncIterator[list[payment_service_pb2.PaymentCount]]:
    stub = Stub(channel)
    request = payment_service_pb2.CountPaymentsRequest()
    yield list((await stub.CountPayments(request)).counts)
    # New events only say when to count again.
    follow = payment_service_pb2.FollowPaymentsRequest(after_sequence=0)
    async for _ in stub.FollowPayments(follow):
        yield list((await stub.CountPayments(request)).counts)
