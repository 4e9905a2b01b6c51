"""Supplier lists as CSV: comma, semicolon or tab; UTF-8 or GB18030; the first line names the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from yinqi.intake.columns import known_columns, read_header
from yinqi.intake.line import Fault, FileFormat, FileRefused, RawFile, RawLine
from yinqi.intake.text import decode_text, looks_like_mojibake

_DELIMITERS = (",", ";", "\t")
# The csv module's own limit of one field; it refuses the line and goes on with the next.
FIELD_CHARACTERS_MAX = 131_072
_HEADER_CHARACTERS_MAX = 16 * 1024


def read_csv(data: bytes) -> RawFile:
    """Return the payment lines of a CSV list, lazily.

    Each record gets the number of the physical line on which it begins. A record that spans several lines is refused:
    no field of a payment has line breaks, and half a record must never be taken for another payment.

    Raises:
        FileRefused: ENCODING, MOJIBAKE, COLUMN_MISSING, COLUMN_REPEATED, HEADER_MISSING; QUOTE_UNCLOSED while iterating.
    """
    text = decode_text(data)
    records = _records(text, _sniff_delimiter(text))
    fields = _read_header(records)
    return RawFile(FileFormat.CSV, (_raw_line(number, span, cells, fields) for number, span, cells in records))


def _sniff_delimiter(text: str) -> str:
    """Return the delimiter with which the first line shows the most column names."""
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")[:_HEADER_CHARACTERS_MAX]
    return max(_DELIMITERS, key=lambda delimiter: known_columns(next(csv.reader([first], delimiter=delimiter), [])))


def _records(text: str, delimiter: str) -> Iterator[tuple[int, int, list[str] | None]]:
    """Yield (first physical line, number of lines, cells) of each record that is not blank; None for unreadable cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        cells: list[str] | None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = None
        span = reader.line_num - number + 1
        if cells is None and span != 1:
            raise _quote_unclosed(number)
        if cells is None or any(cell.strip() for cell in cells):
            yield number, span, cells


def _read_header(records: Iterator[tuple[int, int, list[str] | None]]) -> list[str]:
    _, _, cells = next(records, (0, 0, None))
    if cells is None:
        raise FileRefused(
            "HEADER_MISSING",
            "the first line must name the columns, separated by comma, semicolon or tab",
            "第一行必须是列名，以逗号、分号或制表符分隔",
        )
    if any(looks_like_mojibake(cell) for cell in cells):
        raise FileRefused(
            "MOJIBAKE",
            "the column names are garbled: the file was decoded wrongly before; export it again as UTF-8",
            "列名是乱码：文件曾被错误转码，请以 UTF-8 重新导出",
        )
    return read_header(cells)


def _raw_line(number: int, span: int, cells: Sequence[str] | None, fields: Sequence[str]) -> RawLine:
    where = f"line {number}"
    if cells is None:
        return RawLine(number, where, {}, [_unreadable()])
    if span > 1:
        return RawLine(number, f"lines {number}-{number + span - 1}", {}, [_line_break()])
    if len(cells) < len(fields) or any(cell.strip() for cell in cells[len(fields) :]):
        return RawLine(number, where, {}, [_column_count(len(cells), len(fields))])
    return RawLine(number, where, line_texts(fields, cells))


def line_texts(fields: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """Return the cells by field path; blanks at both ends go, and blanks inside account numbers and bank codes.

    The debtor account of a list is kept in the currency of its line.
    """
    texts = {field: cell.strip(" \u3000") for field, cell in zip(fields, cells, strict=False) if field}
    for field in _NUMBERS:
        if " " in texts.get(field, ""):
            texts[field] = texts[field].replace(" ", "")
    texts["debtor_account.currency"] = texts.get("instructed_amount.currency", "")
    return texts


_NUMBERS = (
    "debtor_account.identification",
    "creditor_account.identification",
    "creditor_agent.clearing_member_id",
)


def _unreadable() -> Fault:
    return Fault(
        "",
        "LINE_UNREADABLE",
        f"the line breaks the rules of CSV: a wrong quote, or a field over {FIELD_CHARACTERS_MAX} characters",
        f"不符合 CSV 格式：引号错误，或字段超过 {FIELD_CHARACTERS_MAX} 个字符",
        'quotes around a whole field, doubled inside it: "a ""b"" c" / 引号须包住整个字段，字段内的引号写两遍',
    )


def _line_break() -> Fault:
    return Fault(
        "",
        "LINE_BREAK",
        "a quoted field runs over several lines; all of them are left out",
        "带引号的字段跨越多行，这些行均不处理",
        "one payment per line / 每行一笔付款",
    )


def _column_count(found: int, wanted: int) -> Fault:
    return Fault(
        "",
        "COLUMN_COUNT",
        f"the line has {found} cells, the header {wanted}",
        f"本行有 {found} 格，表头有 {wanted} 列",
        "one cell per column; quote a cell that holds the delimiter / 每列一格，含分隔符的内容须加引号",
    )


def _quote_unclosed(number: int) -> FileRefused:
    return FileRefused(
        "QUOTE_UNCLOSED",
        f"line {number} opens a quote that is never closed, so the lines after it cannot be told apart",
        f"第 {number} 行的引号没有闭合，其后的各行无法分辨",
        metadata={"line": str(number)},
    )
