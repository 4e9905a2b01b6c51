"""Reading BB1PAYOP and BB1PAYBH requests, and the bank's checks on each line (contract §4, §5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yinqi.sandbox_bank import fields
from yinqi.sandbox_bank.errors import MessageRefused
from yinqi.sandbox_bank.faults import Line

BATCH_LINES_MAX = 1_000
SINGLE_LINES_MAX = 20
INSTANT_MAX = 1_000_000_00
_CHANNELS = ("G", "Q", "R", "I")


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """One line as received; amount in hundredths, 0 when malformed."""

    number: int
    reference: str
    debtor_account: str
    amount: int
    amount_text: str
    currency_code: str
    creditor_account: str
    creditor_name: str
    clearing_code: str
    bank_name: str
    bic: str
    channel: str
    memo: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A submit message; batch_number is empty for single payments."""

    function: str
    batch_number: str
    lines: tuple[PaymentLine, ...]


def read_submission(function: str, body: Mapping[str, Any]) -> Submission:
    """Read a submit message; refuses it whole when its structure is wrong."""
    if function == "BB1PAYOP":
        raw = records(body, "bb1payopx1", SINGLE_LINES_MAX)
        return Submission(function, "", tuple(_line(one, n, None) for n, one in enumerate(raw, 1)))
    header = records(body, "bb1paybhx1", 1)[0]
    if header.get("ctnFlg", "N") != "N":
        raise MessageRefused("NTF0005", "continuation is not supported 暂不支持续传")
    batch_number = reference(header, "batNbr")
    debtor_account = text(header, "dbtAcc")
    raw = records(body, "bb1paybhx2", BATCH_LINES_MAX)
    lines = tuple(_line(one, n, debtor_account) for n, one in enumerate(raw, 1))
    for one, line in zip(raw, lines, strict=True):
        if not one.get("conNbr") or not one.get("invNbr"):
            raise MessageRefused("NTF0001", f"bb1paybhx2[{line.number}]: conNbr and invNbr are needed, N/A if none")
    _check_totals(header, lines)
    return Submission(function, batch_number, lines)


def records(body: Mapping[str, Any], name: str, records_max: int) -> list[Mapping[str, Any]]:
    """The objects of one body member, 1 to records_max of them."""
    raw = body.get(name)
    if not isinstance(raw, list) or not raw or any(not isinstance(one, dict) for one in raw):
        raise MessageRefused("NTF0001", f"{name} must be a list of objects, not empty 缺少{name}")
    if len(raw) > records_max:
        raise MessageRefused("NTF0004", f"{name}: at most {records_max} records 记录数超限")
    return raw


def text(record: Mapping[str, Any], name: str) -> str:
    """A text member, empty when absent."""
    value = record.get(name, "")
    if not isinstance(value, str) or not fields.is_encodable(value):
        raise MessageRefused("NTF0001", f"{name} must be a text {name}应为字符串")
    return value


def reference(record: Mapping[str, Any], name: str) -> str:
    """A reference of at most 30 safe characters."""
    value = text(record, name)
    if not fields.REFERENCE.fullmatch(value):
        raise MessageRefused("NTF0001", f"{name} must be 1-30 of 0-9 A-Z a-z _ . - {name}格式错误")
    return value


def line_error(line: PaymentLine, account_currency: str) -> tuple[str, str] | None:
    """Why the bank refuses a line at once, as (errCod, errTxt); None when it does not."""
    currency = fields.CURRENCIES.get(line.currency_code)
    if not line.amount:
        return "AMT0001", "金额格式错误 amount must be positive with two decimals"
    if currency != account_currency:
        return "CUR0001", "币种与账户不符 currency is not the account's"
    if not fields.CREDITOR_ACCOUNT.fullmatch(line.creditor_account) or not 1 <= len(line.creditor_name.strip()) <= 140:
        return "ACC0001", "收款账号或户名错误 creditor account or name missing or malformed"
    if (bank_error := _creditor_bank_error(line)) is not None:
        return bank_error
    if line.channel not in _CHANNELS or (line.channel == "R" and line.amount > INSTANT_MAX):
        return "CHN0001", "结算通道错误或超限 channel unknown or amount above its cap"
    if len(line.memo) > 100 or any(map(fields.has_control_characters, (line.memo, line.creditor_name, line.bank_name))):
        return "TXT0001", "附言过长或含非法字符 memo too long or control characters"
    return None


def visible_line(submission: Submission, line: PaymentLine) -> Line:
    """What fault rules may look at."""
    return Line(
        function=submission.function,
        number=line.number,
        reference=line.reference,
        batch_number=submission.batch_number,
        debtor_account=line.debtor_account,
        creditor_account=line.creditor_account,
        creditor_name=line.creditor_name,
        currency=fields.CURRENCIES.get(line.currency_code, ""),
        amount=line.amount_text,
    )


def _line(raw: Mapping[str, Any], number: int, debtor_account: str | None) -> PaymentLine:
    return PaymentLine(
        number=number,
        reference=reference(raw, "yurRef"),
        debtor_account=text(raw, "dbtAcc") if debtor_account is None else debtor_account,
        amount=fields.parse_amount(raw.get("trsAmt")) or 0,
        amount_text=fields.encodable(str(raw.get("trsAmt", ""))[:40]),
        currency_code=text(raw, "ccyNbr"),
        creditor_account=text(raw, "crtAcc"),
        creditor_name=text(raw, "crtNam"),
        clearing_code=text(raw, "crtBrd"),
        bank_name=text(raw, "crtBnk"),
        bic=text(raw, "crtBic"),
        channel=text(raw, "stlChn") or "Q",
        memo=text(raw, "nusAge"),
    )


def _creditor_bank_error(line: PaymentLine) -> tuple[str, str] | None:
    code_is_wrong = line.clearing_code and not fields.CLEARING_CODE.fullmatch(line.clearing_code)
    bic_is_wrong = line.bic and not fields.BIC.fullmatch(line.bic)
    nothing_given = not (line.clearing_code or line.bic or line.bank_name.strip())
    if code_is_wrong or bic_is_wrong or nothing_given or len(line.bank_name) > 100:
        return "BNK0001", "收款行信息错误 creditor bank missing or malformed"
    return None


def _check_totals(header: Mapping[str, Any], lines: Sequence[PaymentLine]) -> None:
    if header.get("dtlNum") != str(len(lines)):
        raise MessageRefused("BAT0002", f"dtlNum differs from the {len(lines)} lines sent 总笔数不符")
    total = sum(line.amount for line in lines)
    if (fields.parse_amount(header.get("dtlAmt")) or 0) != total:
        raise MessageRefused("BAT0002", "dtlAmt differs from the sum of the lines 总金额不符")
