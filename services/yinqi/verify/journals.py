"""Rows of journals: is each in the chain that a signed seal ends? Source: docs/audit.md, "The form"."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from yinqi.crypto import sm3
from yinqi.verify import keys
from yinqi.verify.bundle import Bundle, Item, Part
from yinqi.verify.claims import Broken, Claim, missing, proved, reading, unchecked
from yinqi.verify.forms import canonical, from_base64, from_hex, text, whole
from yinqi.verify.trust import Trust

_ROW = b"yinqi.journal.row.v1\n"
_LINK = b"yinqi.journal.link.v1\n"
_SEAL = b"yinqi.journal.seal.v1\n"
_ENTRY = struct.Struct(">q32s")
_PLACE = struct.Struct(">qq")
_SIGNED = tuple(
    "algorithm first_position hash key_id position previous_hash sealed_at sequence stream".split()
)  # in the order of their names


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A stretch of a chain under a seal. `entries`: by position, sequence and digest; `hashes`: after each position."""

    line: int
    stream: str
    entries: dict[int, tuple[int, bytes]]
    hashes: dict[int, str]


def check_journals(bundle: Bundle, trust: Trust) -> Iterator[Claim]:
    """Check the seals and rows of every part."""
    for part in bundle.parts.values():
        sealed = []
        for item in part.of_kind("seal"):
            with reading(item.line):
                found = _sealed(item, part)
                yield _signature(item, part, trust)
            sealed.append(found)
            yield from _receipts(found, trust)
        yield from _rows(part, sealed)


def _sealed(item: Item, part: Part) -> _Sealed:
    value = item.value
    stream, after = text(value["stream"]), value["after"]
    position, hash_ = whole(after["position"]), from_hex(after["hash"])
    if stream.partition(".")[0] != part.service:
        raise Broken(item.line, f"is a seal of {stream}, not of {part.service}", "封条不属于该服务")
    if position + 1 == value["first_position"] and after["hash"] != value["previous_hash"]:
        raise Broken(item.line, "begins elsewhere than its seal", "起点与封条不符")
    entries, hashes = dict[int, tuple[int, bytes]](), {position: hash_.hex()}
    for sequence, digest in _ENTRY.iter_unpack(from_base64(value["entries"])):
        position += 1
        hash_ = sm3(_LINK + hash_ + _PLACE.pack(position, sequence) + digest)
        entries[position], hashes[position] = (sequence, digest), hash_.hex()
    is_end = entries and (position, entries[position][0], hash_.hex()) == (
        whole(value["position"]),
        whole(value["sequence"]),
        value["hash"],
    )
    if not is_end or whole(value["first_position"]) > after["position"] + 1:
        raise Broken(item.line, f"does not lead to the hash that the seal of {stream} signs", "哈希链与封条不符")
    return _Sealed(item.line, stream, entries, hashes)


def _signature(item: Item, part: Part, trust: Trust) -> Claim:
    value = item.value
    signed = _SEAL + canonical({name: value[name] for name in _SIGNED})
    known = [part.key, *(keys.from_der(bytes.fromhex(one)) for one in sorted(trust.journal_keys.get(part.service, ())))]
    stream, sealed_at = value["stream"], text(value["sealed_at"])
    key = next((one for one in known if one.key_id == value["key_id"]), None)
    if key is None:
        return unchecked(
            item.line,
            f"the seal of {stream} is signed with key {value['key_id']}, which is not the service's present one; give its "
            "public key with --trust",
            f"{stream} 的封条由另一把密钥签名，请用 --trust 提供其公钥",
        )
    if not key.signed(signed, from_hex(value["signature"])):
        raise Broken(item.line, f"carries a signature that does not fit the seal of {stream}", "封条签名无效")
    return proved(
        item.line,
        f"the chain of {stream} up to row {value['position']} was sealed at {sealed_at} with key {key.key_id}",
        f"{stream} 至第 {value['position']} 行于 {sealed_at} 封存，密钥 {key.key_id}",
    )


def _receipts(sealed: _Sealed, trust: Trust) -> Iterator[Claim]:
    for (stream, position), digits in sorted(trust.receipts.items()):
        if stream != sealed.stream or position not in sealed.hashes:
            continue
        if not sealed.hashes[position].startswith(digits):
            raise Broken(
                sealed.line,
                f"is not the chain of {stream} that was handed outside: another hash stands there at row {position}",
                f"与库外留存的 {stream} 第 {position} 行的哈希不符",
            )
        yield proved(
            sealed.line,
            f"the chain of {stream} is the one handed outside: same hash at row {position}",
            f"{stream} 与库外留存一致（第 {position} 行）",
        )


def _rows(part: Part, sealed: list[_Sealed]) -> Iterator[Claim]:
    counts = dict[str, int]()
    last = 0
    for item in part.of_kind("row"):
        with reading(item.line):
            stream, position = text(item.value["journal"]), item.value["position"]
            if position is None:
                yield missing(item.line, f"a row of {stream} waits for its seal", f"{stream} 有一行尚未封存")
                continue
            _check_row(item, stream, whole(position), item.value["row"], sealed)
        counts[stream], last = counts.get(stream, 0) + 1, item.line
    for stream, count in counts.items():
        yield proved(
            last,
            f"{count} {'row' if count == 1 else 'rows'} of {stream} as sealed, at the same places of the chain",
            f"{stream} 的 {count} 行与封存时一致，位置无误",
        )


def _check_row(item: Item, stream: str, position: int, row: dict[str, Any], sealed: list[_Sealed]) -> None:
    entry = next((one.entries[position] for one in sealed if one.stream == stream and position in one.entries), None)
    if entry is None:
        raise Broken(item.line, f"claims row {position} of {stream}, which no seal here covers", "没有封条覆盖该行")
    digest = sm3(_ROW + stream.encode() + b"\n" + canonical(row))
    if entry != (whole(row["sequence"]), digest):
        raise Broken(item.line, f"is not row {position} of {stream} as it was sealed", "与封存时的内容不符")
