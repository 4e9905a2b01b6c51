"""The rules of a payment line, the same for every format: raw texts in, a payable line or a refusal out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from yinqi.intake.columns import column_label
from yinqi.intake.line import AccountText, AgentText, Fault, PaymentLine, RawLine, RefusedLine
from yinqi.intake.text import looks_like_mojibake
from yinqi.kernel.errors import AmountInvalid
from yinqi.kernel.money import Money, currency_exponent, parse_money

CheckDigits = Callable[[list[str]], list[str]]

_TEXT_MAX: Mapping[str, int] = {
    "debtor": 140,
    "creditor": 140,
    "creditor_agent.name": 140,
    "debtor_agent.name": 140,
    "purpose": 35,
    "remittance_information": 140,
    "payment_information_id": 35,
}
_NEEDED = (
    "end_to_end_id",
    "debtor_account.identification",
    "creditor",
    "creditor_account.identification",
    "instructed_amount.currency",
    "instructed_amount",
)
_END_TO_END_ID = re.compile(r"[A-Za-z0-9\-/._:]{1,35}")
_BBAN = re.compile(r"[A-Za-z0-9\-/.]{1,34}")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?")
_CNAPS = re.compile(r"[0-9]{12}")
_SCIENTIFIC = re.compile(r"[0-9](\.[0-9]+)?[eE]\+?[0-9]{1,3}")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})|(\d{4})/(\d{1,2})/(\d{1,2})|(\d{4})(\d{2})(\d{2})", re.ASCII)
# C0 and C1 controls, line and paragraph separators, and the invisible marks that reorder or hide text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")

CATEGORY_PURPOSES = ("SUPP", "SALA", "TAXS", "INTC", "SWEP", "TOPG", "ZABA", "TREA")
_CATEGORY_WORDS = {
    **{code: code for code in CATEGORY_PURPOSES},
    **{"供应商付款": "SUPP", "货款": "SUPP", "工资": "SALA", "代发工资": "SALA", "税款": "TAXS", "缴税": "TAXS"},
    **{"内部调拨": "INTC", "归集": "SWEP", "下拨": "TOPG", "零余额": "ZABA", "资金业务": "TREA"},
    "": "",
}
CHANNELS = ("SMART", "LARGE_VALUE", "SMALL_VALUE", "INSTANT")
_CHANNEL_WORDS = {
    **{name: name for name in CHANNELS},
    **{"智能": "SMART", "智能汇路": "SMART", "大额": "LARGE_VALUE", "小额": "SMALL_VALUE", "实时": "INSTANT"},
    "": "",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """Outcome of the rules over a whole file, in file order."""

    lines: list[PaymentLine]
    refused: list[RefusedLine]
    warned: list[RefusedLine]


@dataclass(slots=True)
class _Draft:
    """A line between its own checks and the checks that need the whole file."""

    raw: RawLine
    faults: list[Fault]
    warnings: list[Fault]
    line: PaymentLine | None


def check_lines(
    raw_lines: Iterable[RawLine], *, check_cnaps: CheckDigits, check_iban: CheckDigits, strict: bool
) -> Checked:
    """Apply every rule to every line; a refused line does not stop the others.

    Args:
        raw_lines: in file order.
        check_cnaps, check_iban: one call each for the whole file; "" for a valid text, else a reason code.
        strict: a wrong CNAPS check digit refuses the line; otherwise it is only warned of.
    """
    drafts = [_check_line(raw) for raw in raw_lines]
    _check_digits(drafts, "creditor_agent.clearing_member_id", check_cnaps, as_warning=not strict)
    _check_digits(drafts, "debtor_agent.clearing_member_id", check_cnaps, as_warning=not strict)
    _check_digits(drafts, "debtor_account.identification", check_iban, as_warning=False)
    _check_digits(drafts, "creditor_account.identification", check_iban, as_warning=False)
    _check_duplicates(drafts)
    return Checked(
        lines=[d.line for d in drafts if d.line is not None and not d.faults],
        refused=[_refuse(d.raw, d.faults) for d in drafts if d.faults],
        warned=[_refuse(d.raw, d.warnings) for d in drafts if d.warnings and not d.faults],
    )


def _check_line(raw: RawLine) -> _Draft:
    texts = raw.texts
    faults = list(raw.faults)
    at_fault = {fault.field for fault in faults}
    if "" in at_fault:  # The codec could not tell the fields apart.
        return _Draft(raw, faults, [], None)
    for check in _LINE_CHECKS:
        faults += [fault for fault in check(texts) if fault.field not in at_fault]
        at_fault = {fault.field for fault in faults}
    amount = None if at_fault & {"instructed_amount", "instructed_amount.currency"} else _amount(texts, faults)
    line = _build(raw, amount) if amount is not None and not faults else None
    return _Draft(raw, faults, [], line)


def _check_needed(texts: Mapping[str, str]) -> Iterable[Fault]:
    for field in _NEEDED:
        if not texts.get(field):
            yield _fault(field, "MISSING", "is empty", "不能为空", "a value / 必填")


def _check_characters(texts: Mapping[str, str]) -> Iterable[Fault]:
    for field, text in texts.items():
        found = _CONTROL.search(text) if not (text.isascii() and text.isprintable()) else None
        if found:
            yield _fault(
                field,
                "CONTROL_CHARACTER",
                f"has the control or invisible character U+{ord(found.group()):04X} at position {found.start() + 1}",
                f"第 {found.start() + 1} 个字符是控制字符或不可见字符 U+{ord(found.group()):04X}",
                "printable characters on one line / 单行可打印字符",
            )
        elif looks_like_mojibake(text):
            yield _fault(
                field,
                "MOJIBAKE",
                "looks as if it was decoded wrongly before (garbled characters)",
                "是乱码（编码转换错误）",
                "readable text; export the list again as UTF-8 / 可读文本，请以 UTF-8 重新导出",
            )


def _check_lengths(texts: Mapping[str, str]) -> Iterable[Fault]:
    for field, longest in _TEXT_MAX.items():
        length = len(texts.get(field, ""))
        if length > longest:
            yield _fault(
                field,
                "TOO_LONG",
                f"has {length} characters",
                f"有 {length} 个字符，过长",
                f"at most {longest} characters / 最多 {longest} 个字符",
            )


def _check_end_to_end_id(texts: Mapping[str, str]) -> Iterable[Fault]:
    text = texts.get("end_to_end_id", "")
    allowed = "1 to 35 of A-Z a-z 0-9 - / . _ : / 1 至 35 位字母、数字或 - / . _ :"
    if text == "NOTPROVIDED":
        yield _fault(
            "end_to_end_id", "MISSING", "is NOTPROVIDED: the payment has no reference", "未提供业务参考号", allowed
        )
    elif not _END_TO_END_ID.fullmatch(text):
        reason = "TOO_LONG" if len(text) > 35 else "CHARACTER"
        yield _fault("end_to_end_id", reason, "is not a usable reference", "不是可用的业务参考号", allowed)


def _check_accounts(texts: Mapping[str, str]) -> Iterable[Fault]:
    for field in ("debtor_account.identification", "creditor_account.identification"):
        text = texts.get(field, "")
        if _SCIENTIFIC.fullmatch(text):
            yield _fault(
                field,
                "ACCOUNT_SCIENTIFIC",
                "is in scientific notation: a spreadsheet rounded the account number, its last digits are lost",
                "是科学计数法：表格软件已把账号舍入，末尾数字已丢失",
                "the whole number as text / 以文本格式填写完整账号",
            )
        elif not _BBAN.fullmatch(text):
            reason = "TOO_LONG" if len(text) > 34 else "CHARACTER"
            allowed = "an IBAN or at most 34 letters, digits, - / . / IBAN 或最多 34 位字母数字"
            yield _fault(field, reason, "is not an account number", "不是账号", allowed)


def _check_agents(texts: Mapping[str, str]) -> Iterable[Fault]:
    for agent in ("debtor_agent", "creditor_agent"):
        yield from _check_agent(agent, texts)
    if not any(texts.get(f"creditor_agent.{name}") for name in ("clearing_member_id", "bicfi")):
        yield from _check_agent_given(texts)


def _check_agent(agent: str, texts: Mapping[str, str]) -> Iterable[Fault]:
    cnaps, bic = texts.get(f"{agent}.clearing_member_id", ""), texts.get(f"{agent}.bicfi", "")
    if cnaps and not _CNAPS.fullmatch(cnaps):
        digits = cnaps.isascii() and cnaps.isdigit()
        yield _fault(
            f"{agent}.clearing_member_id",
            "LENGTH" if digits else "CHARACTER",
            f"has {len(cnaps)} digits" if digits else "has characters other than digits",
            f"有 {len(cnaps)} 位数字" if digits else "含有非数字字符",
            "a CNAPS code of 12 digits / 12 位联行号",
        )
    if bic and not _BIC.fullmatch(bic):
        yield _fault(
            f"{agent}.bicfi", "FORMAT", "is not a BIC", "不是 BIC", "a BIC of 8 or 11 characters / 8 或 11 位 BIC"
        )


def _check_agent_given(texts: Mapping[str, str]) -> Iterable[Fault]:
    other = texts.get("creditor_agent.other_clearing_member_id", "").partition(":")[0]
    allowed = "a CNAPS code or a BIC, or an IBAN account / 联行号、BIC，或 IBAN 账号"
    if other:
        yield _fault(
            "creditor_agent.clearing_member_id",
            "CLEARING_SYSTEM_UNSUPPORTED",
            f"names the creditor's bank only in the clearing system {other[:10]}",
            f"收款行只有清算系统 {other[:10]} 的行号",
            allowed,
        )
    elif not _is_iban("creditor_account", texts):
        yield _fault("creditor_agent.clearing_member_id", "MISSING", "is empty", "不能为空", allowed)


def _check_date(texts: Mapping[str, str]) -> Iterable[Fault]:
    text = texts.get("requested_execution_date", "")
    if text and not _iso_date(text):
        yield _fault(
            "requested_execution_date",
            "DATE_INVALID",
            f"{text[:20]!r} is not a date",
            f"{text[:20]} 不是日期",
            "year-month-day such as 2026-11-30 / 年-月-日，如 2026-11-30",
        )


def _check_words(texts: Mapping[str, str]) -> Iterable[Fault]:
    for field, words, allowed in (
        ("category_purpose", _CATEGORY_WORDS, CATEGORY_PURPOSES),
        ("channel", _CHANNEL_WORDS, CHANNELS),
    ):
        text = texts.get(field, "")
        if text not in words:
            yield _fault(field, "WORD_UNKNOWN", f"{text[:20]!r} is not known", f"{text[:20]} 不认识", " ".join(allowed))


_LINE_CHECKS = (
    _check_needed,
    _check_characters,
    _check_lengths,
    _check_end_to_end_id,
    _check_accounts,
    _check_agents,
    _check_date,
    _check_words,
)


def _amount(texts: Mapping[str, str], faults: list[Fault]) -> Money | None:
    currency = texts["instructed_amount.currency"]
    try:
        return parse_money(texts["instructed_amount"], currency)
    except AmountInvalid as error:
        if error.reason == "CURRENCY_UNKNOWN":
            allowed = "an ISO 4217 code such as CNY / ISO 4217 币种代码，如 CNY"
            faults.append(Fault("instructed_amount.currency", error.reason, error.message, error.message_zh, allowed))
        else:
            faults.append(
                Fault("instructed_amount", error.reason, error.message, error.message_zh, _amount_allowed(currency))
            )
        return None


def _amount_allowed(currency: str) -> str:
    decimals = currency_exponent(currency)
    return (
        f"above zero, at most 15 digits, at most {decimals} decimals, no grouping"
        f" / 大于零，最多 15 位数字、{decimals} 位小数，无千分位"
    )


def _build(raw: RawLine, amount: Money) -> PaymentLine:
    texts = raw.texts

    def get(field: str) -> str:
        return texts.get(field, "")

    return PaymentLine(
        line=raw.line,
        where=raw.where,
        end_to_end_id=texts["end_to_end_id"],
        debtor=get("debtor"),
        debtor_account=_account("debtor_account", texts),
        debtor_agent=_agent("debtor_agent", texts),
        creditor=texts["creditor"],
        creditor_account=_account("creditor_account", texts),
        creditor_agent=_agent("creditor_agent", texts),
        instructed_amount=amount,
        requested_execution_date=_iso_date(get("requested_execution_date")),
        category_purpose=_CATEGORY_WORDS[get("category_purpose")],
        purpose=get("purpose"),
        remittance_information=get("remittance_information"),
        channel=_CHANNEL_WORDS[get("channel")],
        payment_information_id=get("payment_information_id"),
    )


def _account(account: str, texts: Mapping[str, str]) -> AccountText:
    scheme = "IBAN" if _is_iban(account, texts) else "BBAN"
    return AccountText(texts[f"{account}.identification"], scheme, texts.get(f"{account}.currency", ""))


def _is_iban(account: str, texts: Mapping[str, str]) -> bool:
    """pain.001 says which it is; in a list the shape tells."""
    scheme = texts.get(f"{account}.scheme", "")
    return scheme == "IBAN" or (not scheme and _IBAN.fullmatch(texts.get(f"{account}.identification", "")) is not None)


def _agent(agent: str, texts: Mapping[str, str]) -> AgentText:
    names = ("clearing_member_id", "bicfi", "name", "other_clearing_member_id")
    return AgentText(*(texts.get(f"{agent}.{name}", "") for name in names))


def _iso_date(text: str) -> str:
    """Return the date in ISO 8601, "" if it is none. Year first in all accepted forms, so none is ambiguous."""
    match = _DATE.fullmatch(text)
    if match is None:
        return ""
    year, month, day = (int(part) for part in match.groups() if part is not None)
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return ""


def _check_digits(drafts: Sequence[_Draft], field: str, check: CheckDigits, *, as_warning: bool) -> None:
    asked = [draft for draft in drafts if _has_check_digits(draft, field)]
    if not asked:
        return
    for draft, reason in zip(asked, check([draft.raw.texts[field] for draft in asked]), strict=True):
        if reason:
            (draft.warnings if as_warning else draft.faults).append(_check_digit_fault(field, reason))


def _has_check_digits(draft: _Draft, field: str) -> bool:
    if not draft.raw.texts.get(field) or any(fault.field == field for fault in draft.faults):
        return False
    account, _, name = field.partition(".")
    return name == "clearing_member_id" or _is_iban(account, draft.raw.texts)


def _check_digit_fault(field: str, reason: str) -> Fault:
    kind, kind_zh = ("CNAPS code", "联行号") if field.endswith("clearing_member_id") else ("IBAN", "IBAN")
    if reason == "CHECK_DIGIT":
        return _fault(
            field,
            reason,
            f"its check digit does not fit: a digit of the {kind} is mistyped",
            f"校验位不符，{kind_zh}有录入错误",
            f"a {kind} with a right check digit / 校验位正确的{kind_zh}",
        )
    return _fault(
        field, reason, f"is not a valid {kind} ({reason})", f"不是有效的{kind_zh}", f"a valid {kind} / 有效的{kind_zh}"
    )


def _check_duplicates(drafts: Sequence[_Draft]) -> None:
    """Refuse every line whose end_to_end_id an earlier line of the file has, whether that one was refused or not."""
    first_with: dict[str, _Draft] = {}
    for draft in drafts:
        end_to_end_id = draft.raw.texts.get("end_to_end_id", "")
        if not end_to_end_id or end_to_end_id == "NOTPROVIDED":
            continue
        first = first_with.setdefault(end_to_end_id, draft)
        if first is not draft:
            draft.faults.append(_duplicate_fault(first.raw, same_content=first.raw.texts == draft.raw.texts))


def _duplicate_fault(first: RawLine, *, same_content: bool) -> Fault:
    allowed = "an end_to_end_id of its own for each payment / 每笔付款使用不同的业务参考号"
    if same_content:
        return _fault(
            "end_to_end_id",
            "DUPLICATE_LINE",
            f"repeats {first.where} with the same content; it is paid once at most",
            f"与 {first.where} 完全相同，最多只付一次",
            allowed,
        )
    return _fault(
        "end_to_end_id",
        "END_TO_END_ID_REUSED",
        f"is the reference of {first.where}, but the content differs",
        f"与 {first.where} 的业务参考号相同，但内容不同",
        allowed,
    )


def _fault(field: str, reason: str, message: str, message_zh: str, allowed: str) -> Fault:
    label = column_label(field)
    return Fault(field, reason, f"{field}: {message}", f"{label.partition(' / ')[0]}：{message_zh}", allowed)


def _refuse(raw: RawLine, faults: Sequence[Fault]) -> RefusedLine:
    first = faults[0]
    return RefusedLine(
        line=raw.line,
        where=raw.where,
        end_to_end_id=raw.texts.get("end_to_end_id", "")[:35],
        field=first.field,
        reason=first.reason,
        message=first.message,
        message_zh=first.message_zh,
        allowed=first.allowed,
        more=tuple(faults[1:]),
    )
