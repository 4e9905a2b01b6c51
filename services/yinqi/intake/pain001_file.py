"""ISO 20022 customer credit transfers: pain.001.001.03 to .13, any namespace spelling of a bank's market.

Source: ISO 20022 message definition report, CustomerCreditTransferInitiation; element names in the comments there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from lxml import etree

from yinqi.intake.line import Fault, FileFormat, FileRefused, RawFile, RawLine
from yinqi.runtime.safe_xml import XmlRefused, iterate_xml, leaf_texts, local_name, namespace, open_source

_ROOT = "CstmrCdtTrfInitn"
_TAGS = ("Document", "GrpHdr", "PmtInf", "CdtTrfTxInf")
_MESSAGE = re.compile(r"(?:^|[:/#])((?:pain|camt|pacs)\.\d{3})\.\d{3}\.(\d{2})")
_VERSIONS = range(3, 14)
# A business application header may stand before the message; it is short.
_ENVELOPE_EVENTS_MAX = 400
_PATH = f"/Document/{_ROOT}"

# Field of the line ← paths below PmtInf; the first that has a text counts. Older versions write BIC, newer BICFI.
_DEBTOR_PATHS: Mapping[str, tuple[str, ...]] = {
    "payment_information_id": ("PmtInfId",),
    "requested_execution_date": ("ReqdExctnDt", "ReqdExctnDt/Dt", "ReqdExctnDt/DtTm"),
    "debtor": ("Dbtr/Nm",),
    "debtor_account.currency": ("DbtrAcct/Ccy",),
    "debtor_agent.bicfi": ("DbtrAgt/FinInstnId/BICFI", "DbtrAgt/FinInstnId/BIC"),
    "debtor_agent.name": ("DbtrAgt/FinInstnId/Nm",),
}
_CREDITOR_PATHS: Mapping[str, tuple[str, ...]] = {
    "end_to_end_id": ("PmtId/EndToEndId",),
    "instructed_amount": ("Amt/InstdAmt",),
    "instructed_amount.currency": ("Amt/InstdAmt@Ccy",),
    "creditor": ("Cdtr/Nm",),
    "creditor_account.currency": ("CdtrAcct/Ccy",),
    "creditor_agent.bicfi": ("CdtrAgt/FinInstnId/BICFI", "CdtrAgt/FinInstnId/BIC"),
    "creditor_agent.name": ("CdtrAgt/FinInstnId/Nm",),
    "purpose": ("Purp/Cd", "Purp/Prtry"),
}
Texts = dict[str, list[str]]


@dataclass(slots=True)
class _Totals:
    """What was counted so far, to be held against NbOfTxs and CtrlSum.

    CtrlSum adds the amounts whatever their currency (ISO 20022), so a plain decimal is right here.
    """

    count: int = 0
    sum: Decimal = Decimal(0)

    def add(self, other: _Totals) -> None:
        self.count += other.count
        self.sum += other.sum


@dataclass(slots=True)
class _Reading:
    """State while a file is read."""

    message_id: str = ""
    header: Texts | None = None
    found: _Totals = field(default_factory=_Totals)
    payment: _Totals = field(default_factory=_Totals)
    payment_number: int = 0
    lines: list[RawLine] = field(default_factory=list)
    # The PmtInf's own fields, read once per PmtInf.
    debtor: dict[str, str] | None = None
    method: str = ""


def read_pain001(data: bytes) -> RawFile:
    """Return the credit transfers of a pain.001 message.

    The whole message is read before a line is returned: its totals must be right first.

    Raises:
        FileRefused: FORMAT_UNSUPPORTED (another message), FORMAT_VERSION_UNSUPPORTED, TOTALS_MISSING, TOTALS_MISMATCH,
            NO_LINES, XML_ENCODING, XML_DOCTYPE, XML_TOO_DEEP, XML_MALFORMED.
    """
    reading = _Reading()
    try:
        _check_message(data)
        for event, element in iterate_xml(open_source(data), (*_TAGS, _ROOT)):
            _take(event, element, reading)
    except XmlRefused as error:
        raise FileRefused(error.reason, error.message, error.message_zh, metadata=error.metadata) from None
    if reading.header is None:
        raise _not_credit_transfers("the group header (GrpHdr) is missing", "缺少报文头 GrpHdr")
    count, control_sum = _check_totals("the message", "报文", reading.header, reading.found, count_needed=True)
    return RawFile(FileFormat.PAIN_001, iter(reading.lines), reading.message_id, count, control_sum)


def _check_message(data: bytes) -> None:
    """Look at the first elements only: is it this message, and a version that is known here?"""
    for event, element in itertools.islice(iterate_xml(open_source(data), ("*",)), _ENVELOPE_EVENTS_MAX):
        if event == "start" and local_name(element) == _ROOT:
            return _check_version(namespace(element))
        other = _MESSAGE.search(namespace(element))
        if other and other.group(1) != "pain.001":
            raise _not_credit_transfers(f"it is a {other.group(1)} message", f"这是 {other.group(1)} 报文")
    raise _not_credit_transfers(f"it has no {_ROOT} element", f"没有 {_ROOT} 元素")


def _check_version(uri: str) -> None:
    message = _MESSAGE.search(uri)
    if message is None or (message.group(1) == "pain.001" and int(message.group(2)) in _VERSIONS):
        return
    raise FileRefused(
        "FORMAT_VERSION_UNSUPPORTED",
        f"version {message.group(2)} of {message.group(1)} is not known; pain.001.001.03 to .13 are read",
        f"不支持 {message.group(1)} 的版本 {message.group(2)}，可读取 pain.001.001.03 至 .13",
    )


def _take(event: str, element: etree._Element, reading: _Reading) -> None:
    name = local_name(element)
    if event == "start":
        if name == "PmtInf":
            reading.payment_number += 1
            reading.payment, reading.debtor = _Totals(), None
        return
    if name == "GrpHdr" and reading.header is None:
        reading.header = leaf_texts(element)
        reading.message_id = _first(reading.header, ("MsgId",))
    elif name == "CdtTrfTxInf":
        _take_transfer(element, reading)
    elif name == "PmtInf":
        _close_payment(element, reading)


def _take_transfer(element: etree._Element, reading: _Reading) -> None:
    parent = element.getparent()
    if reading.debtor is None and parent is not None:
        reading.debtor, reading.method = _debtor_texts(leaf_texts(parent, apart="CdtTrfTxInf"))
    transfer = leaf_texts(element)
    reading.payment.count += 1
    reading.payment.sum += _decimal(_first(transfer, ("Amt/InstdAmt", "Amt/EqvtAmt/Amt")))
    path = f"{_PATH}/PmtInf[{reading.payment_number}]/CdtTrfTxInf[{reading.payment.count}]"
    line = _line_of(element)
    texts = {**(reading.debtor or {}), **_creditor_texts(transfer)}
    reading.lines.append(RawLine(line, f"line {line}, {path}", texts, _faults(transfer, reading.method)))
    _forget(element)


def _line_of(element: etree._Element) -> int:
    line: object = element.sourceline
    return line if isinstance(line, int) else 0


def _close_payment(element: etree._Element, reading: _Reading) -> None:
    number = reading.payment_number
    texts = leaf_texts(element, apart="CdtTrfTxInf")
    _check_totals(f"PmtInf[{number}]", f"第 {number} 个 PmtInf", texts, reading.payment, count_needed=False)
    reading.found.add(reading.payment)
    _forget(element)


def _forget(element: etree._Element) -> None:
    """Free the element and its earlier sisters of the same kind; memory stays flat over any number of transfers."""
    element.clear()
    previous = element.getprevious()
    parent = element.getparent()
    if previous is not None and parent is not None and previous.tag == element.tag:
        parent.remove(previous)


def _debtor_texts(payment: Texts) -> tuple[dict[str, str], str]:
    texts = {name: _first(payment, paths) for name, paths in _DEBTOR_PATHS.items()}
    texts["requested_execution_date"] = texts["requested_execution_date"][:10] if _is_time(texts) else _date(texts)
    texts["debtor_account.identification"], texts["debtor_account.scheme"] = _account(payment, "DbtrAcct")
    texts.update(_clearing("debtor_agent", payment, "DbtrAgt"))
    texts.update(_type_information(payment))
    return texts, _first(payment, ("PmtMtd",))


def _creditor_texts(transfer: Texts) -> dict[str, str]:
    texts = {name: _first(transfer, paths) for name, paths in _CREDITOR_PATHS.items()}
    texts["creditor_account.identification"], texts["creditor_account.scheme"] = _account(transfer, "CdtrAcct")
    texts.update(_clearing("creditor_agent", transfer, "CdtrAgt"))
    texts["remittance_information"] = _remittance(transfer)
    # What the transfer says itself goes before what its PmtInf says for all.
    texts.update({name: text for name, text in _type_information(transfer).items() if text})
    return texts


def _is_time(texts: Mapping[str, str]) -> bool:
    return "T" in texts["requested_execution_date"]


def _date(texts: Mapping[str, str]) -> str:
    """A date may carry a zone (xs:date: 2026-09-21+02:00); the day is what the debtor wrote."""
    return re.sub(r"(Z|[+-]\d\d:\d\d)$", "", texts["requested_execution_date"])


def _account(texts: Texts, account: str) -> tuple[str, str]:
    iban = _first(texts, (f"{account}/Id/IBAN",))
    if iban:
        return iban.replace(" ", ""), "IBAN"
    return _first(texts, (f"{account}/Id/Othr/Id", f"{account}/Id/BBAN")).replace(" ", ""), "BBAN"


def _clearing(field_name: str, texts: Texts, agent: str) -> dict[str, str]:
    """China's bank codes stand under the clearing system code CNAPS (external code list); other systems are kept apart."""
    place = f"{agent}/FinInstnId/ClrSysMmbId"
    member = _first(texts, (f"{place}/MmbId",))
    system = _first(texts, (f"{place}/ClrSysId/Cd", f"{place}/ClrSysId/Prtry"))
    if not member:
        return {}
    if system.upper() == "CNAPS" or (not system and re.fullmatch(r"[0-9]{12}", member)):
        return {f"{field_name}.clearing_member_id": member}
    return {f"{field_name}.other_clearing_member_id": f"{system or 'UNKNOWN'}:{member}"}


