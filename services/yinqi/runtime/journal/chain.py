"""The form of a journal's chain: what is hashed, in which order, and what a seal says. No I/O.

Source: docs/audit.md, with the vectors of tests/vectors/journal for readers in other languages.
"""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from yinqi.crypto import sm3, sm3_many
from yinqi.runtime.columns import microseconds_of, utc_instant

# What is hashed begins with one of these, so that no value of one kind can stand for another.
_START = b"yinqi.journal.start.v1\n"
_ROW = b"yinqi.journal.row.v1\n"
_LINK = b"yinqi.journal.link.v1\n"
_SEAL = b"yinqi.journal.seal.v1\n"

DIGEST_BYTES = 32
_ENTRY = struct.Struct(">q32s")
_PLACE = struct.Struct(">qq")
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode

# A column's value: null, a truth value, an integer, a text (dates are ISO texts), or {"bytes": hexadecimal}.
Row: TypeAlias = Mapping[str, Any]


class SealMalformed(ValueError):
    """A seal is not in the form of this version."""


class SigningKey(Protocol):
    """What signs seals; `yinqi.crypto.Signer` does."""

    @property
    def algorithm(self) -> str:
        """Its scheme."""

    @property
    def key_id(self) -> str:
        """What seals call the key."""

    def sign(self, message: bytes) -> bytes:
        """Sign one message."""

    def public_key(self) -> bytes:
        """Return its public key, SubjectPublicKeyInfo in DER."""


def canonical(value: Any) -> bytes:
    """Return the one way to write a JSON value: RFC 8785 (JCS), UTF-8; whole numbers in full, however long."""
    return _encode(value).encode("utf-8", "surrogatepass")


def row_digests(stream: str, rows: Sequence[bytes]) -> list[bytes]:
    """Return each row's digest: SM3 of its canonical form, in which every column is named; in order."""
    head = _ROW + stream.encode() + b"\n"
    return sm3_many([head + row for row in rows])


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain.

    Attributes:
        position: rows in the chain so far; the first row's is 1.
        sequence: of the last row; None before the first.
        hash: of the whole chain so far.
    """

    position: int
    sequence: int | None
    hash: bytes

    @classmethod
    def start(cls, stream: str) -> Head:
        """Return the chain without rows."""
        return cls(0, None, sm3(_START + stream.encode()))

    def then(self, sequence: int, digest: bytes) -> Head:
        """Return the chain with one more row."""
        position = self.position + 1
        return Head(position, sequence, _chained(self.hash, position, [(sequence, digest)]))


@dataclass(frozen=True, slots=True)
class Seal:
    """A signed piece of a chain: rows `first_position` to `position`.

    Attributes:
        previous_hash, hash: of the chain before the first and after the last of these rows.
        sequence: of the last row.
        entries: per row its sequence (8 bytes, big-endian, signed) and its digest (32 bytes).
        columns: names of the columns that the digests cover, sorted.
        sealed_at: microseconds since 1970.
        signature: over `signed_text`.
    """

    stream: str
    first_position: int
    position: int
    sequence: int
    previous_hash: bytes
    hash: bytes
    entries: bytes
    columns: tuple[str, ...]
    sealed_at: int
    algorithm: str
    key_id: str
    signature: bytes = field(default=b"")

    @property
    def head(self) -> Head:
        """Where the chain stands after these rows."""
        return Head(self.position, self.sequence, self.hash)

    def rows(self) -> Iterator[tuple[int, bytes]]:
        """Yield each row's sequence and digest."""
        return _ENTRY.iter_unpack(self.entries)

    def adds_up(self) -> bool:
        """Whether the rows lead from the hash before to the hash after. Says nothing of the signature."""
        if len(self.entries) != _ENTRY.size * (self.position - self.first_position + 1) or not self.entries:
            return False
        rows = list(self.rows())
        return (rows[-1][0], _chained(self.previous_hash, self.first_position, rows)) == (self.sequence, self.hash)

    def follows(self, before: Head) -> bool:
        """Whether it goes on where `before` stands."""
        return self.first_position == before.position + 1 and self.previous_hash == before.hash

    def signed_text(self) -> bytes:
        """Return what the signature covers; by way of the two hashes that is every row."""
        return _SEAL + canonical(_signed_fields(self))

    def as_json(self) -> dict[str, Any]:
        """Return the seal without its rows: what an export and a receipt show."""
        return {**_signed_fields(self), "signature": self.signature.hex()}

    def as_line(self) -> bytes:
        """Return the seal with its rows' digests, as the copy outside the database keeps it; ends with a newline."""
        whole = {
            **self.as_json(),
            "columns": list(self.columns),
            "entries": base64.b64encode(self.entries).decode("ascii"),
        }
        return canonical(whole) + b"\n"


