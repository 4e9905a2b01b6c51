"""Supplier lists as Excel workbooks (.xlsx): one sheet, a header row within the first ten rows.

Account numbers must be text cells: a spreadsheet keeps 15 digits of a number and drops leading zeros, so a number cell
may already be another account. Amounts are taken as the decimal of 15 significant digits that Excel itself works with.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from yinqi.intake.columns import known_columns, read_header
from yinqi.intake.csv_file import line_texts
from yinqi.intake.line import Fault, FileFormat, FileRefused, RawFile, RawLine

HEADER_ROW_MAX = 10
COLUMNS_MAX = 100
UNPACKED_BYTES_MAX = 512 * 1024 * 1024
PARTS_MAX = 2_000
_PACK_RATIO_MAX = 200
_SMALL_PART = 1024 * 1024
_CHUNK = 1024 * 1024
_ACCOUNTS = ("debtor_account.identification", "creditor_account.identification")
# What zipfile and openpyxl raise on packages and parts that are cut or are not what they should be.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, InvalidFileException, LookupError, ValueError, TypeError, AttributeError,
    ArithmeticError, SyntaxError, EOFError, OSError, RuntimeError,
)  # fmt: skip


def read_excel(data: bytes) -> RawFile:
    """Return the payment lines of the one sheet that has payment columns, lazily; `line` is the row number.

    Raises:
        FileRefused: WORKBOOK_DAMAGED, WORKBOOK_UNSAFE, HEADER_MISSING, SHEETS_SEVERAL, COLUMN_MISSING, COLUMN_REPEATED.
    """
    _check_package(data)
    try:
        # Read-only mode streams the rows; data_only takes the values that the clerk saw, not the formulas.
        workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        sheets = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
        found = [(sheet, header) for sheet in sheets if (header := _find_header(sheet))]
    except _DAMAGED as error:
        raise _damaged(error) from None
    if len(found) != 1:
        raise _not_one_sheet([sheet.title for sheet, _ in found])
    payments, (header_row, cells) = found[0]
    return RawFile(FileFormat.EXCEL, _rows(payments, header_row, read_header(cells)))


def _find_header(sheet: Any) -> tuple[int, list[str]] | None:
    """Return (row number, cells) of the first row with at least three column names; titles may stand above it."""
    # A workbook may state wrong dimensions; without them openpyxl reads what is there.
    sheet.reset_dimensions()
    rows = sheet.iter_rows(max_row=HEADER_ROW_MAX, max_col=COLUMNS_MAX, values_only=True)
    for number, values in enumerate(rows, start=1):
        cells = ["" if value is None else str(value) for value in values]
        if known_columns(cells) >= 3:
            return number, cells
    return None


def _rows(sheet: Any, header_row: int, fields: Sequence[str]) -> Iterator[RawLine]:
    rows = sheet.iter_rows(min_row=header_row + 1, max_col=len(fields), values_only=True)
    try:
        for number, values in enumerate(rows, start=header_row + 1):
            if any(value is not None and value != "" for value in values):
                yield _raw_line(f"{sheet.title}!{number}", number, values, fields)
    except _DAMAGED as error:
        raise _damaged(error) from None


def _raw_line(where: str, number: int, values: Sequence[object], fields: Sequence[str]) -> RawLine:
    cells = [_cell_text(value, field) for value, field in zip(values, fields, strict=False)]
    faults = [
        _number_account(field)
        for value, field in zip(values, fields, strict=False)
        if field in _ACCOUNTS and isinstance(value, int | float)
    ]
    return RawLine(number, where, line_texts(fields, cells), faults)


def _cell_text(value: object, field: str) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        # Excel computes and shows 15 significant digits; what stands behind them (0.1 + 0.2 = 0.30000000000000004) is
        # no part of the clerk's number. A third decimal that only the cell's format hides is within them, and refused.
        return format(value, ".15g")
    return str(value)


def _number_account(field: str) -> Fault:
    return Fault(
        field,
        "ACCOUNT_AS_NUMBER",
        f"{field} is a number cell: Excel keeps 15 digits and drops leading zeros, so the account may be another one",
        "账号是数字格式：Excel 只保留 15 位有效数字并丢弃前导零，账号可能已改变",
        "a text cell with the whole number / 文本格式的完整账号",
    )


def _check_package(data: bytes) -> None:
    """Refuse a workbook that unpacks to too much, is encrypted, or whose parts bring a DTD."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            parts = package.infolist()
            for part in parts:
                if part.file_size > _SMALL_PART and part.file_size > _PACK_RATIO_MAX * max(part.compress_size, 1):
                    raise _unsafe("a part of it unpacks to far more than it is", "某部分解压后异常膨胀")
            if len(parts) > PARTS_MAX or sum(part.file_size for part in parts) > UNPACKED_BYTES_MAX:
                raise _unsafe("it unpacks to too much", "解压后过大")
            for part in parts:
                if part.filename.endswith((".xml", ".rels")):
                    _check_part(package, part)
    except _DAMAGED as error:
        raise _damaged(error) from None


def _check_part(package: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    tail = b""
    with package.open(part) as stream:
        while chunk := stream.read(_CHUNK):
            if b"<!DOCTYPE" in tail + chunk or b"<!ENTITY" in tail + chunk or b"\x00" in chunk:
                raise _unsafe("it holds XML with a DTD or an odd encoding", "其中的 XML 含有 DTD 或异常编码")
            tail = chunk[-16:]


def _unsafe(what: str, what_zh: str) -> FileRefused:
    return FileRefused("WORKBOOK_UNSAFE", f"the workbook is not read: {what}", f"拒绝读取该工作簿：{what_zh}")


def _damaged(error: Exception) -> FileRefused:
    return FileRefused(
        "WORKBOOK_DAMAGED",
        f"the workbook cannot be read ({type(error).__name__}); open it in Excel and save it again as .xlsx",
        "工作簿无法读取，请用 Excel 打开并重新另存为 .xlsx",
    )


def _not_one_sheet(titles: Sequence[str]) -> FileRefused:
    if not titles:
        return FileRefused(
            "HEADER_MISSING",
            f"no visible sheet names the payment columns in its first {HEADER_ROW_MAX} rows",
            f"没有任何可见工作表在前 {HEADER_ROW_MAX} 行写明付款列名",
        )
    return FileRefused(
        "SHEETS_SEVERAL",
        f"several sheets hold payments ({', '.join(titles)}); keep one per workbook so that none is forgotten",
        f"有多个工作表含付款数据（{'、'.join(titles)}），每个工作簿请只保留一个",
    )
