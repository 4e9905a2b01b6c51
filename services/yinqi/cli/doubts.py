"""`yinqi doubts`: payments that nobody can prove, all that is known of them, and the decisions of two people."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from yinqi.api.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from yinqi.api.payment.v1 import doubt_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.cli.connection import call, console, settings
from yinqi.demo.words import instant_text, money_text, status_text
from yinqi.kernel.clock import SystemClock
from yinqi.runtime.grpc_client import open_channel

app = typer.Typer(help="Payments that wait for people 存疑付款.", no_args_is_help=True)

Stub = payment_service_pb2_grpc.PaymentServiceStub

_REASON_WORDS = {
    "CONTRADICTION": ("the bank contradicts itself", "银行答复前后矛盾"),
    "QUERIES_EXHAUSTED": ("asked often, still unknown", "多次查询仍未知"),
    "UNKNOWN_TOO_LONG": ("unknown for too long", "状态未知超时"),
    "PROCESSING_TOO_LONG": ("the bank never ends it", "银行处理超时"),
    "RESENDS_EXHAUSTED": ("sent again as often as allowed", "重发次数已用尽"),
}
_MISSING_WORDS = {
    "NOT_IN_DOUBT": ("its status is not UNKNOWN", "状态不是未知"),
    "CONTRADICTED": ("the bank has contradicted itself about it", "银行答复前后矛盾"),
    "NEVER_SUBMITTED": ("it was never sent", "从未提交"),
    "NO_EMPTY_ANSWER": ("the bank never said that it has no record", "银行从未答复查无记录"),
    "CONTROL_NOT_SEEN": (
        "nothing shows that the query could see: ask the bank for the right to query",
        "无法证明查询权限有效，请向银行确认查询权限",
    ),
    "ANSWER_NOT_ARCHIVED": ("the bank's answer is not on record", "银行答复未归档"),
    "NO_SAFE_WINDOW": ("the bank's profile has no safe window", "银行配置缺少安全时间窗"),
    "QUERIED_IN_THE_FUTURE": ("the answer is from the future: check the clocks", "答复时间晚于当前时间，请检查时钟"),
    "INSIDE_SAFE_WINDOW": ("the question came before the safe window was over", "查询早于安全时间窗结束"),
    "EVIDENCE_EXPIRED": ("the last empty answer is too old; the next question renews it", "查无答复已过期，将重新查询"),
}
_DECISION_WORDS = {
    "DECLARE_SETTLED": (
        "the money left: needs --document, --serial and --booked",
        "确认已付：需凭证、银行流水号和记账日",
    ),
    "DECLARE_FAILED": (
        "it never counts: needs --document; pay again with a new order",
        "确认未付：需凭证；如需付款请重新下单",
    ),
    "ALLOW_RESEND": (
        "send it once more under the recorded proof: needs --document",
        "按已记录的证据允许重发：需凭证",
    ),
}


class DecisionWord(StrEnum):
    """What may be decided, as typed."""

    SETTLED = "settled"
    FAILED = "failed"
    RESEND = "resend"


_DECISIONS = {
    DecisionWord.SETTLED: doubt_pb2.DOUBT_DECISION_DECLARE_SETTLED,
    DecisionWord.FAILED: doubt_pb2.DOUBT_DECISION_DECLARE_FAILED,
    DecisionWord.RESEND: doubt_pb2.DOUBT_DECISION_ALLOW_RESEND,
}


@app.command("list")
def list_doubts(
    everything: Annotated[bool, typer.Option("--all", help="Also those that left the queue 含已处理")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most rows 最多行数")] = 100,
) -> None:
    """List payments that wait for people, longest waiting first 待人工处理列表."""

    async def ask(channel: grpc.aio.Channel) -> payment_service_pb2.ListDoubtsResponse:
        request = payment_service_pb2.ListDoubtsRequest(include_closed=everything, page_size=limit)
        return await Stub(channel).ListDoubts(request)

    response = call("payment", ask)
    table = Table(expand=False)
    for header in (
        "since 进入时间",
        "age 时长",
        "end_to_end_id",
        "creditor 收款人",
        "amount 金额",
        "status 状态",
        "why 原因",
        "missing for a resend 重发所缺",
        "proposed 已提议",
    ):
        table.add_column(header, justify="right" if header.startswith("amount") else "left", overflow="fold")
    for doubt in response.doubts:
        order = doubt.payment.instruction
        proposal = f"{_decision(doubt.proposal.decision)} {doubt.proposal.person}" if doubt.proposal.person else ""
        table.add_row(
            instant_text(doubt.opened_at),
            _age(doubt),
            escape(order.end_to_end_id),
            escape(order.creditor.name),
            money_text(order.instructed_amount),
            status_text(doubt.payment.status),
            _two(_REASON_WORDS, _reason(doubt)),
            ", ".join(doubt.missing_for_permit) or ("–" if doubt.HasField("closed_at") else "nothing 无"),
            escape(proposal),
        )
    console.print(table if response.doubts else "nothing waits for people 没有待人工处理的付款")
    if response.next_page_token:
        console.print(f"[dim]only the first {limit} are shown; raise --limit[/]")


@app.command("show")
def show_doubt(end_to_end_id: Annotated[str, typer.Argument(help="The caller's id 业务参考号")]) -> None:
    """Show all that is known of one, and what may be decided 存疑付款详情."""

    async def ask(
        channel: grpc.aio.Channel,
    ) -> tuple[doubt_pb2.Doubt, payment_service_pb2.GetPaymentResponse]:
        stub = Stub(channel)
        found = await stub.GetDoubt(payment_service_pb2.GetDoubtRequest(end_to_end_id=end_to_end_id))
        payment = await stub.GetPayment(payment_service_pb2.GetPaymentRequest(end_to_end_id=end_to_end_id))
        return found.doubt, payment

    doubt, payment = call("payment", ask)
    console.print(_facts(doubt))
    console.print(_missing_table(doubt))
    console.print(_decision_table(doubt))
    journal = Table(title="Journal 流转记录", title_justify="left", expand=False)
    for header in ("at 时间", "event 事件", "status 状态", "reason 原因", "by 操作者"):
        journal.add_column(header, overflow="fold")
    for event in payment.journal:
        reason = " ".join(filter(None, [event.reason.code, event.reason.proprietary_code, event.reason.text]))
        journal.add_row(
            instant_text(event.occurred_at),
            event.type,
            status_text(event.to_status),
            escape(reason),
            escape(event.actor),
        )
    console.print(journal)
    console.print(_messages_table(doubt.payment.instruction_id))


@app.command("resolve")
def resolve_doubt(
    end_to_end_id: Annotated[str, typer.Argument(help="The caller's id 业务参考号")],
    decision: Annotated[DecisionWord, typer.Argument(help="settled 已付, failed 未付, resend 重发")],
    document: Annotated[str, typer.Option(help="The bank's letter or the statement's entry 凭证编号")],
    person: Annotated[str, typer.Option(help="Who decides; two different people must 经办人")],
    serial: Annotated[str, typer.Option(help="The bank's serial 银行流水号")] = "",
    booked: Annotated[str, typer.Option(help="The bank's booking date, e.g. 2026-11-30 记账日")] = "",
    note: Annotated[str, typer.Option(help="For the journal 备注")] = "",
) -> None:
    """Decide on one; it takes effect when a second person says the same 处理存疑付款."""
    request = payment_service_pb2.ResolveDoubtRequest(
        end_to_end_id=end_to_end_id,
        decision=_DECISIONS[decision],
        document_reference=document,
        account_servicer_reference=serial,
        booking_date=booked,
        note=note,
    )

    async def ask(_: grpc.aio.Channel) -> payment_service_pb2.ResolveDoubtResponse:
        current = settings()
        async with open_channel(
            current.address_of("payment"), service_name=person, settings=current, roles="payment_resolver"
        ) as own:
            return await Stub(own).ResolveDoubt(request)

    response = call("payment", ask)
    if response.has_effect:
        console.print(f"[green]it holds[/] 已生效: {status_text(response.doubt.payment.status)}")
    else:
        console.print(
            "[yellow]recorded; a second person must say the same[/] 已记录，须由第二人确认:\n"
            f"  yinqi doubts resolve {escape(end_to_end_id)} {decision.value} --document … --person …",
            highlight=False,
        )


def _facts(doubt: doubt_pb2.Doubt) -> Table:
    payment, order = doubt.payment, doubt.payment.instruction
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("end_to_end_id", order.end_to_end_id),
        ("instruction_id 指令标识", payment.instruction_id),
        ("creditor 收款人", order.creditor.name),
        ("amount 金额", money_text(order.instructed_amount)),
        ("status 状态", status_text(payment.status)),
        ("why 原因", _two(_REASON_WORDS, _reason(doubt))),
        (
            "bank's last word 银行最近答复",
            " ".join(filter(None, (payment.status_reason.code, payment.status_reason.text))),
        ),
        ("does not fit 矛盾答复", doubt.contradiction),
        ("waits since 进入时间", f"{instant_text(doubt.opened_at)} ({_age(doubt)})"),
        ("left the queue 已处理", f"{instant_text(doubt.closed_at)} {doubt.closing}".strip()),
        ("attempt 提交次数", str(doubt.attempt)),
        ("questions 查询次数", str(doubt.queries)),
        ("proposed 已提议", _proposal(doubt.proposal)),
    ):
        if value.strip():
            facts.add_row(f"[dim]{name}[/]", value if name.startswith("status") else escape(value))
    return facts


def _missing_table(doubt: doubt_pb2.Doubt) -> Table:
    table = Table(title="Evidence for a resend 重发证据", title_justify="left", expand=False)
    table.add_column("what 项目")
    table.add_column("", overflow="fold")
    found = doubt.evidence
    if doubt.HasField("evidence"):
        seen = "seen 可见" if found.control_seen else "NOT SEEN 不可见"
        table.add_row("asked 查询时间", instant_text(found.queried_at))
        table.add_row("answer 答复档案号", escape(found.archive_id))
        table.add_row("control 对照参考号", escape(f"{found.control_reference} {seen}"))
        table.add_row("safe window 安全时间窗", f"{found.safe_window_ms / 1000:g} s")
    for code in doubt.missing_for_permit:
        table.add_row("[red]missing 缺少[/]", _two(_MISSING_WORDS, code))
    if not doubt.missing_for_permit and not doubt.HasField("closed_at"):
        table.add_row("[green]complete 齐备[/]", "")
    return table


def _decision_table(doubt: doubt_pb2.Doubt) -> Table:
    table = Table(title="What two people may decide 可作决定（须两人）", title_justify="left", expand=False)
    table.add_column("yinqi doubts resolve …")
    table.add_column("what it needs 所需", overflow="fold")
    words = {number: word for word, number in _DECISIONS.items()}
    for number in doubt.allowed_decisions:
        table.add_row(words[number].value, _two(_DECISION_WORDS, _decision(number)))
    return table


def _messages_table(instruction_id: str) -> Table:
    async def ask(channel: grpc.aio.Channel) -> gateway_service_pb2.ListMessagesResponse:
        stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)
        return await stub.ListMessages(gateway_service_pb2.ListMessagesRequest(instruction_id=instruction_id))

    table = Table(title="Messages with the bank 银行报文", title_justify="left", expand=False)
    for header in ("at 时间", "direction 方向", "function 功能", "archive id 档案号", "verified 验签", "failure 失败"):
        table.add_column(header, overflow="fold")
    for message in call("gateway", ask).messages:
        direction = gateway_service_pb2.MessageDirection.Name(message.direction).removeprefix("MESSAGE_DIRECTION_")
        verified = "yes 是" if message.is_verified else ""
        table.add_row(
            message.recorded_at, direction, message.function, message.archive_id, verified, escape(message.failure)
        )
    return table


def _proposal(proposal: doubt_pb2.DoubtProposal) -> str:
    if not proposal.person:
        return ""
    facts = (proposal.document_reference, proposal.account_servicer_reference, proposal.booking_date, proposal.note)
    return f"{_decision(proposal.decision)} {proposal.person} {instant_text(proposal.proposed_at)} " + " ".join(
        filter(None, facts)
    )


def _reason(doubt: doubt_pb2.Doubt) -> str:
    return doubt_pb2.DoubtReason.Name(doubt.reason).removeprefix("DOUBT_REASON_")


def _decision(number: doubt_pb2.DoubtDecision.ValueType) -> str:
    return doubt_pb2.DoubtDecision.Name(number).removeprefix("DOUBT_DECISION_")


def _two(words: dict[str, tuple[str, str]], code: str) -> str:
    english, chinese = words.get(code, ("", ""))
    return f"{code} {english} {chinese}".strip()


def _age(doubt: doubt_pb2.Doubt) -> str:
    """Return how long it has waited, or did, e.g. "3 h 05 min"."""
    until = doubt.closed_at.ToDatetime() if doubt.HasField("closed_at") else SystemClock().now().replace(tzinfo=None)
    minutes = max(0, int((until - doubt.opened_at.ToDatetime()).total_seconds() // 60))
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours else f"{rest} min"