def _type_information(texts: Texts) -> dict[str, str]:
    instant = _first(texts, ("PmtTpInf/LclInstrm/Cd",)) == "INST"
    return {
        "category_purpose": _first(texts, ("PmtTpInf/CtgyPurp/Cd", "PmtTpInf/CtgyPurp/Prtry")),
        "channel": "INSTANT" if instant else "",
    }


def _remittance(transfer: Texts) -> str:
    texts = transfer.get("RmtInf/Ustrd", []) + transfer.get("RmtInf/Strd/CdtrRefInf/Ref", [])
    return " ".join(text for text in texts if text)


def _faults(transfer: Texts, method: str) -> list[Fault]:
    faults = []
    if method not in ("TRF", "TRA"):
        faults.append(_method_fault(method))
    if any(path.startswith("Amt/EqvtAmt") for path in transfer):
        faults.append(_equivalent_fault())
    return faults


def _method_fault(method: str) -> Fault:
    return Fault(
        "payment_method",
        "PAYMENT_METHOD_UNSUPPORTED",
        f"PmtMtd is {method[:10] or 'missing'}: not a credit transfer",
        f"PmtMtd 为 {method[:10] or '空'}，不是贷记转账",
        "TRF or TRA / TRF 或 TRA",
    )


def _equivalent_fault() -> Fault:
    return Fault(
        "instructed_amount",
        "EQUIVALENT_AMOUNT",
        "the amount is given as an equivalent in another currency (EqvtAmt)",
        "金额以其他币种等值给出 (EqvtAmt)，不支持",
        "InstdAmt in the currency that is paid / 以付款币种填写 InstdAmt",
    )


