"""The frame of a bundle: lines, parts, items. Any byte that was changed is found here, with its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from yinqi.crypto import sm3
from yinqi.verify import keys
from yinqi.verify.claims import Broken, reading
from yinqi.verify.forms import canonical, from_hex, listed, read_canonical, text

VERSION = 1
SERVICES = ("payment", "monitoring", "gateway", "account", "reconciliation")
_CONTEXT = b"yinqi.evidence.part.v1\n"
_HEAD = frozenset({"bundle", "end_to_end_id", "instruction_id", "version"})
_PART = frozenset("algorithm instruction_id items key_id kind made_at public_key service signature".split())
_ALGORITHMS = {"VerifyKey": "sm2-sm3", "GeneralVerifyKey": "ed25519"}


class NotABundle(ValueError):
    """The file is something else, or empty."""


class Item(NamedTuple):
    """One item of a part. `line`: of the bundle, from 1."""

    line: int
    value: dict[str, Any]

    @property
    def kind(self) -> str:
        """What it is."""
        return str(self.value.get("kind", ""))


@dataclass(frozen=True, slots=True)
class Part:
    """What one service gave, whose signature holds with the key in it."""

    service: str
    line: int
    made_at: str
    key: keys.PublicKey
    items: tuple[Item, ...] = field(repr=False)

    def of_kind(self, *kinds: str) -> Iterator[Item]:
        """Yield the items of some kinds, in order."""
        return (item for item in self.items if item.kind in kinds)

    def rows(self, name: str) -> Iterator[Item]:
        """Yield the rows of a journal, or the records of a name."""
        for item in self.items:
            if name in (item.value.get("journal"), item.value.get("record")) and item.kind in ("row", "record"):
                yield item


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose frame holds: every byte of it is what five services signed."""

    instruction_id: str
    end_to_end_id: str
    parts: dict[str, Part]


def read_bundle(content: bytes) -> Bundle:
    """Read a bundle and prove its frame.

    Raises:
        NotABundle: nothing in it looks like one.
        Broken: the first line that is not what was made.
    """
    if b'"kind":"part"' not in content:
        raise NotABundle("no evidence bundle 不是证据包")
    lines = content.split(b"\n")
    head = _line(1, lines[0])
    _is(1, set(head) == _HEAD and (head.get("bundle"), head.get("version")) == ("yinqi-evidence", VERSION), *_NO_HEAD)
    wanted = _payment_of(lines)
    _is(1, head["instruction_id"] == wanted, "names another payment than the parts", "所列付款与各分册不符")
    at, parts = 2, dict[str, Part]()
    for service in SERVICES:
        part = _part(service, at, wanted, lines)
        at = part.line + len(part.items) + 1
        parts[service] = part
    _end(at, lines)
    _check_caller_id(head, parts["payment"])
    return Bundle(wanted, text(head["end_to_end_id"]), parts)


_NO_HEAD = ("is not the head of an evidence bundle of version 1", "不是第 1 版证据包的首行")
_CUT = ("is missing or has no end: the bundle was cut", "缺失或不完整：证据包被截断")


def _line(number: int, line: bytes) -> dict[str, Any]:
    try:
        return read_canonical(line)
    except ValueError:
        raise Broken(
            number, "is not one JSON object in canonical form: it was changed", "不是规范 JSON，已被改动"
        ) from None


def _at(lines: Sequence[bytes], number: int) -> bytes:
    if number >= len(lines):  # What stands behind the last line feed is no line.
        raise Broken(number, *_CUT)
    return lines[number - 1]


def _payment_of(lines: Sequence[bytes]) -> str:
    """Return the payment that most parts name, so that it is the odd one out that is called broken."""
    ids = Counter[str]()
    for line in lines:
        if b'"kind":"part"' in line:
            with suppress(ValueError, KeyError):
                ids[text(read_canonical(line)["instruction_id"])] += 1
    return max(ids, key=ids.__getitem__, default="")


def _part(service: str, number: int, wanted: str, lines: Sequence[bytes]) -> Part:
    head = _line(number, _at(lines, number))
    _is(
        number,
        set(head) == _PART and head["kind"] == "part" and head["service"] == service,
        f"is not the beginning of the part of {service}",
        f"不是 {service} 分册的首行",
    )
    try:
        key = keys.from_der(from_hex(head["public_key"]))
        signature, made_at = from_hex(head["signature"]), text(head["made_at"])
        digests = [from_hex(one) for one in listed(head["items"])]
    except ValueError as error:
        raise Broken(number, f"has a field of another form ({error})", "字段格式不符") from None
    signed = _CONTEXT + canonical({name: value for name, value in head.items() if name != "signature"})
    _is(
        number,
        (head["algorithm"], head["key_id"]) == (_ALGORITHMS[type(key.key).__name__], key.key_id)
        and key.signed(signed, signature),
        f"carries a signature of {service} that does not hold: the line was changed",
        f"{service} 的签名无效，本行已被改动",
    )
    words = (f"is the part of {service} about another payment", f"{service} 分册属于另一笔付款")
    _is(number, head["instruction_id"] == wanted, *words)
    items = tuple(_items(service, number, digests, lines))
    return Part(service, number, made_at, key, items)


def _items(service: str, number: int, digests: Sequence[bytes], lines: Sequence[bytes]) -> Iterator[Item]:
    for line, digest in enumerate(digests, number + 1):
        found = _at(lines, line)
        _is(
            line,
            sm3(found) == digest,
            f"is not what {service} signed: it was changed, moved or put in",
            f"与 {service} 签名的内容不符：被改动、移动或替换",
        )
        yield Item(line, _line(line, found))


def _end(number: int, lines: Sequence[bytes]) -> None:
    end = _line(number, _at(lines, number))
    is_end = end == {"kind": "end", "lines": number} and type(end["lines"]) is int
    _is(number, is_end, f"is not the last line, which says that there are {number} lines", "不是末行，或所列行数不符")
    if lines[number:] != [b""]:
        raise Broken(number + 1, "does not belong to the bundle: it ends before, with a line feed", "不属于证据包")


def _check_caller_id(head: dict[str, Any], payment: Part) -> None:
    for item in payment.rows("payments"):
        with reading(item.line):
            is_his = item.value["row"]["end_to_end_id"] == head["end_to_end_id"]
        _is(1, is_his, "names another end_to_end_id than the payment has", "业务参考号与付款不符")
        return
    raise Broken(payment.line, "gives no payment", "未包含付款")


def _is(line: int, holds: bool, words: str, words_zh: str) -> None:
    if not holds:
        raise Broken(line, words, words_zh)