def seal_rows(
    stream: str, head: Head, rows: Sequence[tuple[int, bytes]], columns: Sequence[str], sealed_at: int, key: SigningKey
) -> Seal:
    """Seal the next rows of a chain.

    Args:
        head: where the chain stands.
        rows: at least one: sequence and canonical form, ascending.
    """
    sequences = [sequence for sequence, _ in rows]
    entries = list(zip(sequences, row_digests(stream, [row for _, row in rows]), strict=True))
    seal = Seal(
        stream,
        head.position + 1,
        head.position + len(rows),
        sequences[-1],
        head.hash,
        _chained(head.hash, head.position + 1, entries),
        b"".join(itertools.starmap(_ENTRY.pack, entries)),
        tuple(sorted(columns)),
        sealed_at,
        key.algorithm,
        key.key_id,
    )
    return replace(seal, signature=key.sign(seal.signed_text()))


def _chained(hash_: bytes, first_position: int, rows: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the hash of a chain after further rows; `Head.then` for many."""
    for position, (sequence, digest) in enumerate(rows, first_position):
        hash_ = sm3(_LINK + hash_ + _PLACE.pack(position, sequence) + digest)
    return hash_


def _signed_fields(seal: Seal) -> dict[str, Any]:
    return {
        "algorithm": seal.algorithm,
        "first_position": seal.first_position,
        "hash": seal.hash.hex(),
        "key_id": seal.key_id,
        "position": seal.position,
        "previous_hash": seal.previous_hash.hex(),
        "sealed_at": instant_text(seal.sealed_at),
        "sequence": seal.sequence,
        "stream": seal.stream,
    }


def seal_of(found: Mapping[str, Any]) -> Seal:
    """Read a seal as `as_json` or `as_line` wrote it; without rows `entries` is empty.

    Raises:
        SealMalformed: a field is missing or of another kind.
    """
    try:
        seal = Seal(
            stream=_text(found["stream"]),
            first_position=_whole(found["first_position"]),
            position=_whole(found["position"]),
            sequence=_whole(found["sequence"]),
            previous_hash=_digest(found["previous_hash"]),
            hash=_digest(found["hash"]),
            entries=base64.b64decode(_text(found.get("entries", "")), validate=True),
            columns=tuple(_text(name) for name in found.get("columns", ())),
            sealed_at=microseconds(found["sealed_at"]),
            algorithm=_text(found["algorithm"]),
            key_id=_text(found["key_id"]),
            signature=bytes.fromhex(_text(found["signature"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SealMalformed(f"not a seal: {error}") from None
    if len(seal.entries) % _ENTRY.size:
        raise SealMalformed("not a seal: a row's digest is cut")
    return seal


def instant_text(at_us: int) -> str:
    """Return microseconds since 1970 as RFC 3339 in UTC, always with six decimals."""
    return utc_instant(at_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def microseconds(text: str) -> int:
    """Return the microseconds since 1970 that `instant_text` wrote."""
    return microseconds_of(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z"))


def lines_of(values: Iterable[Any]) -> Iterator[bytes]:
    """Yield each value as a line in canonical form."""
    for value in values:
        yield canonical(value) + b"\n"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is needed")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a whole number is needed")
    return value


def _digest(value: Any) -> bytes:
    digest = bytes.fromhex(_text(value))
    if len(digest) != DIGEST_BYTES:
        raise ValueError("a digest has 64 hexadecimal digits")
    return digest
