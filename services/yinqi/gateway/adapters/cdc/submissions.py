"""BB1PAYOP and BB1PAYBH: lines to fields, and what the bank says of each line. Source: the contract's §4, §5."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from yinqi.gateway.adapters.cdc.envelope import canonical
from yinqi.gateway.adapters.cdc.fields import SUCCESS, Record, format_amount, malformed, records, single
from yinqi.gateway.model import BankAccount, BatchPart, LineAnswer, Refusal, Submission
from yinqi.gateway.ports import Answer, BankRefused
from yinqi.gateway.profile import Profile, TextLimit
from yinqi.gateway.status import BankStatus
from yinqi.kernel.errors import AmountInvalid, FailedPrecondition, FieldViolation
from yinqi.kernel.money import total

SINGLE, BATCH = "BB1PAYOP", "BB1PAYBH"
_REFERENCE = re.compile(r"[0-9A-Za-z_.\-]{1,30}")
_CREDITOR_ACCOUNT = re.compile(r"[0-9A-Za-z\-]{1,35}")
_CLEARING_MEMBER = re.compile(r"[0-9]{12}")
_BIC = re.compile(r"[A-Z0-9]{8}(?:[A-Z0-9]{3})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DEFAULT_LIMITS = {
    "creditor_name": TextLimit(chars_max=140),
    "agent_name": TextLimit(chars_max=100),
    "remittance_information": TextLimit(chars_max=100),
}


def refusal(submission: Submission, account: BankAccount, profile: Profile) -> Refusal | None:
    """Return the first reason why the dialect cannot carry a submission; None if it can."""
    for reason, field, allowed, allowed_zh in _problems(submission, account, profile):
        return Refusal(reason, FieldViolation(field, reason, f"{field}: {allowed}", allowed_zh))
    return None


def single_body(line: Submission, account: BankAccount, profile: Profile) -> dict[str, Any]:
    """Return the body of BB1PAYOP."""
    return {"bb1payopx1": [{**_line(line, profile), "dbtAcc": account.identification}]}


def batch_body(
    lines: Sequence[Submission],
    account: BankAccount,
    profile: Profile,
    batch_number: str,
    part: BatchPart | None = None,
) -> dict[str, Any]:
    """Return the body of BB1PAYBH.

    Assumed: a continued batch's messages carry the packet sequence (`pktSeq` of `pktNum`) and the totals of the whole
    batch (`totNum`, `totAmt`) beside their own; a business code for salaries and taxes is `busCod`. Members that a
    bank does not know it ignores.
    """
    header = {
        "batNbr": batch_number,
        "dbtAcc": account.identification,
        "ccyNbr": profile.currency_codes[account.currency],
        "dtlNum": str(len(lines)),
        "dtlAmt": format_amount(total((line.instruction.amount for line in lines), account.currency)),
        "ctnFlg": "N" if part is None else "Y",
        **_place(part),
    }
    if (code := profile.batch.kinds.get(lines[0].instruction.kind)) is not None:
        header["busCod"] = code
    return {"bb1paybhx1": [header], "bb1paybhx2": [_batch_line(line, profile) for line in lines]}


def prove_totals(body: Mapping[str, Any]) -> None:
    """Read a built batch as the bank will: count and sum of the lines must be what its header declares.

    Raises:
        FailedPrecondition: BATCH_TOTALS_MISMATCH. Nothing was sent.
    """
    (header,), lines = body["bb1paybhx1"], body["bb1paybhx2"]
    hundredths = sum(int(line["trsAmt"].replace(".", "", 1)) for line in lines)
    declared = int(header["dtlAmt"].replace(".", "", 1))
    if int(header["dtlNum"]) != len(lines) or declared != hundredths:
        raise FailedPrecondition(
            "BATCH_TOTALS_MISMATCH",
            f"The batch declares {header['dtlNum']} lines; count or sum of its {len(lines)} lines differs. "
            "Nothing was sent.",
            "批量申报的笔数或金额与明细不符，未发送。",
        )


def line_bytes(line: Submission, profile: Profile) -> int:
    """Return the bytes of a line in a batch's canonical form."""
    return len(canonical(_batch_line(line, profile))) + 1


def _place(part: BatchPart | None) -> dict[str, str]:
    if part is None:
        return {}
    status = "1" if part.position == 1 else "3" if part.position == part.messages else "2"
    return {
        "ctnSts": status,
        "pktSeq": str(part.position),
        "pktNum": str(part.messages),
        "totNum": str(part.lines),
        "totAmt": format_amount(part.amount),
    }


