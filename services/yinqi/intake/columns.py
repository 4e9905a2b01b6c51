"""Column names of CSV and Excel lists, Chinese and English, and the fields they mean.

A header cell is compared without blanks, asterisks, bracketed remarks and letter case: "金额（元）*" is 金额.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from yinqi.intake.line import FileRefused

# Field path (as in the API) → accepted names; the first two are the documented ones, Chinese and English.
COLUMNS: dict[str, tuple[str, ...]] = {
    "end_to_end_id": ("业务参考号", "end_to_end_id", "端到端标识", "客户参考号", "付款编号", "EndToEndId", "reference"),
    "debtor": ("付款人", "debtor", "付款人名称", "付款户名"),
    "debtor_account.identification": ("付款账号", "debtor_account", "付款账户", "付款人账号", "付方账号"),
    "creditor": ("收款人", "creditor", "收款人名称", "收款户名", "收款方名称", "供应商名称"),
    "creditor_account.identification": ("收款账号", "creditor_account", "收款账户", "收款人账号", "收方账号"),
    "creditor_agent.clearing_member_id": (
        *("收款行联行号", "creditor_agent_clearing_member_id", "联行号", "收款行号", "CNAPS行号", "cnaps"),
        *("creditor_agent_cnaps", "clearing_member_id"),
    ),
    "creditor_agent.bicfi": ("收款行BIC", "creditor_agent_bicfi", "SWIFT代码", "BIC", "SWIFT", "BICFI"),
    "creditor_agent.name": ("收款行名称", "creditor_agent_name", "开户行", "收款行", "开户行名称", "收款人开户行"),
    "instructed_amount.currency": ("币种", "currency", "货币"),
    "instructed_amount": ("金额", "amount", "付款金额", "instructed_amount", "交易金额"),
    "requested_execution_date": ("期望付款日", "requested_execution_date", "付款日期", "执行日期", "execution_date"),
    "category_purpose": ("付款类别", "category_purpose", "业务类别"),
    "purpose": ("用途", "purpose"),
    "remittance_information": ("附言", "remittance_information", "摘要", "备注", "remittance"),
    "channel": ("汇路", "channel", "付款渠道"),
    "payment_information_id": ("批次号", "payment_information_id", "batch"),
}
NEEDED = (
    "end_to_end_id",
    "debtor_account.identification",
    "creditor",
    "creditor_account.identification",
    "instructed_amount.currency",
    "instructed_amount",
)
# One of these tells the creditor's bank.
NEEDED_ANY = ("creditor_agent.clearing_member_id", "creditor_agent.bicfi")

_NOISE = re.compile(r"[\s*＊_\-]|[(（\[【].*?[)）\]】]")


def _plain(name: str) -> str:
    return _NOISE.sub("", name).casefold()


_FIELD_OF = {_plain(name): field for field, names in COLUMNS.items() for name in names}


def column_label(field: str) -> str:
    """Return the two documented names of a field's column, for messages: "金额 / amount"."""
    names = COLUMNS.get(field)
    return f"{names[0]} / {names[1]}" if names else field


def known_columns(cells: Sequence[str]) -> int:
    """Return how many of the cells are column names; tells a header from a title or a payment."""
    return sum(1 for cell in cells if _plain(cell) in _FIELD_OF)


def read_header(cells: Sequence[str]) -> list[str]:
    """Return the field path of each column in order; "" for a column that is not ours (it is ignored).

    Raises:
        FileRefused: COLUMN_MISSING (names every missing column and what was found) or COLUMN_REPEATED.
    """
    fields = [_FIELD_OF.get(_plain(cell), "") for cell in cells]
    _check_repeated(fields, cells)
    missing = [column_label(needed) for needed in NEEDED if needed not in fields]
    if not any(field in fields for field in NEEDED_ANY):
        missing.append(" or ".join(column_label(field) for field in NEEDED_ANY))
    if missing:
        raise _missing(missing, cells)
    return fields


def _check_repeated(fields: Sequence[str], cells: Sequence[str]) -> None:
    for field in filter(None, fields):
        if fields.count(field) > 1:
            twice = ", ".join(cell for cell, f in zip(cells, fields, strict=True) if f == field)
            raise FileRefused(
                "COLUMN_REPEATED",
                f"several columns mean {column_label(field)}: {twice}; keep one",
                f"有多列都表示 {COLUMNS[field][0]}：{twice}，请只保留一列",
                metadata={"field": field},
            )


def _missing(missing: Sequence[str], cells: Sequence[str]) -> FileRefused:
    found = ", ".join(cell.strip()[:40] for cell in cells[:40] if cell.strip()) or "nothing"
    return FileRefused(
        "COLUMN_MISSING",
        f"needed column missing: {'; '.join(missing)}. Columns found: {found}",
        f"缺少必需的列：{'；'.join(missing)}。找到的列：{found}",
        metadata={"missing": "; ".join(missing), "found": found},
    )
