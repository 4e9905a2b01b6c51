"""The forms of values in a bundle, each strict: what can be written in two ways is read in one."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, NoReturn

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def canonical(value: Any) -> bytes:
    """Return the one way to write a JSON value: RFC 8785 (JCS), UTF-8; whole numbers only, in full."""
    return _encode(value).encode("utf-8")


def read_canonical(line: bytes) -> dict[str, Any]:
    """Read a line that must be one JSON object in canonical form.

    Raises:
        ValueError: it is not.
    """
    try:
        found = json.loads(line.decode("utf-8"), parse_float=_no_number, parse_constant=_no_number)
        is_canonical = isinstance(found, dict) and canonical(found) == line
    except RecursionError:
        raise ValueError("too deep") from None
    if not is_canonical:
        raise ValueError("not one JSON object in canonical form")
    return dict(found)


def text(value: Any) -> str:
    """Return a text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("a text is needed")
    return value


def whole(value: Any) -> int:
    """Return a whole number of 64 bits. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError("a whole number is needed")
    return value


def listed(value: Any) -> list[Any]:
    """Return a list. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError("a list is needed")
    return value


def from_hex(value: Any) -> bytes:
    """Read lower-case hexadecimal digits. Raises ValueError."""
    if not _HEX.fullmatch(text(value)):
        raise ValueError("hexadecimal digits in lower case are needed")
    return bytes.fromhex(value)


def from_base64(value: Any) -> bytes:
    """Read standard Base64 as it is written. Raises ValueError."""
    content = base64.b64decode(text(value), validate=True)
    if base64.b64encode(content).decode("ascii") != value:
        raise ValueError("Base64 is needed")
    return content


def content_of(value: Any) -> bytes:
    """Read bytes given as {"utf8": …} or {"base64": …}. Raises ValueError."""
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("a content is needed")
    return text(value["utf8"]).encode("utf-8") if "utf8" in value else from_base64(value.get("base64"))


def _no_number(_digits: str) -> NoReturn:
    raise ValueError("only whole numbers are allowed")
