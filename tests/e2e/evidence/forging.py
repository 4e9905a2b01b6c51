"""Bundles as somebody would forge them: with a service's key, with a key of his own, or with none."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from evidence_house import Bundles

from yinqi.crypto import Signer, SigningKey, sm3
from yinqi.runtime.evidence import part_head
from yinqi.runtime.journal.chain import canonical
from yinqi.runtime.journal.keys import SM2, key_id_of, open_signing_key

_ENTRY = struct.Struct(">q32s")
_SEAL_FACTS = "algorithm first_position hash key_id position previous_hash sealed_at sequence stream".split()


def lines_of(content: bytes) -> list[bytes]:
    """A bundle's lines, without their line feeds."""
    return content.split(b"\n")[:-1]


def joined(lines: list[bytes]) -> bytes:
    """Lines as a file."""
    return b"".join(line + b"\n" for line in lines)


def parts_of(content: bytes) -> list[list[bytes]]:
    """The head line, the five parts, the end."""
    parts: list[list[bytes]] = [[]]
    for line in lines_of(content):
        if b'"kind":"part"' in line or b'"kind":"end"' in line:
            parts.append([])
        parts[-1].append(line)
    return parts


def of_kind(content: bytes, name: str) -> list[Any]:
    """The items of a kind, or the rows of a journal or record; "answer": what the bank sent."""
    return [item for item in map(json.loads, lines_of(content)) if _is(item, name)]


def place_of(content: bytes, name: str) -> tuple[int, Any]:
    """Where the first of these stands (from 0), and what it is."""
    return next((at, item) for at, item in enumerate(map(json.loads, lines_of(content))) if _is(item, name))


def _is(item: Any, name: str) -> bool:
    if name == "answer":
        return item.get("direction") == "RECEIVED"
    return name in (item.get("kind"), item.get("record"), item.get("journal"))


class Forger:
    """Makes bundles anew.

    Args:
        key_of: "" for the service's own journal key, "stranger" for a new one, None for the old signature as it stands.
    """

    def __init__(self, bundles: Bundles, key_of: str | None = "") -> None:
        self._bundles = bundles
        self._key_of = key_of

    @staticmethod
    def content(item: Any) -> bytes:
        return base64.b64decode(item["content"])

    @staticmethod
    def in_base64(content: bytes) -> str:
        return base64.b64encode(content).decode()

    def rewritten(self, content: bytes, index: int, item: Any) -> bytes:
        """The bundle with another item at a place, its part made to fit as well as the forger can."""
        lines = lines_of(content)
        lines[index] = canonical(item)
        return joined(self._fitted(lines, max(at for at in range(index) if b'"kind":"part"' in lines[at])))

    def signed_anew(self, content: bytes, service: str) -> bytes:
        """The bundle with one service's part signed by our key."""
        lines = lines_of(content)
        return joined(self._fitted(lines, next(at for at, line in enumerate(lines) if self._is_head(line, service))))

    def with_a_row_made_anew(self, content: bytes, *, with_another_key: bool = False) -> tuple[bytes, int]:
        """The bundle with payment's last journal row rewritten, its chain and seal made anew; and where the seal stands."""
        items = [json.loads(line) for line in lines_of(content)]
        index = max(at for at, item in enumerate(items) if item.get("journal") == "payment.payment_events")
        place = max(at for at in range(index) if items[at].get("kind") == "seal")
        row, seal = items[index], items[place]
        row["row"]["actor"] = "nobody"
        key = _stranger() if with_another_key else self._own("payment")
        items[place] = _resealed(seal, row, key)
        forged = self.rewritten(content, index, row)
        return self.rewritten(forged, place, items[place]), place

    def _fitted(self, lines: list[bytes], at: int) -> list[bytes]:
        head = json.loads(lines[at])
        items = lines[at + 1 : at + 1 + len(head["items"])]
        if self._key_of is None:
            lines[at] = canonical({**head, "items": [sm3(item).hex() for item in items]})
        else:
            key = self._own(head["service"]) if not self._key_of else _stranger()
            lines[at] = part_head(head["service"], head["instruction_id"], items, head["made_at"], key)
        return lines

    def _own(self, service: str) -> Signer:
        return open_signing_key(self._bundles.journal / f"{service}.key", SM2, "", make=False)

    @staticmethod
    def _is_head(line: bytes, service: str) -> bool:
        found = json.loads(line)
        return found.get("kind") == "part" and found["service"] == service


def _stranger() -> Signer:
    key = SigningKey.generate()
    return Signer.from_key(key, key_id_of(Signer.from_key(key).public_key()))


def _resealed(seal: Any, row: Any, key: Signer) -> Any:
    digest = sm3(b"yinqi.journal.row.v1\n" + row["journal"].encode() + b"\n" + canonical(row["row"]))
    entries = list(_ENTRY.iter_unpack(base64.b64decode(seal["entries"])))
    position, hash_ = seal["after"]["position"], bytes.fromhex(seal["after"]["hash"])
    for index, (sequence, _) in enumerate(entries):
        position += 1
        if position == row["position"]:
            entries[index] = (sequence, digest)
        hash_ = sm3(b"yinqi.journal.link.v1\n" + hash_ + struct.pack(">qq", position, sequence) + entries[index][1])
    made = {**seal, "entries": base64.b64encode(b"".join(_ENTRY.pack(*one) for one in entries)).decode()}
    made |= {"hash": hash_.hex(), "key_id": key.key_id}
    signed = b"yinqi.journal.seal.v1\n" + canonical({name: made[name] for name in _SEAL_FACTS})
    return {**made, "signature": key.sign(signed).hex()}
