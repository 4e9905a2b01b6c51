"""Read XML that strangers wrote: no DTD, no entities, no network, bounded depth and size, element by element.

Both the payment files and the bank statements come through here, so the limits are in one place.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lxml import etree

from yinqi.kernel.errors import InvalidRequest

# libxml2 refuses more than 256 levels by itself; ISO 20022 messages stay below 20.
DEPTH_MAX = 64
_PROLOG_BYTES = 64 * 1024
_DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# Encodings in which "<" is the byte 0x3C, so that the look for a DOCTYPE below cannot be evaded.
_ENCODINGS = frozenset({"utf-8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "gb18030", "gbk", "gb2312"})
_XML_MALFORMED = "XML_MALFORMED"


class XmlRefused(InvalidRequest):
    """The XML cannot be read safely. Nothing of it was taken."""


def open_source(source: bytes | Path | BinaryIO) -> BinaryIO:
    """Return a seekable binary stream on `source`; the caller closes it where it opened it."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    return source.open("rb") if isinstance(source, Path) else source


def iterate_xml(stream: BinaryIO, tags: tuple[str, ...]) -> Iterator[tuple[str, etree._Element]]:
    """Yield ("start" | "end", element) for the elements with these local names, in document order.

    Args:
        stream: the document, read once from its current position; needs `seek`.
        tags: local names, whatever their namespace. Clear an element after its "end" to keep memory flat.
    Raises:
        XmlRefused: XML_ENCODING, XML_DOCTYPE, XML_TOO_DEEP, XML_MALFORMED (truncated, not XML, too large a text).
    """
    _check_prolog(stream)
    events = etree.iterparse(
        stream,
        events=("start", "end"),
        tag=[f"{{*}}{tag}" for tag in tags],
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        recover=False,
    )
    try:
        for event, element in events:
            if event == "start":
                _check_place(element)
            yield event, element
    except etree.XMLSyntaxError as error:
        raise _malformed(error) from None


def local_name(element: etree._Element) -> str:
    """Return the tag without its namespace."""
    return element.tag.rpartition("}")[2]


def namespace(element: etree._Element) -> str:
    """Return the namespace of the element, "" if it has none."""
    return element.tag[1:].partition("}")[0] if element.tag.startswith("{") else ""


def _check_prolog(stream: BinaryIO) -> None:
    start = stream.tell()
    head = stream.read(_PROLOG_BYTES)
    stream.seek(start)
    declared = _DECLARED_ENCODING.search(head[:400])
    encoding = declared.group(1).decode("ascii").lower() if declared else "utf-8"
    if b"\x00" in head or encoding not in _ENCODINGS:
        raise XmlRefused(
            "XML_ENCODING",
            "the XML file is not in UTF-8 or GB18030; save it as UTF-8",
            "XML 文件编码不是 UTF-8 或 GB18030，请另存为 UTF-8",
        )
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise _doctype()


def _check_place(element: etree._Element) -> None:
    # A DOCTYPE behind a prolog longer than _PROLOG_BYTES is seen here, before any content is used.
    if element.getroottree().docinfo.internalDTD is not None:
        raise _doctype()
    if sum(1 for _ in element.iterancestors()) > DEPTH_MAX:
        raise _too_deep()


def _doctype() -> XmlRefused:
    return XmlRefused(
        "XML_DOCTYPE",
        "the XML file has a DOCTYPE or entities; payment messages have none, so it is not read",
        "XML 文件含有 DOCTYPE 或实体定义，支付报文不允许，拒绝读取",
    )


def _too_deep() -> XmlRefused:
    return XmlRefused(
        "XML_TOO_DEEP", f"the XML file is nested more than {DEPTH_MAX} levels deep", f"XML 嵌套超过 {DEPTH_MAX} 层"
    )


def _malformed(error: etree.XMLSyntaxError) -> XmlRefused:
    line = error.lineno or 0
    text = error.msg or ""
    if "depth" in text:
        return _too_deep()
    # libxml2's own words name the place; they may quote tag names, never the content of a field.
    return XmlRefused(
        _XML_MALFORMED,
        f"not well-formed XML at line {line}: {text[:160]}",
        f"第 {line} 行不是格式正确的 XML（文件可能不完整）",
        metadata={"line": str(line)},
    )


def leaf_texts(element: etree._Element, apart: str = "") -> dict[str, list[str]]:
    """Return the texts below `element` by path of local names, e.g. {"Amt/InstdAmt": ["1.00"], "Amt/InstdAmt@Ccy": ["CHF"]}.

    Only elements of the same namespace as `element` count: a foreign one that borrows a name is no part of the
    message. Texts are stripped of white space at both ends; repeated elements keep their order.

    Args:
        apart: local name of children that are left out (they are read on their own).
    """
    prefix = element.tag[: element.tag.rfind("}") + 1]
    texts: dict[str, list[str]] = {}
    _collect(element, prefix, len(prefix), "", apart, texts)
    return texts


def _collect(
    element: etree._Element, prefix: str, skip: int, path: str, apart: str, texts: dict[str, list[str]]
) -> None:
    for child in element:
        tag = child.tag
        if not tag.startswith(prefix) or "}" in tag[skip:]:
            continue
        name = tag[skip:]
        if name == apart:
            continue
        below = path + name
        for attribute, value in child.items():
            texts.setdefault(f"{below}@{attribute!s}", []).append(str(value))
        if len(child):
            _collect(child, prefix, skip, below + "/", apart, texts)
        else:
            texts.setdefault(below, []).append((child.text or "").strip())