def read_single(answer: Answer, lines: Sequence[Submission], profile: Profile) -> list[LineAnswer]:
    """Return what the answer to BB1PAYOP says of each line."""
    refused = _message_refusal(answer, lines, profile)
    if refused is not None:
        return refused
    found = list(records(answer.body, "bb1payopz1"))
    if [record.text("yurRef") for record in found] != [line.instruction_id for line in lines]:
        raise malformed("bb1payopz1")
    return [_single_line(record, profile) for record in found]


def read_batch(answer: Answer, lines: Sequence[Submission], profile: Profile, batch_number: str) -> list[LineAnswer]:
    """Return what the answer to BB1PAYBH says of each line: what is not listed as refused was received."""
    refused = _message_refusal(answer, lines, profile)
    if refused is not None:
        return refused
    head = single(answer.body, "bb1paybhz1")
    if head.text("batNbr") != batch_number:
        raise malformed("bb1paybhz1.batNbr")
    if not head.is_successful():
        raise BankRefused(head.text("errCod"), head.text("errTxt"))
    said = {record.required("yurRef"): record for record in records(answer.body, "bb1paybhz2")}
    if not said.keys() <= {line.instruction_id for line in lines}:
        raise malformed("bb1paybhz2.yurRef")
    is_whole = len(lines) - len(said) <= head.count("dtlNum") <= len(lines)
    # Another count: some line is neither refused nor received, and nobody can say which. What was refused is known.
    received = LineAnswer(BankStatus.PROCESSING) if is_whole else LineAnswer(BankStatus.UNKNOWN, "COUNT_DIFFERS")
    return [
        _refused_line(said[line.instruction_id], profile) if line.instruction_id in said else received for line in lines
    ]


def reason_of(code: str, profile: Profile) -> str:
    """Return our or an ISO 20022 reason for a bank's error code."""
    return profile.reason_codes.get(code) or profile.line_refusals.get(code) or "BANK_CODE_UNLISTED"


def _message_refusal(answer: Answer, lines: Sequence[Submission], profile: Profile) -> list[LineAnswer] | None:
    if answer.result_code == SUCCESS:
        return None
    reason = profile.message_refusals.get(answer.result_code)
    if reason is None:
        raise BankRefused(answer.result_code, answer.result_text)
    return [LineAnswer(BankStatus.REJECTED, reason, answer.result_code, answer.result_text)] * len(lines)


def _refused_line(record: Record, profile: Profile) -> LineAnswer:
    code, text = record.text("errCod"), record.text("errTxt")
    if code in profile.line_refusals:
        return LineAnswer(BankStatus.REJECTED, profile.line_refusals[code], code, text)
    return LineAnswer(BankStatus.UNKNOWN, reason_of(code, profile), code, text)


def _single_line(record: Record, profile: Profile) -> LineAnswer:
    code, text = record.text("errCod"), record.text("errTxt")
    if not record.text("reqNbr"):  # not recorded: its state says nothing
        return _refused_line(record, profile)
    status, reason = profile.status_map.read(record.text("reqSts"), record.text("rtnFlg"))
    if status is BankStatus.REJECTED:
        return LineAnswer(status, reason_of(code, profile), code, text)
    if status in (BankStatus.SETTLED, BankStatus.RETURNED):
        # True perhaps, but the booking date and serial come only with a query: leave it to that.
        return LineAnswer(BankStatus.PROCESSING)
    return LineAnswer(status, reason, "" if code == SUCCESS else code, text)


def _line(line: Submission, profile: Profile) -> dict[str, str]:
    order = line.instruction
    fields = {
        "yurRef": line.instruction_id,
        "trsAmt": format_amount(order.amount),
        "ccyNbr": profile.currency_codes[order.amount.currency],
        "crtAcc": order.creditor_account,
        "crtNam": order.creditor_name,
        "stlChn": profile.channels[line.route or order.channel],
    }
    optional = {
        "crtBrd": order.clearing_member_id,
        "crtBnk": order.agent_name,
        "crtBic": order.bicfi,
        "nusAge": order.remittance_information or order.purpose,
    }
    return fields | {name: value for name, value in optional.items() if value}