def _check_totals(
    what: str, what_zh: str, texts: Texts, found: _Totals, *, count_needed: bool
) -> tuple[int | None, str | None]:
    """Hold the stated totals against what was found, and return them.

    Raises:
        FileRefused: TOTALS_MISSING, TOTALS_MISMATCH. A file that was cut or changed on its way shows here.
    """
    count, control_sum = _first(texts, ("NbOfTxs",)), _first(texts, ("CtrlSum",))
    if not count and count_needed:
        raise FileRefused("TOTALS_MISSING", f"{what} does not state NbOfTxs", f"{what_zh}没有写明笔数 NbOfTxs")
    if count and not (re.fullmatch(r"[0-9]{1,15}", count) and int(count) == found.count):
        raise _mismatch(what, what_zh, "NbOfTxs", count, str(found.count))
    if control_sum and _decimal(control_sum, wrong=Decimal("NaN")) != found.sum:
        raise _mismatch(what, what_zh, "CtrlSum", control_sum, str(found.sum))
    return (int(count) if count else None), control_sum or None


def _mismatch(what: str, what_zh: str, name: str, stated: str, found: str) -> FileRefused:
    return FileRefused(
        "TOTALS_MISMATCH",
        f"{what} states {name} {stated[:40]} but holds {found}: the file was cut or changed; ask its sender",
        f"{what_zh}写明 {name} 为 {stated[:40]}，实际为 {found}：文件不完整或被改动，请联系制作方",
        metadata={"total": name, "stated": stated[:40], "found": found},
    )


def _decimal(text: str, wrong: Decimal = Decimal(0)) -> Decimal:
    """Read an amount for the totals; one that is none counts as `wrong` here and is refused by its line."""
    if not re.fullmatch(r"[+-]?[0-9]{1,30}(\.[0-9]{0,20})?", text):
        return wrong
    try:
        return Decimal(text)
    except InvalidOperation:
        return wrong


def _first(texts: Texts, paths: tuple[str, ...]) -> str:
    for path in paths:
        found = texts.get(path)
        if found and found[0]:
            return found[0]
    return ""


def _not_credit_transfers(what: str, what_zh: str) -> FileRefused:
    return FileRefused(
        "FORMAT_UNSUPPORTED",
        f"the XML file is not a pain.001 credit transfer: {what}",
        f"XML 文件不是 pain.001 付款报文：{what_zh}",
    )
