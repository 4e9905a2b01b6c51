"""Telling formats apart, limits, and the demo's own files."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import tomllib
from pathlib import Path

import pytest

from yinqi.intake import FileFormat, FileRefused, read_payment_file, reader
from yinqi.intake.reader import FILE_BYTES_MAX
from yinqi.kernel.money import format_decimal, total

from .lists import GOOD, csv_bytes, excel_bytes, line

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "services" / "yinqi" / "demo" / "data"
XML = (DEMO / "pain001" / "hk.fps.single.pain.001.001.09.xml").read_bytes()
CSV = csv_bytes([line()])
EXCEL = excel_bytes([list(GOOD), list(line().values())])


def refusal(source: bytes | Path, name: str = "") -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read_payment_file(source, name)
    return caught.value


@pytest.mark.parametrize(
    ("data", "name", "file_format"),
    [
        (CSV, "a.csv", FileFormat.CSV),
        (CSV, "a.txt", FileFormat.CSV),
        (CSV, "", FileFormat.CSV),
        (EXCEL, "a.xlsx", FileFormat.EXCEL),
        (EXCEL, "upload", FileFormat.EXCEL),
        (XML, "A.XML", FileFormat.PAIN_001),
        (b"\xef\xbb\xbf\n" + XML.split(b"\n", 1)[1], "", FileFormat.PAIN_001),
    ],
)
def test_the_format_is_told_by_content(data, name, file_format):
    read = read_payment_file(data, name)
    assert (read.format, len(read.lines)) == (file_format, 1)
    assert read.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (EXCEL, "suppliers.csv", "is an Excel workbook; rename it to .xlsx"),
        (CSV, "suppliers.xlsx", "is a text list (CSV)"),
        (XML, "suppliers.csv", "is an XML file"),
        (CSV, "suppliers.xml", "is a text list (CSV)"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused_in_words(data, name, words):
    error = refusal(data, name)
    assert error.reason == "FILE_NOT_WHAT_ITS_NAME_SAYS"
    assert words in error.message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 100, "password-protected Excel"),
        (b"%PDF-1.7\n...", "PDF"),
        (b"\x89PNG\r\n", "picture"),
        (gzip.compress(CSV), "gzip"),
        (b"PK\x03\x04" + b"\x00" * 100, "ZIP archive without a workbook"),
        (b'{"payments": []}', "JSON"),
        (b"<html><table></table></html>", "web page"),
    ],
)
def test_other_kinds_of_files_are_named(data, words):
    error = refusal(data, "suppliers.xls")
    assert error.reason == "FORMAT_UNSUPPORTED"
    assert words in error.message


def test_a_file_of_100_megabytes_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "big.csv"
    with path.open("wb") as stream:
        stream.truncate(100 * 1024 * 1024)  # a sparse file
    assert refusal(path).reason == "FILE_TOO_LARGE"
    assert refusal(bytes(FILE_BYTES_MAX + 1)).reason == "FILE_TOO_LARGE"


def test_too_many_lines_are_refused(monkeypatch):
    monkeypatch.setattr(reader, "LINES_MAX", 10)
    data = csv_bytes([line(n) for n in range(11)])
    assert refusal(data, "a.csv").reason == "LINES_TOO_MANY"


def test_a_path_that_is_not_there_is_told(tmp_path):
    assert refusal(tmp_path / "none.csv").reason == "FILE_NOT_FOUND"
    assert refusal(tmp_path).reason == "FILE_NOT_FOUND"


def test_the_demo_csv_has_400_lines_of_which_ten_are_refused_for_ten_reasons():
    read = read_payment_file(DEMO / "suppliers-2026-11.csv")

    assert (read.count, len(read.lines)) == (400, 390)
    assert [(refused.line, refused.field, refused.reason) for refused in read.refused] == [
        (18, "instructed_amount", "AMOUNT_ZERO"),
        (43, "instructed_amount", "AMOUNT_NEGATIVE"),
        (78, "instructed_amount", "AMOUNT_DECIMALS"),
        (120, "instructed_amount.currency", "CURRENCY_UNKNOWN"),
        (155, "creditor_agent.clearing_member_id", "LENGTH"),
        (190, "creditor_agent.clearing_member_id", "CHECK_DIGIT"),
        (231, "creditor", "MISSING"),
        (266, "remittance_information", "CONTROL_CHARACTER"),
        (309, "requested_execution_date", "DATE_INVALID"),
        (353, "end_to_end_id", "END_TO_END_ID_REUSED"),
    ]


def test_the_demo_workbook_has_400_lines_of_which_ten_are_refused_for_ten_reasons():
    read = read_payment_file(DEMO / "suppliers-2026-11.xlsx")

    assert (read.count, len(read.lines)) == (400, 390)
    assert [(refused.line, refused.field, refused.reason) for refused in read.refused] == [
        (14, "creditor_account.identification", "ACCOUNT_AS_NUMBER"),
        (50, "instructed_amount", "AMOUNT_FORMAT"),
        (91, "instructed_amount", "AMOUNT_TOO_LARGE"),
        (126, "creditor", "MOJIBAKE"),
        (169, "end_to_end_id", "DUPLICATE_LINE"),
        (204, "creditor_account.identification", "MISSING"),
        (248, "remittance_information", "TOO_LONG"),
        (283, "requested_execution_date", "DATE_INVALID"),
        (325, "creditor_agent.clearing_member_id", "CHECK_DIGIT"),
        (380, "category_purpose", "WORD_UNKNOWN"),
    ]


def test_the_accounts_of_the_demo_state_what_its_files_hold():
    accounts = tomllib.loads((DEMO / "accounts.toml").read_text(encoding="utf-8"))["account"]
    for account in accounts:
        lines = [paid for name in account["files"] for paid in read_payment_file(DEMO / name).lines]
        amount = total((paid.instructed_amount for paid in lines), account["currency"])
        assert {paid.debtor_account.identification for paid in lines} == {account["identification"]}
        assert len(lines) == account["payable_lines"]
        assert format_decimal(amount) == account["payable_total"]
        assert float(account["opening_balance"]) > float(account["payable_total"])
    paths = sorted(str(path.relative_to(DEMO)) for path in DEMO.glob("pain001/*.xml"))
    assert [name for account in accounts for name in account["files"] if name.startswith("pain001")] == paths


def test_no_reference_is_used_twice_in_all_files_of_the_demo():
    paths = [*DEMO.glob("suppliers*"), *DEMO.glob("pain001/*.xml")]
    ids = [paid.end_to_end_id for path in paths for paid in read_payment_file(path).lines]
    assert len(ids) == len(set(ids)) == 780 + 11


def test_other_peoples_files_are_as_they_were_written():
    provenance = (DEMO / "PROVENANCE.md").read_text(encoding="utf-8")
    vectors = (ROOT / "tests" / "vectors" / "README.md").read_text(encoding="utf-8")
    for path in DEMO.glob("*/*.xml"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in provenance, path.name
    for folder in ("pain001", "camt053"):
        for path in (ROOT / "tests" / "vectors" / folder).iterdir():
            assert hashlib.sha256(path.read_bytes()).hexdigest() in vectors, path.name


def test_the_supplier_lists_are_what_their_script_makes():
    spec = importlib.util.spec_from_file_location("make", ROOT / "tests" / "vectors" / "supplier_lists" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    made = make.make()
    assert made["suppliers-2026-11.csv"] == (DEMO / "suppliers-2026-11.csv").read_bytes()
    # The packing of a workbook depends on zlib; its content does not.
    ours = read_payment_file(DEMO / "suppliers-2026-11.xlsx")
    again = read_payment_file(made["suppliers-2026-11.xlsx"])
    assert (again.lines, again.refused) == (ours.lines, ours.refused)
