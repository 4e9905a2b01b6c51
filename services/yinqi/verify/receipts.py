"""The bank's electronic receipts (电子回单): signed by the bank for themselves, so they prove the payment without any message.

Source: docs/bank-dialect-cdc.md, §2 (signature) and §5 (DCSIGREC).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from yinqi.crypto import sm3
from yinqi.verify.bundle import Bundle, Item
from yinqi.verify.claims import Broken, Claim, missing, proved, reading, unchecked
from yinqi.verify.forms import canonical, content_of, text
from yinqi.verify.messages import DIALECT, check_signature, signed_entries
from yinqi.verify.orders import Line
from yinqi.verify.policy import minor_units
from yinqi.verify.trust import Trust

_KINDS = {"PAY": ("D", "was paid", "已付款"), "RET": ("C", "came back", "已退回")}
_SAME_AS_ROW = ("digest", "number", "profile", "archive_id")


class _Wanted(NamedTuple):
    """A field of a receipt, what the order says of it, and its names for people."""

    name: str
    ordered: Any
    words: str
    words_zh: str


def check_receipts(bundle: Bundle, line: Line, trust: Trust) -> Iterator[Claim]:
    """Check the receipts: their digest, the bank's signature in them, and that they are of this payment as it was ordered."""
    gateway = bundle.parts["gateway"]
    banks = {item.value.get("profile"): item for item in gateway.of_kind("bank")}
    rows = {item.value["row"].get("number"): item for item in gateway.rows("gateway.gateway_receipt_events")}
    entries = signed_entries(bundle, line)
    for item in gateway.of_kind("receipt"):
        with reading(item.line):
            content = content_of(item.value["content"])
            if sm3(content).hex() != item.value["digest"]:
                raise Broken(item.line, "is not the receipt its digest names", "回单内容与其摘要不符")
            yield from _in_journal(item, rows)
            bank = banks.get(item.value["profile"])
            if bank is None or bank.value["dialect"] != DIALECT:
                yield unchecked(item.line, "is a receipt in a form that is not known here", "回单格式未知，未验签")
                continue
            message = json.loads(content)
            if canonical(message) != content:
                raise Broken(item.line, "is a receipt in another form than the bank's", "回单格式不规范")
            check_signature(item, message, bank, trust, is_sent=False)
            yield from _facts(item, message["receipt"], bundle, line, entries)


def _in_journal(item: Item, rows: Mapping[str, Item]) -> Iterator[Claim]:
    row = rows.get(item.value["number"])
    if row is None:
        yield missing(item.line, "the gateway's journal has no row of this receipt", "前置机日志中没有该回单")
    elif any(row.value["row"][name] != item.value[name] for name in _SAME_AS_ROW):
        raise Broken(item.line, f"differs from the gateway's journal (line {row.line})", "与前置机日志不符")


def _facts(
    item: Item, receipt: Mapping[str, Any], bundle: Bundle, line: Line, entries: Mapping[tuple[str, int], int]
) -> Iterator[Claim]:
    direction, what, what_zh = _KINDS[text(item.value["type"])]
    number, day = text(receipt["rcpnbr"]), text(receipt["trxdat"])
    wanted = (
        _Wanted("rcpnbr", item.value["number"], "number", "编号"),
        _Wanted("rcptyp", item.value["type"], "type", "类型"),
        _Wanted("yurref", bundle.instruction_id, "payment", "付款"),
        _Wanted("accnbr", line.debtor_account, "debtor account", "付款账号"),
        _Wanted("crtacc", line.creditor_account, "creditor account", "收款账号"),
        _Wanted("crtnam", line.creditor_name, "creditor", "收款人"),
        _Wanted("trxdir", direction, "direction", "借贷方向"),
    )
    for one in wanted:
        if receipt[one.name] != one.ordered:
            raise Broken(item.line, f"is a receipt of another {one.words}", f"回单的{one.words_zh}与付款单不符")
    if minor_units(receipt["trsamt"], line.currency) != line.amount:
        raise Broken(item.line, "is a receipt of another amount than was ordered", "回单金额与付款单不符")
    page = entries.get((text(receipt["trxseq"]), line.amount))
    booked, booked_zh = (
        ("", "") if page is None else (f"; the same entry as on line {page}", f"；与第 {page} 行为同一笔")
    )
    on, on_zh = _day_words(day, line.requested_date) if direction == "D" else ("", "")
    yield proved(
        item.line,
        f"the bank's receipt {number}, signed with its key, says that this payment {what} on {day}{on}: amount, creditor and both "
        f"accounts are those ordered{booked}; SM3 {item.value['digest']}",
        f"银行签名的电子回单 {number}：本付款于 {day} {what_zh}{on_zh}，金额、收款人与收付账号均与付款单一致{booked_zh}；"
        f"SM3 摘要 {item.value['digest']}",
    )


def _day_words(day: str, requested: str) -> tuple[str, str]:
    if not requested:
        return ", the order names no day", "（付款单未指定日期）"
    if day == requested:
        return ", the day the order asks for", "（与付款单要求的日期一致）"
    return f", while the order asks for {requested}", f"（付款单要求 {requested}）"
