"""Reads serialized protobuf messages by field number; enough for orders, lines and decisions.

Source: protobuf.dev, "Encoding": the last value of a field counts, repeated occurrences of a message are merged.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


class Message:
    """A message's fields.

    Raises:
        ValueError: it is not a serialized message.
    """

    def __init__(self, content: bytes) -> None:
        self._numbers: dict[int, int] = {}
        self._bytes: dict[int, list[bytes]] = {}
        at = 0
        while at < len(content):
            key, at = _varint(content, at)
            at = self._take(key >> 3, key & 7, content, at)

    def _take(self, field: int, kind: int, content: bytes, at: int) -> int:
        if kind == _VARINT:
            self._numbers[field], at = _varint(content, at)
            return at
        if kind == _BYTES:
            length, at = _varint(content, at)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise ValueError("not a serialized message")
        if at + length > len(content):
            raise ValueError("a serialized message is cut")
        if kind == _BYTES:
            self._bytes.setdefault(field, []).append(content[at : at + length])
        return at + length

    def number(self, field: int) -> int:
        """Return a number of 64 bits with sign; 0 if unset."""
        value = self._numbers.get(field, 0)
        return value - 2**64 if value >= 2**63 else value

    def content(self, field: int) -> bytes:
        """Return bytes; empty if unset."""
        return self._bytes.get(field, [b""])[-1]

    def text(self, field: int) -> str:
        """Return a text; empty if unset. Raises ValueError."""
        return self.content(field).decode("utf-8")

    def message(self, field: int) -> Message:
        """Return a message; without fields if unset. Raises ValueError."""
        return Message(b"".join(self._bytes.get(field, [])))

    def messages(self, field: int) -> list[Message]:
        """Return the messages of a repeated field. Raises ValueError."""
        return [Message(one) for one in self._bytes.get(field, [])]

    def instant(self, field: int) -> datetime:
        """Return a google.protobuf.Timestamp. Raises ValueError."""
        stamp = self.message(field)
        try:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
                seconds=stamp.number(1), microseconds=stamp.number(2) // 1000
            )
        except OverflowError:
            raise ValueError("a time out of range") from None


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise ValueError("a serialized message is cut")
