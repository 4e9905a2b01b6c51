"""Where in a TOML file a field stands, so that a fault can be named by its line. The parser itself forgets lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_KEY = r"""(?:"[^"\n]*"|'[^'\n]*'|[0-9A-Za-z_-]+)"""
_PATH = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_PATH})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_PATH})\s*=")

Path = tuple[str, ...]


class TomlLines:
    """The lines of one file's fields.

    Args:
        text: a file that the TOML parser has taken; keys inside of inline tables count as their table.
    """

    def __init__(self, text: str) -> None:
        self._lines = _lines(text)

    def line_of(self, path: Sequence[object]) -> int:
        """Return the line, from 1, of a field or, if it is not there, of the nearest table around it; 1 at the least."""
        parts = tuple(str(part) for part in path)
        return next((self._lines[parts[:size]] for size in range(len(parts), 0, -1) if parts[:size] in self._lines), 1)


def _lines(text: str) -> Mapping[Path, int]:
    lines: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _parts(found[2])
            if found[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                lines.setdefault(table, number)
                table = (*table, str(counts[table]))
            lines.setdefault(table, number)
        elif found := _ASSIGNMENT.match(line):
            lines.setdefault((*table, *_parts(found[1])), number)
    return lines


def _parts(path: str) -> Path:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, path))
