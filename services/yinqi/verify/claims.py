"""What a check says, in words: proved, said by a service, not checked, missing, beyond it, broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple


class Standing(StrEnum):
    """How a claim stands.

    SAID: a service says so and signed it; nothing else shows it. UNCHECKED: it is in the bundle and could not be checked.
    MISSING: not in the bundle, or not confirmed from outside. LIMIT: no bundle can show it.
    """

    PROVED = "PROVED"
    SAID = "SAID"
    UNCHECKED = "UNCHECKED"
    MISSING = "MISSING"
    LIMIT = "LIMIT"
    BROKEN = "BROKEN"


class Claim(NamedTuple):
    """One sentence of a report. `line`: of the bundle, from 1; 0: of no single line."""

    standing: Standing
    line: int
    words: str
    words_zh: str


class Broken(Exception):
    """The bundle is not what was made, or contradicts itself: the line, and why."""

    def __init__(self, line: int, words: str, words_zh: str) -> None:
        super().__init__(f"line {line}: {words}")
        self.line = line
        self.words = words
        self.words_zh = words_zh

    def claim(self) -> Claim:
        """Return it as a sentence of a report."""
        return Claim(Standing.BROKEN, self.line, self.words, self.words_zh)


def proved(line: int, words: str, words_zh: str) -> Claim:
    """Return a claim that follows from signatures and digests."""
    return Claim(Standing.PROVED, line, words, words_zh)


def said(line: int, words: str, words_zh: str) -> Claim:
    """Return a claim that a service signed."""
    return Claim(Standing.SAID, line, words, words_zh)


def unchecked(line: int, words: str, words_zh: str) -> Claim:
    """Return a claim that could not be checked."""
    return Claim(Standing.UNCHECKED, line, words, words_zh)


def missing(line: int, words: str, words_zh: str) -> Claim:
    """Return what is not there."""
    return Claim(Standing.MISSING, line, words, words_zh)


def limit(words: str, words_zh: str) -> Claim:
    """Return what no bundle can show."""
    return Claim(Standing.LIMIT, 0, words, words_zh)


@contextmanager
def reading(line: int) -> Iterator[None]:
    """Turn whatever a signed but malformed item does to its reader into words."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError, RecursionError) as error:
        raise Broken(
            line, f"has a field that is missing or of another form ({type(error).__name__})", "字段缺失或格式不符"
        ) from None
