"""Small supplier lists for the tests: one good line, changed where a test wants it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from openpyxl import Workbook

from yinqi.intake import PaymentFile, read_payment_file

GOOD: Mapping[str, str] = {
    "业务参考号": "SUP-1",
    "付款人": "华东精工制造股份有限公司",
    "付款账号": "755915678910001",
    "收款人": "苏州瑞丰精密模具有限公司",
    "收款账号": "1102020219000012345",
    "收款行联行号": "102100099996",
    "收款行名称": "中国工商银行",
    "币种": "CNY",
    "金额": "1234.50",
    "期望付款日": "2026-11-20",
    "付款类别": "SUPP",
    "用途": "货款",
    "附言": "10月货款",
    "汇路": "小额",
}


def line(number: int = 1, **changes: str) -> dict[str, str]:
    """Return a good line with its own reference; `changes` by Chinese column name."""
    return {**GOOD, "业务参考号": f"SUP-{number}", **changes}


def csv_bytes(lines: Sequence[Mapping[str, str]], encoding: str = "utf-8", delimiter: str = ",") -> bytes:
    """Return a CSV list of the lines, with the header of GOOD."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(GOOD), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode(encoding)


def read_lines(*lines: Mapping[str, str]) -> PaymentFile:
    """Read a CSV list of the lines."""
    return read_payment_file(csv_bytes(lines), "list.csv")


def excel_bytes(rows: Sequence[Sequence[Any]], title: str = "付款") -> bytes:
    """Return a workbook of one sheet with these rows."""
    workbook = Workbook()
    sheet = workbook.active
    sheet.title = title
    for row in rows:
        sheet.append(list(row))
    buffer = io.BytesIO()
    workbook.save(buffer)
    return buffer.getvalue()
