"""The rules of one payment line: which values may be recorded. All faults of a line together, in both languages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta

from yinqi.kernel.errors import AmountInvalid, FieldViolation
from yinqi.kernel.money import check_payable
from yinqi.payment.model import PaymentInstruction, is_iso_date
from yinqi.payment.ports import CheckDigits

EXECUTION_DAYS_AHEAD_MAX = 366
UNKNOWN_WORD = "?"

_END_TO_END_ID = re.compile(r"[A-Za-z0-9\-/._:]{1,35}")
_ACCOUNT = re.compile(r"[A-Za-z0-9\-/.]{1,34}")
_CURRENCY = re.compile(r"[A-Z]{3}")
# C0 and C1 controls, line and paragraph separators, and the invisible marks that reorder or hide text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_DETAIL_LENGTH_MAX = 35

# Field of the model → (path in the API, characters at most, name in Chinese).
_TEXTS: dict[str, tuple[str, int, str]] = {
    "debtor_name": ("debtor.name", 140, "付款人名称"),
    "debtor_organisation_id": ("debtor.organisation_id", 35, "付款人机构代码"),
    "debtor_agent_name": ("debtor_agent.name", 140, "付款行名称"),
    "creditor_name": ("creditor.name", 140, "收款人名称"),
    "creditor_organisation_id": ("creditor.organisation_id", 35, "收款人机构代码"),
    "creditor_agent_name": ("creditor_agent.name", 140, "收款行名称"),
    "purpose": ("purpose", 35, "用途"),
    "remittance_information": ("remittance_information", 140, "附言"),
    "payment_information_id": ("payment_information_id", 35, "批次号"),
}
_TEXT_AT = tuple((PaymentInstruction._fields.index(field), *rule) for field, rule in _TEXTS.items())
_CHECK_FIELDS = {
    "check_cnaps": (
        ("debtor_agent_clearing_member_id", "debtor_agent.clearing_member_id"),
        ("creditor_agent_clearing_member_id", "creditor_agent.clearing_member_id"),
    ),
    "check_bic": (
        ("debtor_agent_bicfi", "debtor_agent.bicfi"),
        ("creditor_agent_bicfi", "creditor_agent.bicfi"),
    ),
    "check_iban": (
        ("debtor_account", "debtor_account.identification"),
        ("creditor_account", "creditor_account.identification"),
    ),
}
_KINDS = {
    "check_cnaps": ("CNAPS code of 12 digits", "联行号（12 位数字）"),
    "check_bic": ("BIC of 8 or 11 characters", "BIC（8 或 11 位）"),
    "check_iban": ("IBAN", "IBAN"),
}
_WHY = {
    "LENGTH": ("its length is wrong", "长度不符"),
    "CHARACTER": ("it has a character that is not allowed", "含有不允许的字符"),
    "CHECK_DIGIT": ("its check digit does not fit, so a digit is mistyped", "校验位不符，有数字录入错误"),
    "COUNTRY": ("its country code is not known", "国家代码不存在"),
}


def find_faults(
    instructions: Sequence[PaymentInstruction], check_digits: CheckDigits, today: date
) -> list[list[FieldViolation]]:
    """Return the faults of each line, in order; an empty list is a payable line. One check-digit call per kind."""
    faults = [_faults_of(instruction, today) for instruction in instructions]
    for kind in ("check_cnaps", "check_bic", "check_iban"):
        _check_digits(kind, instructions, faults, check_digits)
    return faults


def _faults_of(line: PaymentInstruction, today: date) -> list[FieldViolation]:
    faults: list[FieldViolation] = []
    if not _END_TO_END_ID.fullmatch(line.end_to_end_id):
        faults.append(_end_to_end_id_fault(line.end_to_end_id))
    if not _ACCOUNT.fullmatch(line.debtor_account):
        faults.append(_account_fault("debtor_account.identification", line.debtor_account, "付款账号"))
    if not _ACCOUNT.fullmatch(line.creditor_account):
        faults.append(_account_fault("creditor_account.identification", line.creditor_account, "收款账号"))
    if not line.creditor_name or line.creditor_name.isspace():
        faults.append(_fault("creditor.name", "MISSING", "The creditor's name is empty.", "收款人名称不能为空。"))
    _check_amount(line, faults)
    _check_date(line.requested_execution_date, today, faults)
    _check_texts(line, faults)
    _check_account_currencies(line, faults)
    if UNKNOWN_WORD in (line.category_purpose, line.channel, line.debtor_account_scheme, line.creditor_account_scheme):
        _check_words(line, faults)
    if line.details:
        _check_details(line.details, faults)
    return faults


def _fault(field: str, reason: str, description: str, description_zh: str) -> FieldViolation:
    return FieldViolation(field, reason, description, description_zh)


def _end_to_end_id_fault(text: str) -> FieldViolation:
    reason = "MISSING" if not text else "TOO_LONG" if len(text) > 35 else "CHARACTER"
    return _fault(
        "end_to_end_id",
        reason,
        "end_to_end_id must be 1 to 35 characters of A-Z a-z 0-9 and - / . _ : .",
        "业务参考号须为 1 至 35 位字母、数字或 - / . _ :。",
    )


def _account_fault(field: str, text: str, name_zh: str) -> FieldViolation:
    reason = "MISSING" if not text else "TOO_LONG" if len(text) > 34 else "CHARACTER"
    return _fault(
        field,
        reason,
        f"{field} must be an IBAN or an account number of 1 to 34 letters, digits, - / or . without blanks.",
        f"{name_zh}须为 IBAN 或 1 至 34 位字母、数字（可含 - / .，不含空格）。",
    )


def _check_amount(line: PaymentInstruction, faults: list[FieldViolation]) -> None:
    try:
        check_payable(line.currency, line.amount_minor_units)
    except AmountInvalid as error:
        field = "currency" if error.reason == "CURRENCY_UNKNOWN" else "minor_units"
        message = error.message if field == "minor_units" else "The currency must be an ISO 4217 code such as CNY."
        faults.append(_fault(f"instructed_amount.{field}", error.reason, message, error.message_zh))


def _check_date(text: str, today: date, faults: list[FieldViolation]) -> None:
    if not text:
        return
    field = "requested_execution_date"
    if not is_iso_date(text):
        faults.append(
            _fault(
                field,
                "DATE_INVALID",
                "requested_execution_date must be a calendar date such as 2026-11-30, or empty.",
                "期望付款日须为有效日期，如 2026-11-30，或留空。",
            )
        )
    elif text > (today + timedelta(days=EXECUTION_DAYS_AHEAD_MAX)).isoformat():
        faults.append(
            _fault(
                field,
                "DATE_TOO_FAR",
                f"requested_execution_date may be at most {EXECUTION_DAYS_AHEAD_MAX} days ahead.",
                f"期望付款日最多提前 {EXECUTION_DAYS_AHEAD_MAX} 天。",
            )
        )


def _check_texts(line: PaymentInstruction, faults: list[FieldViolation]) -> None:
    for index, field, longest, name_zh in _TEXT_AT:
        text = line[index]
        if not text:
            continue
        if len(text) > longest:  # type: ignore[arg-type]
            faults.append(
                _fault(
                    field,
                    "TOO_LONG",
                    f"{field} has {len(text)} characters; at most {longest} are allowed.",  # type: ignore[arg-type]
                    f"{name_zh}有 {len(text)} 个字符，最多 {longest} 个。",  # type: ignore[arg-type]
                )
            )
        # isprintable is much cheaper than the search and false for nearly all that the search finds.
        elif not text.isprintable() and (found := _CONTROL.search(text)):  # type: ignore[union-attr, arg-type]
            faults.append(_control_fault(field, found, name_zh))


def _control_fault(field: str, found: re.Match[str], name_zh: str) -> FieldViolation:
    where, code = found.start() + 1, f"U+{ord(found.group()):04X}"
    return _fault(
        field,
        "CONTROL_CHARACTER",
        f"{field} has the control or invisible character {code} at position {where}; remove it.",
        f"{name_zh}第 {where} 个字符是控制字符或不可见字符 {code}，请删除。",
    )


def _check_account_currencies(line: PaymentInstruction, faults: list[FieldViolation]) -> None:
    for account, currency in (
        ("debtor_account", line.debtor_account_currency),
        ("creditor_account", line.creditor_account_currency),
    ):
        if currency and not _CURRENCY.fullmatch(currency):
            faults.append(
                _fault(
                    f"{account}.currency",
                    "CURRENCY_UNKNOWN",
                    f"{account}.currency must be an ISO 4217 code such as CNY, or empty.",
                    "账户币种须为 ISO 4217 代码，如 CNY，或留空。",
                )
            )


def _check_words(line: PaymentInstruction, faults: list[FieldViolation]) -> None:
    for field, word in (
        ("category_purpose", line.category_purpose),
        ("channel", line.channel),
        ("debtor_account.scheme", line.debtor_account_scheme),
        ("creditor_account.scheme", line.creditor_account_scheme),
    ):
        if word == UNKNOWN_WORD:
            faults.append(
                _fault(
                    field,
                    "VALUE_UNKNOWN",
                    f"{field} has a value this version does not know; leave it unset or use one the API names.",
                    "取值未知，请留空或使用接口文档中的取值。",
                )
            )


def _check_details(details: tuple[str, ...], faults: list[FieldViolation]) -> None:
    """`details` is the kind, then pairs of field and text."""
    kind = details[0]
    for name, text in zip(details[1::2], details[2::2], strict=True):
        field = f"{kind}.{name}"
        if len(text) > _DETAIL_LENGTH_MAX:
            faults.append(
                _fault(
                    field,
                    "TOO_LONG",
                    f"{field} has {len(text)} characters; at most {_DETAIL_LENGTH_MAX} are allowed.",
                    f"有 {len(text)} 个字符，最多 {_DETAIL_LENGTH_MAX} 个。",
                )
            )
        elif found := _CONTROL.search(text):
            faults.append(_control_fault(field, found, ""))
        elif name.endswith("_date") and text and not is_iso_date(text):
            faults.append(
                _fault(field, "DATE_INVALID", f"{field} must be a calendar date such as 2026-11-30.", "须为有效日期。")
            )


def _check_digits(
    kind: str,
    instructions: Sequence[PaymentInstruction],
    faults: list[list[FieldViolation]],
    check_digits: CheckDigits,
) -> None:
    asked: list[tuple[int, str]] = []
    texts: list[str] = []
    for field, path in _CHECK_FIELDS[kind]:
        index_of_text = PaymentInstruction._fields.index(field)
        index_of_scheme = PaymentInstruction._fields.index(f"{field}_scheme") if kind == "check_iban" else -1
        for number, line in enumerate(instructions):
            text = line[index_of_text]
            if text and (index_of_scheme < 0 or line[index_of_scheme] == "IBAN"):
                asked.append((number, path))
                texts.append(text)  # type: ignore[arg-type]
    if not texts:
        return
    for (number, path), reason in zip(asked, getattr(check_digits, kind)(texts), strict=True):
        if reason and not any(fault.field == path for fault in faults[number]):
            faults[number].append(_check_digit_fault(kind, path, reason))


def _check_digit_fault(kind: str, path: str, reason: str) -> FieldViolation:
    what, what_zh = _KINDS[kind]
    why, why_zh = _WHY.get(reason, ("it is not valid", "无效"))
    return _fault(path, reason, f"{path} is not a valid {what}: {why}.", f"不是有效的{what_zh}：{why_zh}。")
