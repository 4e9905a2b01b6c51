"""Words and tables for people at a terminal: two languages, exact money, masked numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from rich.markup import escape
from rich.table import Table

from yinqi.api.account.v1 import account_pb2
from yinqi.api.common.v1 import money_pb2
from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.api.reconciliation.v1 import reconciliation_pb2
from yinqi.intake.handover import Refusal
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.money import Money, format_decimal

_STATUS_WORDS = {
    "RECEIVED": ("已受理", "cyan"),
    "SCREENED": ("筛查通过", "cyan"),
    "AWAITING_APPROVAL": ("待审批", "yellow"),
    "APPROVED": ("已审批", "cyan"),
    "SCHEDULED": ("待执行", "cyan"),
    "SUBMITTING": ("提交中", "blue"),
    "PROCESSING": ("银行处理中", "blue"),
    "UNKNOWN": ("状态未知", "bold magenta"),
    "SETTLED": ("付款成功", "green"),
    "REJECTED": ("付款失败", "red"),
    "RETURNED": ("退汇", "yellow"),
    "CANCELLED": ("已撤销", "dim"),
    "BLOCKED": ("筛查拦截", "bold red"),
    "EXPIRED": ("已过期", "dim"),
}
_REASON_WORDS = {
    "BANK_DEBIT_NOT_IN_BOOKS": "银行已付企业未付",
    "BANK_CREDIT_NOT_IN_BOOKS": "银行已收企业未收",
    "BOOK_DEBIT_NOT_AT_BANK": "企业已付银行未付",
    "BOOK_CREDIT_NOT_AT_BANK": "企业已收银行未收",
    "AMOUNT_DIFFERS": "金额不符",
    "AMBIGUOUS": "多笔相同",
    "STATEMENT_INCOMPLETE": "对账单不完整",
}
_REFUSED_SHOWN_MAX = 50
_SEVERITY_COLOURS = {"INFO": "cyan", "WARNING": "yellow", "CRITICAL": "bold red"}
FINAL = frozenset(
    {
        payment_pb2.PAYMENT_STATUS_SETTLED,
        payment_pb2.PAYMENT_STATUS_REJECTED,
        payment_pb2.PAYMENT_STATUS_RETURNED,
        payment_pb2.PAYMENT_STATUS_CANCELLED,
        payment_pb2.PAYMENT_STATUS_BLOCKED,
        payment_pb2.PAYMENT_STATUS_EXPIRED,
    }
)


def status_name(status: payment_pb2.PaymentStatus.ValueType) -> str:
    """Return e.g. "SETTLED"."""
    return payment_pb2.PaymentStatus.Name(status).removeprefix("PAYMENT_STATUS_")


def status_text(status: payment_pb2.PaymentStatus.ValueType) -> str:
    """Return e.g. "SETTLED 付款成功" in its colour."""
    name = status_name(status)
    words, colour = _STATUS_WORDS.get(name, ("", "white"))
    return f"[{colour}]{name}[/] {words}".strip()


def break_reason(reason: reconciliation_pb2.BreakReason.ValueType) -> str:
    """Return e.g. "BANK_DEBIT_NOT_IN_BOOKS"."""
    return reconciliation_pb2.BreakReason.Name(reason).removeprefix("BREAK_REASON_")


def break_reason_text(reason: reconciliation_pb2.BreakReason.ValueType) -> str:
    """Return the reason in two languages."""
    name = break_reason(reason)
    return f"{name} {_REASON_WORDS.get(name, '')}".strip()


def money_text(money: money_pb2.Money) -> str:
    """Return e.g. "CNY 1,234.50", exact."""
    decimal = format_decimal(Money(money.currency, money.minor_units))
    whole, dot, fraction = decimal.partition(".")
    return (
        f"{money.currency} {int(whole):,}{dot}{fraction}"
        if not whole.startswith("-0")
        else f"{money.currency} {decimal}"
    )


def instant_text(stamp: Timestamp) -> str:
    """Return the instant in Beijing time, to the second; "" if it is not set."""
    return local(stamp).strftime("%Y-%m-%d %H:%M:%S") if stamp.seconds else ""


def local(stamp: Timestamp) -> datetime:
    """Return the instant in Beijing time."""
    return stamp.ToDatetime(tzinfo=BANK_ZONE)


def masked(number: str) -> str:
    """Return an account number with its middle hidden: lists are seen over shoulders."""
    return number if len(number) <= 8 else f"{number[:4]}…{number[-4:]}"


def refusal_table(refusals: Sequence[Refusal]) -> Table:
    """Return the refused lines as people read them."""
    table = Table(title="Refused lines 被拒绝的行", title_justify="left", expand=False)
    for header in ("line 行", "end_to_end_id", "field 字段", "reason 原因", "what to do 说明"):
        table.add_column(header, overflow="fold")
    for r in refusals[:_REFUSED_SHOWN_MAX]:
        words = "\n".join(escape(text) for text in (r.message, r.message_zh) if text)
        table.add_row(str(r.line), escape(r.end_to_end_id), r.field, f"[red]{r.reason}[/]", words)
    if len(refusals) > _REFUSED_SHOWN_MAX:
        table.caption = f"and {len(refusals) - _REFUSED_SHOWN_MAX} more; --json prints all"
    return table


def count_table(counts: Sequence[payment_service_pb2.PaymentCount]) -> Table:
    """Return payments by status and currency, with sums."""
    sums: dict[tuple[payment_pb2.PaymentStatus.ValueType, str], tuple[int, int]] = {}
    for row in counts:
        count, minor_units = sums.get((row.status, row.currency), (0, 0))
        sums[row.status, row.currency] = (count + row.count, minor_units + row.minor_units)
    table = Table(expand=False)
    table.add_column("status 状态")
    table.add_column("count 笔数", justify="right")
    table.add_column("sum 金额", justify="right")
    for (status, currency), (count, minor_units) in sorted(sums.items()):
        amount = money_pb2.Money(currency=currency, minor_units=minor_units)
        table.add_row(status_text(status), f"{count:,}", money_text(amount))
    return table


def balance_table(balances: Sequence[account_pb2.Balance]) -> Table:
    """Return balances of books and bank side by side."""
    table = Table(expand=False)
    for header in ("account 账号", "books 账面", "held 冻结", "bank 银行", "bank available 银行可用"):
        table.add_column(header, justify="left" if header.startswith("account") else "right")
    for balance in balances:
        table.add_row(
            masked(balance.account),
            money_text(balance.ledger_balance),
            money_text(balance.held_balance),
            money_text(balance.bank_booked_balance) if balance.HasField("bank_booked_balance") else "",
            money_text(balance.bank_available_balance) if balance.HasField("bank_available_balance") else "",
        )
    return table


def adjustment_table(run: reconciliation_pb2.Reconciliation) -> Table:
    """Return the balance adjustment table (余额调节表) in its customary two columns."""
    t = run.balance_adjustment
    table = Table(
        title=f"余额调节表 Balance adjustment · {masked(run.account)} · {run.date}", title_justify="left", expand=False
    )
    table.add_column("bank 银行对账单")
    table.add_column("", justify="right")
    table.add_column("books 企业账面")
    table.add_column("", justify="right")
    table.add_row(
        "closing balance 对账单余额", money_text(t.bank_balance), "book balance 账面余额", money_text(t.book_balance)
    )
    table.add_row(
        "+ received in books, not at bank 加：企业已收银行未收",
        money_text(t.book_credits_not_at_bank),
        "+ received at bank, not in books 加：银行已收企业未收",
        money_text(t.bank_credits_not_in_books),
    )
    table.add_row(
        "− paid in books, not at bank 减：企业已付银行未付",
        money_text(t.book_debits_not_at_bank),
        "− paid at bank, not in books 减：银行已付企业未付",
        money_text(t.bank_debits_not_in_books),
    )
    colour = "green" if t.is_balanced else "red"
    table.add_section()
    table.add_row(
        "adjusted 调节后余额",
        f"[bold {colour}]{money_text(t.adjusted_bank_balance)}[/]",
        "adjusted 调节后余额",
        f"[bold {colour}]{money_text(t.adjusted_book_balance)}[/]",
    )
    if not run.is_statement_complete:
        table.caption = "the bank's statement of this day is not complete 当日对账单不完整: yinqi statement fetch"
    elif not t.is_balanced:
        table.caption = "the two sides differ 两侧不平"
    return table


def break_table(breaks: Sequence[reconciliation_pb2.Break]) -> Table:
    """Return breaks as people read them."""
    table = Table(title="Breaks 差异", title_justify="left", expand=False)
    for header in (
        "break_id",
        "date 日期",
        "reason 原因",
        "amount 金额",
        "counterparty 对方",
        "text 摘要",
        "status 状态",
    ):
        table.add_column(header, overflow="fold")
    for item in breaks:
        table.add_row(
            item.break_id,
            item.date,
            break_reason_text(item.reason),
            money_text(item.amount),
            item.counterparty_name,
            item.description,
            reconciliation_pb2.BreakStatus.Name(item.status).removeprefix("BREAK_STATUS_"),
        )
    return table


def alert_table(alerts: Sequence[monitoring_pb2.Alert]) -> Table:
    """Return alerts as people read them."""
    table = Table(expand=False)
    for header in (
        "alert_id",
        "raised 时间",
        "severity 级别",
        "rule 规则",
        "summary 摘要",
        "status 状态",
        "delivered 送达",
    ):
        table.add_column(header, overflow="fold")
    for alert in alerts:
        severity = monitoring_pb2.Severity.Name(alert.severity).removeprefix("SEVERITY_")
        table.add_row(
            alert.alert_id,
            instant_text(alert.raised_at),
            f"[{_SEVERITY_COLOURS.get(severity, 'white')}]{severity}[/]",
            alert.rule,
            f"{alert.summary}\n{alert.summary_zh}",
            monitoring_pb2.AlertStatus.Name(alert.status).removeprefix("ALERT_STATUS_"),
            instant_text(alert.delivered_at),
        )
    return table
