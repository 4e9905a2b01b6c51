"""Read a payment file of any known format: what is it, which lines are payable, which are refused and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from yinqi import crypto
from yinqi.intake.checks import CheckDigits, check_lines
from yinqi.intake.csv_file import read_csv
from yinqi.intake.line import FileFormat, FileRefused, PaymentFile, RawFile, RawLine
from yinqi.intake.pain001_file import read_pain001

FILE_BYTES_MAX = 64 * 1024 * 1024
LINES_MAX = 100_000


def _read_excel(data: bytes) -> RawFile:
    # openpyxl takes a third of a second to import, and every command comes through here.
    from yinqi.intake.excel_file import read_excel

    return read_excel(data)


_CODECS: dict[FileFormat, Callable[[bytes], RawFile]] = {
    FileFormat.CSV: read_csv,
    FileFormat.EXCEL: _read_excel,
    FileFormat.PAIN_001: read_pain001,
}
_BY_NAME = {
    ".csv": FileFormat.CSV,
    ".txt": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".xlsx": FileFormat.EXCEL,
    ".xlsm": FileFormat.EXCEL,
    ".xml": FileFormat.PAIN_001,
}
_WORDS = {
    FileFormat.CSV: ("a text list (CSV)", "文本清单 (CSV)", ".csv"),
    FileFormat.EXCEL: ("an Excel workbook", "Excel 工作簿", ".xlsx"),
    FileFormat.PAIN_001: ("an XML file", "XML 文件", ".xml"),
}
# First bytes of what people send by mistake, in words.
_OTHERS = (
    (b"\xd0\xcf\x11\xe0", "an old or password-protected Excel or Word file", "旧版或加密的 Excel/Word 文件"),
    (b"%PDF", "a PDF document", "PDF 文档"),
    (b"\x89PNG", "a picture", "图片"),
    (b"\xff\xd8\xff", "a picture", "图片"),
    (b"\x1f\x8b", "a gzip archive", "gzip 压缩包"),
    (b"Rar!", "a RAR archive", "RAR 压缩包"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "7-Zip 压缩包"),
    (b"{", "a JSON file", "JSON 文件"),
)


def read_payment_file(
    source: Path | str | bytes,
    name: str = "",
    *,
    strict: bool = True,
    check_cnaps: CheckDigits = crypto.check_cnaps,
    check_iban: CheckDigits = crypto.check_iban,
) -> PaymentFile:
    """Read a payment file: CSV, Excel (.xlsx) or pain.001, told apart by content and held against its name.

    Args:
        source: a path, or the bytes themselves.
        name: the file's name if `source` is bytes; its ending must agree with the content. "" claims nothing.
        strict: a CNAPS code with a wrong check digit refuses its line; False lets the line through and warns.
        check_cnaps, check_iban: one batch call each; "" for a valid text, else a reason code.
    Returns:
        Every payment line, payable or refused; see PaymentFile.
    Raises:
        FileRefused: the file as a whole cannot be used. Nothing of it was taken.
    """
    data, name = _load(source, name)
    codec = _CODECS[_tell_format(data, name)]
    raw = codec(data)
    checked = check_lines(_limited(raw.lines), check_cnaps=check_cnaps, check_iban=check_iban, strict=strict)
    if not checked.lines and not checked.refused:
        raise FileRefused("NO_LINES", "the file holds no payment", "文件中没有付款")
    return PaymentFile(
        name=name,
        format=raw.format,
        message_id=raw.message_id,
        lines=checked.lines,
        refused=checked.refused,
        warned=checked.warned,
        declared_count=raw.declared_count,
        declared_sum=raw.declared_sum,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _load(source: Path | str | bytes, name: str) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        _check_size(len(source))
        return source, name
    path = Path(source)
    try:
        _check_size(path.stat().st_size)
        with path.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise FileRefused(
            "FILE_NOT_FOUND",
            f"the file cannot be opened: {error.strerror}",
            f"文件无法打开：{error.strerror}",
            metadata={"path": str(path)},
        ) from None
    _check_size(len(data))
    return data, name or path.name


def _check_size(size: int) -> None:
    if size > FILE_BYTES_MAX:
        limit = FILE_BYTES_MAX // (1024 * 1024)
        raise FileRefused(
            "FILE_TOO_LARGE",
            f"the file has {size:,} bytes; at most {limit} MiB are read. Split it",
            f"文件有 {size:,} 字节，最多读取 {limit} MiB，请拆分",
        )


def _tell_format(data: bytes, name: str) -> FileFormat:
    found = _format_of(data)
    claimed = _BY_NAME.get(Path(name).suffix.lower())
    if claimed is not None and claimed is not found:
        raise _not_what_its_name_says(name, claimed, *_WORDS[found])
    return found


def _format_of(data: bytes) -> FileFormat:
    start = data[:512].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise FileRefused("FILE_EMPTY", "the file is empty", "文件是空的")
    for magic, words, words_zh in _OTHERS:
        if start.startswith(magic):
            raise _unsupported(words, words_zh)
    if start.startswith(b"PK\x03\x04"):
        return _format_of_package(data)
    if start.startswith(b"<"):
        if start[:15].lower().startswith((b"<html", b"<!doctype html")):
            raise _unsupported("a web page (HTML)", "网页 (HTML)")
        return FileFormat.PAIN_001
    return FileFormat.CSV


def _format_of_package(data: bytes) -> FileFormat:
    # The package's directory stands at its end; a plain archive has no workbook part.
    if b"xl/workbook.xml" not in data:
        raise _unsupported("a ZIP archive without a workbook", "不含工作簿的 ZIP 压缩包")
    return FileFormat.EXCEL


def _unsupported(words: str, words_zh: str) -> FileRefused:
    return FileRefused(
        "FORMAT_UNSUPPORTED",
        f"the file is {words}; CSV, Excel .xlsx and pain.001 XML are read",
        f"文件是{words_zh}，可读取 CSV、Excel .xlsx 和 pain.001 XML",
    )


def _not_what_its_name_says(name: str, claimed: FileFormat, words: str, words_zh: str, ending: str) -> FileRefused:
    return FileRefused(
        "FILE_NOT_WHAT_ITS_NAME_SAYS",
        f"{Path(name).name} is named like {_WORDS[claimed][0]} but is {words}; rename it to {ending} if that is meant",
        f"{Path(name).name} 的扩展名表示{_WORDS[claimed][1]}，内容却是{words_zh}；确认无误请改名为 {ending}",
    )


def _limited(lines: Iterator[RawLine]) -> Iterator[RawLine]:
    for count, line in enumerate(lines, start=1):
        if count > LINES_MAX:
            raise FileRefused(
                "LINES_TOO_MANY",
                f"the file has more than {LINES_MAX:,} lines; split it",
                f"文件超过 {LINES_MAX:,} 行，请拆分",
            )
        yield line
