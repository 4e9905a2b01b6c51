"""Read XML that strangers wrote: no DTD, no entities, no network, bounded depth and size, element by element.

Both the payment files and the bank statements come through here, so the limits are in one place. `iterate_xml` gives
elements (convenient, with line numbers); `iterate_records` gives plain texts of wanted paths (about twice as fast, no tree).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lxml import etree

from yinqi.kernel.errors import InvalidRequest

# libxml2 refuses more than 256 levels by itself; ISO 20022 messages stay below 20.
DEPTH_MAX = 64
_PROLOG_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# Encodings in which "<" is the byte 0x3C, so that the look for a DOCTYPE below cannot be evaded.
_ENCODINGS = frozenset({"utf-8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "gb18030", "gbk", "gb2312"})
_XML_MALFORMED = "XML_MALFORMED"


class XmlRefused(InvalidRequest):
    """The XML cannot be read safely. Nothing of it was taken."""


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """Which texts of an element are wanted.

    Attributes:
        name: what the caller calls it.
        path: local names from below the message's root element to the record's element, e.g. "Stmt/Ntry".
        fields: paths of leaves below that element, e.g. "Amt". Of a repeated leaf the first counts; with "*" at the
            end ("RmtInf/Ustrd*") all of them, joined by a blank. Attributes come along as "Amt@Ccy".
    """

    name: str
    path: str
    fields: tuple[str, ...]


class Record(NamedTuple):
    """The texts of one element, and of the record around it as far as it was read ({} if there is none)."""

    name: str
    texts: Mapping[str, str]
    outer: Mapping[str, str]


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


def iterate_records(
    stream: BinaryIO, root: str, specs: Sequence[RecordSpec], check_namespace: Callable[[str], None]
) -> Iterator[Record]:
    """Yield the records of a message at the end of each of their elements, in document order; inner ones first.

    Args:
        stream: the document, read once from its current position; needs `seek`.
        root: local name of the message's root element; what stands around it (an envelope) is passed over.
        check_namespace: called with the namespace of each element up to and including `root`; raises to refuse.
    Raises:
        XmlRefused: as `iterate_xml`. Elements of a foreign namespace inside the message are passed over.
    """
    _check_prolog(stream)
    target = _RecordTarget(root, specs, check_namespace)
    parser = etree.XMLParser(
        target=target,  # type: ignore[arg-type]  # the stub wants str | bytes; Python 3 delivers str
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        recover=False,
    )
    try:
        while chunk := stream.read(_CHUNK_BYTES):
            parser.feed(chunk)
            yield from target.take_records()
        parser.close()
    except etree.XMLSyntaxError as error:
        raise _malformed(error) from None
    yield from target.take_records()


@dataclass(eq=False, slots=True)
class _Node:
    """A place in the tree of wanted paths; compared by identity."""

    children: dict[str, _Node] = field(default_factory=dict)
    text_field: str = ""
    joins: bool = False
    record: str = ""


_UNWANTED = _Node()


class _RecordTarget:
    """Receives libxml2's events. The tree of wanted paths is walked along, so that each event costs one look-up.

    `start` and `end` run once per element of files with millions of them; they are written for speed.
    """

    def __init__(self, root: str, specs: Sequence[RecordSpec], check_namespace: Callable[[str], None]) -> None:
        self._root, self._specs, self._check_namespace = root, specs, check_namespace
        self._root_seen = False
        self._node = _UNWANTED
        self._path: list[_Node] = []
        self._open: list[dict[str, str]] = [{}]
        self._texts = self._open[0]
        self._records: list[Record] = []
        # Text arrives in pieces; what gathers outside wanted leaves is thrown away at the next element.
        self._chunks: list[str] = []
        self.data = self._chunks.append

    def take_records(self) -> list[Record]:
        """Return what is complete since the last call."""
        records, self._records = self._records, []
        return records

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        outer = self._node
        self._path.append(outer)
        node = self._node = outer.children.get(tag, _UNWANTED)
        if node.text_field:
            self._chunks.clear()
            if attributes:
                for name, value in attributes.items():
                    self._texts.setdefault(f"{node.text_field}@{name}", value)
        elif node.record:
            self._texts = {}
            self._open.append(self._texts)
        elif node is _UNWANTED:
            self._start_unwanted(tag)

    def end(self, _tag: str) -> None:
        node = self._node
        if node.text_field:
            text = "".join(self._chunks).strip()
            if node.text_field not in self._texts:
                self._texts[node.text_field] = text
            elif node.joins:
                self._texts[node.text_field] += f" {text}"
        elif node.record:
            texts = self._open.pop()
            self._texts = self._open[-1]
            self._records.append(Record(node.record, texts, self._texts))
        self._node = self._path.pop()

    def doctype(self, _name: str, _public_id: str | None, _system_url: str | None) -> None:
        raise _doctype()

    def close(self) -> None:
        return None

    def _start_unwanted(self, tag: str) -> None:
        self._chunks.clear()
        # Wanted paths are short, so only here can a document run deep.
        if len(self._path) > DEPTH_MAX:
            raise _too_deep()
        if not self._root_seen:
            self._look_for_root(tag)

    def _look_for_root(self, tag: str) -> None:
        uri, _, name = tag.removeprefix("{").rpartition("}")
        self._check_namespace(uri)
        if name == self._root:
            self._root_seen = True
            self._node = _wanted(self._specs, tag[: len(tag) - len(name)])


def _wanted(specs: Sequence[RecordSpec], prefix: str) -> _Node:
    root = _Node()
    for spec in specs:
        record = _below(root, spec.path, prefix)
        record.record = spec.name
        for path in spec.fields:
            leaf = _below(record, path.removesuffix("*"), prefix)
            leaf.text_field, leaf.joins = path.removesuffix("*"), path.endswith("*")
    return root


def _below(node: _Node, path: str, prefix: str) -> _Node:
    for name in path.split("/"):
        node = node.children.setdefault(prefix + name, _Node())
    return node


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
