"""What went over the wire: the company's signature in what was sent, the bank's in what came back.

Source: docs/bank-dialect-cdc.md, §2 (form and signature) and §5 (fields). A dialect that is not known here is said to be.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from yinqi.crypto import sm3
from yinqi.verify import keys
from yinqi.verify.bundle import Bundle, Item, Part
from yinqi.verify.claims import Broken, Claim, limit, missing, proved, reading, said, unchecked
from yinqi.verify.forms import content_of, from_hex, listed, text
from yinqi.verify.orders import Line
from yinqi.verify.policy import minor_units
from yinqi.verify.trust import Trust

_PLACEHOLDER = "__signature_sigdat__"
_EVENT_FACTS = (
    "archive_id direction digest exchange_id failure function is_verified message_id profile size_bytes".split()
)
DIALECT, _STATEMENT = "cdc", "trsQryByBreakPoint"
_IDENTITY_BYTES = 16
_ENDS = {
    "S": ("settled", "已结算"),
    "F": ("failed", "失败"),
    "B": ("returned", "退汇"),
    "R": ("refused", "被拒绝"),
    "D": ("expired", "过期"),
    "C": ("cancelled", "撤销"),
}


def check_messages(bundle: Bundle, line: Line, trust: Trust) -> Iterator[Claim]:
    """Check the messages: their signatures, what they say of the payment, and that the gateway's journal has them."""
    gateway = bundle.parts["gateway"]
    banks = {item.value.get("profile"): item for item in gateway.of_kind("bank")}
    rows = {item.value["row"].get("archive_id"): item for item in gateway.rows("gateway.gateway_message_events")}
    is_sealed = False
    for item in gateway.of_kind("message"):
        with reading(item.line):
            yield from _in_journal(item, rows)
            if item.value["direction"] == "RECEIVED" and not item.value["is_verified"]:
                yield _unusable(item)
                continue
            bank = banks.get(item.value["profile"])
            if bank is None or bank.value["dialect"] != DIALECT:
                yield unchecked(item.line, "is in a dialect that is not known here", "报文方言未知，未验签")
                continue
            yield from _signed(item, bank, bundle, line, trust)
            is_sealed = True
    if is_sealed:
        yield limit(
            "that the digest of the encrypted bytes on the wire, which the journal holds, is of these messages: that needs the "
            "key shared with the bank",
            "日志中的线上密文摘要与上述明文报文的对应关系（需要与银行共享的对称密钥）",
        )


def _in_journal(item: Item, rows: Mapping[str, Item]) -> Iterator[Claim]:
    row = rows.get(item.value["archive_id"])
    if row is None:
        yield missing(item.line, "the gateway's journal has no row of this message", "前置机日志中没有该报文")
    elif any(row.value["row"][name] != item.value[name] for name in _EVENT_FACTS):
        raise Broken(item.line, f"differs from the gateway's journal (line {row.line})", "与前置机日志不符")


def _unusable(item: Item) -> Claim:
    content, why = content_of(item.value["content"]), text(item.value["failure"])
    is_raw = sm3(content).hex() == item.value["digest"] and len(content) == item.value["size_bytes"]
    at, function = item.value["recorded_at"], item.value["function"]
    words = f"at {at} there was no usable answer to {function} ({why})"
    words_zh = f"{at} 对 {function} 没有可用应答（{why}）"
    return (
        proved(item.line, f"{words}; these are the bytes that came", words_zh)
        if is_raw
        else said(item.line, words, words_zh)
    )


def _signed(item: Item, bank: Item, bundle: Bundle, line: Line, trust: Trust) -> Iterator[Claim]:
    content = content_of(item.value["content"])
    message = json.loads(content)
    is_sent = item.value["direction"] == "SENT"
    check_signature(item, message, bank, trust, is_sent=is_sent)
    function, at = text(item.value["function"]), text(item.value["recorded_at"])
    said_of = _about(content, bundle.instruction_id)
    if is_sent:
        if not function.startswith("BB1PAY") or "QR" in function:
            yield proved(
                item.line,
                f"at {at} the company asked the bank ({function}), signed",
                f"{at} 公司签名查询（{function}）",
            )
            return
        if len(said_of) != 1:
            raise Broken(item.line, "is a submission without this payment", "报文中没有本付款")
        _check_line(item, message, said_of[0], line)
        yield proved(
            item.line,
            f"at {at} the company signed {function} with this payment in it: amount and both accounts are those of its line (line {line.line})",
            f"{at} 公司签名发送 {function}，金额与收付账号均与付款明细一致",
        )
    else:
        word = ", ".join(sorted({_word(one) for one in said_of} - {""})) or _head_word(message)
        ends = {_ENDS[end] for one in said_of if one.get("reqSts") == "FIN" and (end := one.get("rtnFlg")) in _ENDS}
        plainly = "".join(f", which means {words}" for words, _ in sorted(ends))
        plainly_zh = "".join(f"，即{words_zh}" for _, words_zh in sorted(ends))
        yield proved(
            item.line,
            f"at {at} the bank answered {function}, signed with its key: {word}{plainly}",
            f"{at} 银行对 {function} 的签名应答：{word}{plainly_zh}",
        )


