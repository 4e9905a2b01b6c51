"""Excel lists: what a spreadsheet does to numbers, and workbooks that are not what they seem."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime

import pytest
from openpyxl import Workbook, load_workbook

from yinqi.intake import FileRefused, read_payment_file
from yinqi.kernel.money import Money

from .lists import GOOD, excel_bytes, line

HEADER = list(GOOD)


def read(data: bytes, name: str = "list.xlsx"):
    return read_payment_file(data, name)


def row(number: int = 1, **changes: object) -> list[object]:
    return list({**line(number), **changes}.values())


def refusal(data: bytes) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(data)
    return caught.value


def repacked(data: bytes, part: str, change) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info.filename, change(content) if info.filename == part else content)
    return buffer.getvalue()


def test_a_sheet_with_a_title_above_its_header_is_read_by_row_number():
    read_file = read(excel_bytes([["2026年11月付款"], [], HEADER, row(1), row(2, 金额="0")]))

    (paid,) = read_file.lines
    assert (paid.line, paid.where) == (4, "付款!4")
    assert paid.instructed_amount == Money("CNY", 123450)
    (refused,) = read_file.refused
    assert (refused.line, refused.reason) == (5, "AMOUNT_ZERO")


@pytest.mark.parametrize(
    ("cell", "minor_units"),
    [(1234.55, 123455), (0.1, 10), (100, 10000), (90000.0, 9000000), ("12.30", 1230), (0.1 + 0.2, 30)],
)
def test_an_amount_is_the_decimal_that_the_clerk_sees(cell, minor_units):
    (paid,) = read(excel_bytes([HEADER, row(金额=cell)])).lines
    assert paid.instructed_amount.minor_units == minor_units


@pytest.mark.parametrize(
    ("cell", "reason"),
    [(100.005, "AMOUNT_DECIMALS"), (1e20, "AMOUNT_FORMAT"), (-5.5, "AMOUNT_NEGATIVE"), (True, "AMOUNT_FORMAT")],
)
def test_an_odd_amount_is_refused_not_rounded(cell, reason):
    (refused,) = read(excel_bytes([HEADER, row(金额=cell)])).refused
    assert (refused.field, refused.reason) == ("instructed_amount", reason)


@pytest.mark.parametrize("cell", [6222021234567890123, 6.22202123456789e18, 123456])
def test_an_account_in_a_number_cell_is_refused(cell):
    (refused,) = read(excel_bytes([HEADER, row(收款账号=cell)])).refused
    assert (refused.field, refused.reason) == ("creditor_account.identification", "ACCOUNT_AS_NUMBER")


def test_a_bank_code_in_a_number_cell_is_exact_and_taken():
    (paid,) = read(excel_bytes([HEADER, row(收款行联行号=102100099996)])).lines
    assert paid.creditor_agent.clearing_member_id == "102100099996"


def test_a_date_cell_is_a_date():
    (paid,) = read(excel_bytes([HEADER, row(期望付款日=datetime(2026, 11, 20, 0, 0))])).lines  # noqa: DTZ001
    assert paid.requested_execution_date == "2026-11-20"


def test_blank_rows_are_passed_over():
    assert len(read(excel_bytes([HEADER, row(1), [None] * 5, ["", ""], row(2)])).lines) == 2


def test_two_sheets_with_payments_are_refused_and_named():
    workbook = Workbook()
    for title in ("一月", "二月"):
        sheet = workbook.create_sheet(title)
        sheet.append(HEADER)
        sheet.append(row())
    buffer = io.BytesIO()
    workbook.save(buffer)
    error = refusal(buffer.getvalue())
    assert error.reason == "SHEETS_SEVERAL"
    assert "一月, 二月" in error.message


def test_a_sheet_without_column_names_is_refused():
    assert refusal(excel_bytes([["你好"], ["1"]])).reason == "HEADER_MISSING"


def test_a_missing_column_is_named():
    error = refusal(excel_bytes([[name for name in HEADER if name != "金额"], ["x"]]))
    assert error.reason == "COLUMN_MISSING"
    assert "金额 / amount" in error.message


def test_a_workbook_that_was_cut_is_refused():
    data = excel_bytes([HEADER, row()])
    assert refusal(data[:20] + b"xl/workbook.xml" + data[20:400]).reason == "WORKBOOK_DAMAGED"


def test_a_sheet_part_that_is_no_xml_is_refused():
    data = repacked(excel_bytes([HEADER, row()]), "xl/worksheets/sheet1.xml", lambda content: content[:-60])
    assert refusal(data).reason == "WORKBOOK_DAMAGED"


def test_entities_inside_a_workbook_are_refused():
    bomb = b'<!DOCTYPE a [<!ENTITY b "ha">]>'
    data = repacked(excel_bytes([HEADER, row()]), "xl/worksheets/sheet1.xml", lambda content: bomb + content)
    assert refusal(data).reason == "WORKBOOK_UNSAFE"


def test_a_workbook_that_unpacks_to_too_much_is_refused():
    data = repacked(excel_bytes([HEADER, row()]), "xl/styles.xml", lambda content: content + b" " * 50_000_000)
    assert len(data) < 200_000
    assert refusal(data).reason == "WORKBOOK_UNSAFE"


def test_the_values_of_formulas_are_read_as_last_computed():
    workbook = load_workbook(io.BytesIO(excel_bytes([HEADER, row()])))
    workbook.active["I2"] = "=1+1"  # never computed: no value
    buffer = io.BytesIO()
    workbook.save(buffer)
    (refused,) = read(buffer.getvalue()).refused
    assert (refused.field, refused.reason) == ("instructed_amount", "MISSING")
