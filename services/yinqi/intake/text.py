"""Bytes to text, strictly: UTF-8 or GB18030, and nothing that looks like the wrong one of the two."""

from __future__ import annotations

import codecs
import functools
import re
from collections import Counter

from yinqi.intake.line import FileRefused

# Traces of text that was once decoded wrongly: U+FFFD, and what it becomes when GBK reads its UTF-8 bytes.
_REPLACED = ("\ufffd", "锟斤拷", "ï¿½")
_HAN = re.compile(r"[\u3400-\u9fff]")
# The first byte of every UTF-8 sequence reads as one of these letters in both code pages.
_LATIN_LEAD = re.compile(r"[\u00c2-\u00f4]")
_HAN_OR_WIDE = re.compile(r"[\u2010-\u203b\u3000-\u303f\u3400-\u9fff\uff00-\uffef]*")
# Common characters (GB 2312 level 1) make up nearly all of any Chinese text; a wrong code page scatters them.
_COMMON_SHARE_MIN = 0.6
_SAMPLE_BYTES = 4096
_LEVEL_1 = (0xB0A1, 0xD7F9)


def decode_text(data: bytes) -> str:
    """Return the text of a list file.

    UTF-8 with or without BOM is tried first, then GB18030; both strictly. GB18030 accepts nearly any bytes, so its
    result must also look like Chinese.

    Raises:
        FileRefused: ENCODING (neither, or mixed).
    """
    # A stray NUL is a control character of its line; a file full of them is not text of one byte per letter.
    many_nulls = data.count(0, 0, _SAMPLE_BYTES) * 8 > min(len(data), _SAMPLE_BYTES)
    if many_nulls or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _refused("the file is UTF-16 or binary", "文件是 UTF-16 或二进制格式")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith(codecs.BOM_UTF8):
            raise _refused(
                f"the file begins as UTF-8 but byte {error.start} is not UTF-8", "文件以 UTF-8 开头但内容不是 UTF-8"
            ) from None
    return _decode_gb18030(data)


@functools.lru_cache(maxsize=4096)  # bank names, purposes and the debtor repeat all through a list
def looks_like_mojibake(text: str) -> bool:
    """Return whether a field's text was decoded wrongly somewhere on its way here (乱码).

    Seen are: replacement characters; UTF-8 that was read as GBK (娣卞湷 for 深圳); UTF-8 that was read as Latin-1 or
    Windows-1252 (æ·±åœ³ for 深圳, MÃ¼ller for Müller).
    """
    if text.isascii():
        return False
    if any(trace in text for trace in _REPLACED):
        return True
    return _was_read_as_latin(text) or _was_read_as_gbk(text)


def _was_read_as_latin(text: str) -> bool:
    """Latin letters hardly ever form UTF-8 by chance: é alone is no valid sequence. Lost bytes leave a few holes."""
    if not _LATIN_LEAD.search(text):
        return False
    for code_page in ("cp1252", "latin-1"):
        original = text.encode(code_page, errors="ignore").decode("utf-8", errors="replace")
        broken = original.count("\ufffd")
        if sum(not character.isascii() for character in original) - broken > broken:
            return True
    return False


def _was_read_as_gbk(text: str) -> bool:
    """Some bytes got lost on the way, so most of them must make sense as UTF-8, not all.

    In real Chinese about one pair of characters in a hundred looks like UTF-8 by chance, hence two, and the majority.
    """
    original = text.encode("gb18030", errors="ignore").decode("utf-8", errors="replace")
    han = len(_HAN.findall(original))
    return han >= 2 and han > original.count("\ufffd")


def _is_chinese(text: str) -> bool:
    return all(character.isascii() or _HAN_OR_WIDE.fullmatch(character) for character in text)


def _decode_gb18030(data: bytes) -> str:
    _check_not_mixed(data)
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError as error:
        raise _refused(
            f"byte {error.start} is neither UTF-8 nor GB18030", f"第 {error.start} 字节既不是 UTF-8 也不是 GB18030"
        ) from None
    if _common_share(text) < _COMMON_SHARE_MIN:
        raise _refused(
            "the file is not UTF-8, and read as GB18030 it is not Chinese (another code page?)",
            "文件不是 UTF-8，按 GB18030 读取又不像中文（可能是其他编码）",
        )
    return text


def _check_not_mixed(data: bytes) -> None:
    """Refuse a file of both encodings: read as GB18030, its UTF-8 lines would turn into other characters silently."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.isascii():
            continue
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if _HAN.search(text) and _is_chinese(text):
            raise _refused(
                f"line {number} is UTF-8 while other lines are not: two encodings in one file",
                f"第 {number} 行是 UTF-8，其他行不是：同一文件混用了两种编码",
            )


def _common_share(text: str) -> float:
    counts = Counter(text)
    letters = {c: n for c, n in counts.items() if not c.isascii() and not _is_mark(c)}
    total = sum(letters.values())
    common = sum(n for c, n in letters.items() if _is_common(c))
    return common / total if total else 1.0


def _is_mark(character: str) -> bool:
    return "\u2010" <= character <= "\u203b" or "\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uffef"


def _is_common(character: str) -> bool:
    try:
        code = int.from_bytes(character.encode("gb2312"), "big")
    except UnicodeEncodeError:
        return False
    return _LEVEL_1[0] <= code <= _LEVEL_1[1]


def _refused(what: str, what_zh: str) -> FileRefused:
    return FileRefused(
        "ENCODING",
        f"{what}. Save it as CSV UTF-8 (or GB18030) and try again",
        f"{what_zh}。请另存为 UTF-8（或 GB18030）编码的 CSV 后重试",
    )
