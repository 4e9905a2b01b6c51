"""What the services' own records say of the payment, and whether they agree with what is proved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yinqi.crypto import sm3
from yinqi.verify.bundle import Bundle, Item
from yinqi.verify.claims import Broken, Claim, missing, proved, reading, said
from yinqi.verify.forms import from_base64, text
from yinqi.verify.messages import signed_entries
from yinqi.verify.orders import Line

_MISSING = {
    "POLICY": (
        "no approval policy is in force at {service}: nobody had to sign or approve",
        "{service} 未启用审批策略",
    ),
    "ORDER": ("a signed order: nobody signed this payment", "签名付款单：本付款无人签名"),
    "DECISIONS": ("approvals: nobody decided on the order", "审批意见"),
    "SCREENING": ("a screening result", "付款前筛查结果"),
    "MESSAGES": ("messages to or from a bank: nothing was sent", "银行报文：尚未发送"),
    "POSTINGS": ("bookings in the ledger", "账务记录"),
    "SOME_MESSAGES": ("messages in the middle: all of them would be too much for a bundle", "部分中间报文：数量过大"),
    "STATEMENT_PAGE": ("a page of a statement that the bank signed", "有银行签名的对账单页"),
    "STATEMENT_ENTRY": ("an entry of the bank's statement", "银行对账单明细"),
    "RECEIPT": (
        "the bank's receipt: the bank gave none for this payment, so only its answers and statement show it",
        "电子回单：银行未提供，仅有其应答与对账单为证",
    ),
    "MATCH": ("a match of booking and statement entry", "对账结果"),
}


def check_facts(bundle: Bundle, line: Line) -> Iterator[Claim]:
    """Check the records of each service, and say what is missing."""
    yield from _payment(bundle, line)
    yield from _screening(bundle)
    yield from _release(bundle, line)
    yield from _entries(bundle, line)
    yield from _matches(bundle)
    for service, part in bundle.parts.items():
        for item in part.of_kind("missing"):
            with reading(item.line):
                words, words_zh = _MISSING.get(text(item.value["what"]), (item.value["what"], item.value["what"]))
            yield missing(item.line, words.format(service=service), words_zh.format(service=service))


def _payment(bundle: Bundle, line: Line) -> Iterator[Claim]:
    part = bundle.parts["payment"]
    rows = [item for item in part.rows("payment.payment_events") if item.value["row"]["sequence"] is not None]
    for item in part.rows("payments"):
        with reading(item.line):
            status = text(item.value["row"]["status"])
            if not rows:
                raise Broken(item.line, "has no row in payment's journal", "付款日志中没有该付款")
            for row in rows:
                _same(row, bundle.instruction_id, "payment")
            if rows[-1].value["row"]["to_status"] != status:
                raise Broken(
                    item.line,
                    f"says {status}, the journal's last row does not (line {rows[-1].line})",
                    "状态与日志不符",
                )
            amount = f"{line.currency} {line.amount} minor units"
        yield proved(
            item.line,
            f"payment {line.end_to_end_id}, {amount}, is {status}; so ends its journal of {len(rows)} rows",
            f"付款 {line.end_to_end_id}，{line.currency} {line.amount}（最小货币单位），状态 {status}，与其 {len(rows)} 行日志一致",
        )


def _screening(bundle: Bundle) -> Iterator[Claim]:
    for item in bundle.parts["monitoring"].rows("screening"):
        with reading(item.line):
            row = item.value["row"]
            _same(item, bundle.instruction_id, "monitoring")
            verdict, rule, at = text(row["verdict"]), text(row["rule"]), text(row["screened_at"])
        yield said(
            item.line, f"screening at {at}: {verdict} {rule}".rstrip(), f"{at} 筛查结果：{verdict} {rule}".rstrip()
        )


def _release(bundle: Bundle, line: Line) -> Iterator[Claim]:
    digests = set[str]()
    for item in bundle.parts["payment"].of_kind("order"):
        with reading(item.line):
            digests.add(sm3(b"yinqi/payment-order/v1\x00" + from_base64(item.value["content"])).hex())
    for item in bundle.parts["gateway"].rows("gateway_releases"):
        with reading(item.line):
            row = item.value["row"]
            _same(item, bundle.instruction_id, "gateway")
            facts = (row["end_to_end_id"], row["creditor_account"], row["amount_minor_units"])
            at = text(row["released_at"])
            if facts != (line.end_to_end_id, line.creditor_account, line.amount) or row["order_digest"] not in digests:
                raise Broken(item.line, "let out something else than this line of this order", "放行内容与付款单不符")
        yield said(
            item.line,
            f"the last door let out this line of this order at {at}, by its own policy and keys",
            f"最后一道门于 {at} 按自己的策略与密钥放行本笔",
        )


def _entries(bundle: Bundle, line: Line) -> Iterator[Claim]:
    signed = signed_entries(bundle, line)
    for item in bundle.parts["account"].rows("account.statement_entries"):
        with reading(item.line):
            row = item.value["row"]
            ours = row["instruction_id"] == bundle.instruction_id or row["end_to_end_id"] == bundle.end_to_end_id
            if not ours:
                raise Broken(item.line, "is an entry of another payment", "对账单明细属于另一笔付款")
            fits = (row["minor_units"], row["account"]) == (line.amount, line.debtor_account)
            direction, day = text(row["credit_debit_indicator"]), text(row["booking_date"])
            reference = text(row["account_servicer_reference"])
            page = signed.get((reference, row["minor_units"]))
        agrees = "same amount and account" if fits else "but another amount or account"
        agrees_zh = "金额与账号一致" if fits else "但金额或账号不同"
        tell = said if page is None else proved
        by, by_zh = (
            ("", "")
            if page is None
            else (f"; the bank signed that page (line {page})", f"；该页有银行签名（第 {page} 行）")
        )
        yield tell(
            item.line,
            f"the bank's statement has it on {day}, {direction}, reference {reference}: {agrees}{by}",
            f"银行对账单 {day} {direction} 流水号 {reference}：{agrees_zh}{by_zh}",
        )


def _matches(bundle: Bundle) -> Iterator[Claim]:
    for item in bundle.parts["reconciliation"].rows("matches"):
        with reading(item.line):
            row = item.value["row"]
            if not text(row["booking_id"]).startswith(f"{bundle.instruction_id}/"):
                raise Broken(item.line, "is a match of another payment", "对账结果属于另一笔付款")
            words = f"booking and statement entry were paired by {row['rule']} in run {row['run_id']}"
            words_zh = f"账务与对账单明细已勾对（{row['rule']}）"
        yield said(item.line, words, words_zh)


def _same(item: Item, instruction_id: str, service: str) -> None:
    row: dict[str, Any] = item.value["row"]
    if row["instruction_id"] != instruction_id:
        raise Broken(item.line, f"is about another payment ({service})", "属于另一笔付款")
