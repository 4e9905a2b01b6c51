"""The demo's last page: what people want to know first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.demo.report import Findings, Verdict, lost, sent_twice, stolen, trace_ids
from yinqi.demo.words import break_reason_text, money_text, status_text


def print_summary(console: Console, found: Findings, verdict: Verdict, report: Path) -> None:
    """Print counts by status, breaks, alerts, the verdict and where to look next."""
    console.rule("[bold]Summary 总结[/]", align="left")
    console.print(_status_table(found))
    if found.breaks:
        console.print(_break_table(found))
    console.print(_alert_table(found))
    console.print(_number_table(found))
    console.print(_verdict_table(verdict))
    colour, words = (
        ("green", "the money adds up on both sides 账实相符")
        if verdict.is_good
        else ("red", "it does not add up 未通过")
    )
    console.print(Panel.fit(f"[bold {colour}]{words}[/]\n{_next(report)}", border_style=colour))


def _status_table(found: Findings) -> Table:
    table = Table(title="Payments 付款", title_justify="left", expand=False)
    table.add_column("status 状态")
    table.add_column("count 笔数", justify="right")
    for status, count in sorted(Counter(p.status for p in found.payments).items()):
        table.add_row(status_text(status), f"{count:,}")
    refused = sum(len(handover.refused) for handover in found.handovers)
    table.add_row("[red]refused before acceptance[/] 受理前拒绝", f"{refused:,}")
    return table


def _break_table(found: Findings) -> Table:
    table = Table(title="Breaks 未达账项", title_justify="left", expand=False)
    for header in ("date 日期", "reason 原因", "amount 金额", "text 摘要"):
        table.add_column(header)
    for item in found.breaks:
        table.add_row(item.date, break_reason_text(item.reason), money_text(item.amount), item.description)
    return table


def _alert_table(found: Findings) -> Table:
    table = Table(title="Alerts 告警", title_justify="left", expand=False)
    for header in ("rule 规则", "severity 级别"):
        table.add_column(header)
    for header in ("raised 产生", "delivered 送达"):
        table.add_column(header, justify="right")
    for (rule, severity), count in sorted(Counter((a.rule, a.severity) for a in found.alerts).items()):
        name = monitoring_pb2.Severity.Name(severity).removeprefix("SEVERITY_")
        delivered = sum(a.HasField("delivered_at") for a in found.alerts if a.rule == rule and a.severity == severity)
        table.add_row(rule, name, str(count), str(delivered))
    return table


def _number_table(found: Findings) -> Table:
    table = Table(title="Proof 证据", title_justify="left", expand=False)
    table.add_column("what")
    table.add_column("figure", justify="right")
    ids = trace_ids(found.payments)
    totals = found.bank_book["totals"]
    rows = [
        ("sent twice, by the bank's own book 重复发送", len(sent_twice(found.bank_book))),
        ("lost, by the bank's own book 丢失", len(lost(found))),
        ("orders the ERP signed 已签名付款单", found.orders_signed),
        ("approvals people signed 已签名审批", found.decisions),
        ("thefts tried 盗付尝试", len(found.thefts)),
        ("of them stopped at the last door 已拦截", len(found.thefts) - len(stolen(found))),
        ("received by the bank 银行收到", totals["received"]),
        ("matched by reference 按参考号勾对", sum(r.reference_match_count for r in found.reconciliations)),
        (
            "matched by amount, date, counterparty 按金额日期户名",
            sum(r.amount_match_count for r in found.reconciliations),
        ),
        ("entries of the imported camt.053 导入明细", found.imported_entries),
        ("alerts the webhook received 收到的告警", len(set(found.alert_ids_received))),
        ("in messages 合并为消息", found.webhook_messages),
    ]
    if found.traces is not None:
        rows += [
            ("payments with one connected trace 完整链路", found.traces.connected_of(ids)),
            ("orphan spans 孤立节点", found.traces.orphans),
            ("spans 节点总数", found.traces.spans),
        ]
    if found.journals is not None:
        rows.append(("journal rows checked against their seals 封存的日志行", found.journals.rows))
    for name, value in rows:
        table.add_row(name, f"{value:,}")
    for name, seconds in found.timings_s.items():
        table.add_row(f"[dim]{name}[/]", f"[dim]{seconds:.1f} s[/]")
    return table


def _verdict_table(verdict: Verdict) -> Table:
    table = Table(show_header=False, box=None)
    for sentence, holds in verdict.holds.items():
        table.add_row("[green]✓[/]" if holds else "[red]✗[/]", sentence)
    return table


def _next(report: Path) -> str:
    return (
        f"report 报告          {report}\n"
        f"logs 日志            {report.parent / 'log'}\n"
        "keep it running 常驻  make up   (console 控制台 http://127.0.0.1:7180/)\n"
        "read on 文档          docs/architecture.md"
    )
