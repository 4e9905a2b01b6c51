"""What the commands print for people."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from yinqi.sandbox_bank.fault_catalog import Fault, Field


def fault_as_json(fault: Fault) -> dict[str, Any]:
    """A fault of the catalogue as plain values."""
    return {
        "name": fault.name,
        "strikes": fault.scope,
        "what": fault.what,
        "times": fault.times,
        "fields": {
            name: {"default": one.default, "allowed": list(one.choices), "what": one.what}
            for name, one in fault.fields.items()
        },
        "example": example(fault),
    }


def example(fault: Fault) -> str:
    """A whole rule that parses and fires."""
    return f"[[rule]]\n{fault.example}\n"


def fault_text(fault: Fault) -> str:
    """A fault with its fields and its example."""
    times = "always" if fault.times is None else f"times = {fault.times}"
    lines = [
        f"[bold]{fault.name}[/]  strikes a {fault.scope}, {times} unless the rule says otherwise",
        f"  {escape(fault.what)}",
    ]
    lines += [
        f"  {name} = {escape(_default(one))}  {escape(one.what)}{_allowed(one)}" for name, one in fault.fields.items()
    ]
    return "\n".join([*lines, "", *(f"    [green]{escape(line)}[/]" for line in example(fault).splitlines()), ""])


def rules_table(report: dict[str, Any]) -> Table:
    """Each rule in force: how often its conditions held, how often it struck."""
    table = _table("rules in force 生效规则", "rule", "faults", "conditions held", "struck")
    for rule in report["rules"]:
        table.add_row(escape(rule["name"]), ", ".join(rule["faults"]), str(rule["seen"]), str(rule["applied"]))
    return table


def fired_table(report: dict[str, Any]) -> Table:
    """The last faults that struck."""
    total = ", ".join(f"{name} {count}" for name, count in report["counts"].items()) or "none 无"
    table = _table(f"struck so far 已触发: {total}", "bank time", "fault", "rule", "function", "subject")
    for one in report["fired"]:
        table.add_row(one["at"], one["fault"], escape(one["rule"]), escape(one["function"]), escape(one["subject"]))
    return table


def references_table(report: dict[str, Any], limit: int) -> Table:
    """Debits, money back and net of the newest references; those debited twice always."""
    double = set(report["double_debited_references"])
    newest = {one["reference"] for one in report["payments"][-limit:]} if limit else set()
    shown = [one for one in report["payments"] if one["reference"] in newest | double]
    title = f"{len(shown)} of {len(report['payments'])} references 业务参考号"
    table = _table(title, "reference", "amount", "state", "received", "refused", "debits", "returns", "net", "")
    for one in shown:
        twice, never = one["reference"] in double, one["times_debited"] == 0
        table.add_row(
            escape(one["reference"]),
            f"{one['currency']} {one['amount']}",
            f"{one['status']}/{one['return_flag']}",
            *(str(one[name]) for name in ("times_received", "duplicates_refused", "times_debited", "times_credited")),
            one["net_debited"],
            "[bold red]DOUBLE DEBIT 重复扣款[/]" if twice else "never debited 未扣款" if never else "",
        )
    return table


def verdict(report: dict[str, Any]) -> str:
    """The judge's sentence."""
    broken = {name: count for name, count in report["integrity"].items() if count}
    sound = "the book is sound 账簿完好" if not broken else f"[bold red]the book is broken 账簿有误: {broken}[/]"
    return (
        f"double debits 重复扣款: {report['double_debits']}; seen but never debited 从未扣款: {report['never_debited']}; "
        f"totals: {', '.join(f'{name} {count}' for name, count in report['totals'].items())}; {sound}"
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", expand=False)
    for column in columns:
        table.add_column(column)
    return table


def _default(one: Field) -> str:
    return str(one.default).lower() if isinstance(one.default, bool) else repr(one.default).replace("'", '"')


def _allowed(one: Field) -> str:
    return f" ({escape(', '.join(one.choices))})" if one.choices else ""