def _batch_line(line: Submission, profile: Profile) -> dict[str, str]:
    return {**_line(line, profile), "conNbr": "N/A", "invNbr": "N/A"}


Problem = tuple[str, str, str, str]  # reason, field, what is allowed, the same in Chinese


def _problems(submission: Submission, account: BankAccount, profile: Profile) -> Iterable[Problem]:
    order = submission.instruction
    if not _REFERENCE.fullmatch(submission.instruction_id):
        yield "REFERENCE_FORMAT", "instruction_id", "1 to 30 of 0-9 A-Z a-z _ . -", "指令标识最多 30 位字母数字"
    yield from _amount_problems(submission, account, profile)
    if not _CREDITOR_ACCOUNT.fullmatch(order.creditor_account):
        yield "ACCOUNT_FORMAT", "creditor_account", "1 to 35 of 0-9 A-Z a-z -", "收款账号最多 35 位字母数字"
    if not order.creditor_name.strip():
        yield "FIELD_MISSING", "creditor_name", "a name is needed", "缺少收款户名"
    yield from _agent_problems(submission)
    texts = {
        "creditor_name": order.creditor_name,
        "agent_name": order.agent_name,
        "remittance_information": order.remittance_information or order.purpose,
    }
    for field, text in texts.items():
        yield from _text_problems(field, text, profile.texts.get(field, _DEFAULT_LIMITS[field]), profile.encoding)


def _amount_problems(submission: Submission, account: BankAccount, profile: Profile) -> Iterable[Problem]:
    amount = submission.instruction.amount
    if amount.currency not in profile.currency_codes:
        yield (
            "CURRENCY_UNSUPPORTED",
            "instructed_amount",
            "this bank has no code for the currency",
            "该银行不支持此币种",
        )
        return
    if amount.currency != account.currency:
        yield (
            "CURRENCY_NOT_OF_ACCOUNT",
            "instructed_amount",
            f"the account is in {account.currency}",
            "币种与付款账户不符",
        )
        return
    try:
        digits = len(format_amount(amount)) - 1
    except AmountInvalid:
        yield "AMOUNT_DECIMALS", "instructed_amount", "this bank writes two decimals only", "该银行金额只有两位小数"
        return
    if amount.minor_units <= 0 or digits > profile.amount_digits_max:
        allowed = f"positive, at most {profile.amount_digits_max} digits with the decimals"
        yield "AMOUNT_RANGE", "instructed_amount", allowed, f"金额须为正且最多 {profile.amount_digits_max} 位"


def _agent_problems(submission: Submission) -> Iterable[Problem]:
    order = submission.instruction
    if not (order.clearing_member_id or order.bicfi or order.agent_name.strip()):
        yield "AGENT_MISSING", "creditor_agent", "a CNAPS code, a BIC or a bank name is needed", "缺少收款行信息"
    if order.clearing_member_id and not _CLEARING_MEMBER.fullmatch(order.clearing_member_id):
        yield "AGENT_FORMAT", "creditor_agent.clearing_member_id", "12 digits", "联行号须为 12 位数字"
    if order.bicfi and not _BIC.fullmatch(order.bicfi):
        yield "AGENT_FORMAT", "creditor_agent.bicfi", "8 or 11 capitals and digits", "BIC 须为 8 或 11 位"


def _text_problems(field: str, text: str, limit: TextLimit, encoding: str) -> Iterable[Problem]:
    if _CONTROL.search(text):
        yield "CONTROL_CHARACTER", field, "no control characters or line breaks", "不得含控制字符或换行"
    if len(text) > limit.chars_max:
        yield "FIELD_TOO_LONG", field, f"at most {limit.chars_max} characters", f"最多 {limit.chars_max} 个字符"
    try:
        size = len(text.encode(encoding))
    except UnicodeEncodeError as error:
        odd = f"U+{ord(text[error.start]):04X}"
        yield "CHARACTER_UNSUPPORTED", field, f"{odd} is not in {encoding}", f"字符 {odd} 不在 {encoding} 字符集中"
        return
    if limit.bytes_max is not None and size > limit.bytes_max:
        yield "FIELD_TOO_LONG", field, f"at most {limit.bytes_max} bytes in {encoding}", f"最多 {limit.bytes_max} 字节"


def codes_by_number(profile: Profile) -> Mapping[str, str]:
    """Return ISO 4217 currencies by the bank's code."""
    return {code: currency for currency, code in profile.currency_codes.items()}
