"""Finding the line of a fault script that an error is about; the TOML reader keeps no places."""

from __future__ import annotations

import re


def line_of(text: str, kind: str, number: int, field: str) -> int | None:
    """The line (from 1) of a field in the number-th `[[kind]]`, that table's own line, or None when not found.

    kind "" looks at the whole text.
    """
    lines = text.splitlines()
    begin, end = (0, len(lines)) if not kind else _table(lines, kind, number)
    if begin is None:
        return None
    written = re.compile(rf"(?:^|[\s{{,.\[\"]){re.escape(field)}[\"\]]*\s*[=:.\]]") if field else None
    for place in range(begin, end):
        if written and written.search(lines[place].partition("#")[0]):
            return place + 1
    return begin + 1 if kind else None


def _table(lines: list[str], kind: str, number: int) -> tuple[int | None, int]:
    """First line of the number-th array table of a kind, and where the next array table begins."""
    starts = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{kind}\s*\]\]", line)]
    if number > len(starts):
        return None, 0
    begin = starts[number - 1]
    for place in range(begin + 1, len(lines)):
        if re.match(r"\s*\[\[", lines[place]):
            return begin, place
    return begin, len(lines)