def check_signature(item: Item, message: dict[str, Any], bank: Item, trust: Trust, *, is_sent: bool) -> None:
    """Raise `Broken` unless the signature in a message is the company's (sent) or the bank's, with a trusted key."""
    whose = "company" if is_sent else "bank"
    known = trust.company_keys if is_sent else trust.bank_keys
    given = [text(one) for one in listed(bank.value[f"{whose}_public_keys"])]
    trusted = known.get(bank.value["profile"], frozenset())
    signature = message["signature"]
    sigdat = base64.b64decode(text(signature["sigdat"]), validate=True)
    unsigned = {**message, "signature": {**signature, "sigdat": _PLACEHOLDER}}
    signed = json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    identity = text(bank.value["user_id"]).encode("ascii").ljust(_IDENTITY_BYTES, b"0")
    if "notice" in message and bank.value["notice_identity"]:
        identity = text(bank.value["notice_identity"]).encode("ascii")
    for raw in sorted({*given, *trusted}):
        if keys.from_raw(from_hex(raw)).signed(signed, sigdat, identity):
            if trusted and raw not in trusted:
                raise Broken(item.line, f"is signed with a key of the {whose} that is not trusted", "签名密钥不可信")
            return
    raise Broken(item.line, f"carries a signature that is not the {whose}'s", "签名无效" if is_sent else "银行签名无效")


def _check_line(item: Item, message: Mapping[str, Any], said_of: Mapping[str, Any], line: Line) -> None:
    debtor_accounts = {one["dbtAcc"] for one in _objects(message) if "dbtAcc" in one}
    said = (minor_units(said_of["trsAmt"], line.currency), said_of["crtAcc"], debtor_accounts)
    if said != (line.amount, line.creditor_account, {line.debtor_account}):
        raise Broken(item.line, "sends another amount or account than was ordered", "发送的金额或账号与付款单不符")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _objects(one)


def _about(content: bytes, instruction_id: str) -> list[dict[str, Any]]:
    """Return what a message says of the payment, numbers as they were written."""
    message = json.loads(content, parse_float=str, parse_int=str)
    return [one for one in _objects(message) if one.get("yurRef") == instruction_id]


def signed_entries(bundle: Bundle, line: Line) -> dict[tuple[str, int], int]:
    """Return the statement entries of the payment in messages of the bank: (bank's reference, minor units) → line."""
    found = dict[tuple[str, int], int]()
    for item in bundle.parts["gateway"].of_kind("message"):
        with reading(item.line):
            if item.value["function"] == _STATEMENT and item.value["is_verified"]:
                for one in _about(content_of(item.value["content"]), bundle.instruction_id):
                    found[one["trxSeq"].strip(), abs(minor_units(one["trsAmt"], line.currency))] = item.line
    return found


def _word(one: Mapping[str, Any]) -> str:
    if "trxDir" in one:
        return " ".join(str(one[name]).strip() for name in ("trxDat", "trxDir", "trsAmt", "trxSeq") if one.get(name))
    return " ".join(str(one[name]).strip() for name in ("errCod", "reqSts", "rtnFlg") if one.get(name))


def _head_word(message: Mapping[str, Any]) -> str:
    head: Mapping[str, Any] = next(
        (one["head"] for one in message.values() if isinstance(one, dict) and "head" in one), {}
    )
    return str(head.get("resultcode", "")).strip() or "a notice"


def bank_keys(part: Part) -> Iterator[tuple[str, str, str]]:
    """Yield (whose, profile, key in hexadecimal) of the banks of a bundle."""
    for item in part.of_kind("bank"):
        with reading(item.line):
            for whose in ("bank", "company"):
                for raw in listed(item.value[f"{whose}_public_keys"]):
                    yield whose, text(item.value["profile"]), text(raw)
