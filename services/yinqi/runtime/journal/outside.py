"""The copy of the seals outside the database: one file per journal and folder, only ever appended to."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from yinqi.kernel.errors import FailedPrecondition, Unavailable
from yinqi.runtime.journal.chain import Seal, SealMalformed, seal_of

_TAIL_BYTES = 1 << 20


class JournalTampered(FailedPrecondition):
    """The journal in the database is not the one that was sealed. Nothing may be built on it."""


class SealsOutside:
    """One journal's seals in one folder.

    Args:
        read_from: returns the database's seals that end at a position or later, in order, some at a time.
    """

    def __init__(self, folder: Path, stream: str, read_from: Callable[[int], Sequence[Seal]]) -> None:
        self.file = folder / f"{stream}.jsonl"
        self._stream = stream
        self._read_from = read_from
        self._size = -1  # of the file when `_last` was read
        self._last: Seal | None = None

    def catch_up(self) -> int:
        """Append what the database has and the file lacks, onto the disk; return the position reached.

        Raises:
            JournalTampered: what the file ends with is not in the database, or what comes next does not follow from it.
            Unavailable: the file cannot be written; nothing is lost, the next call goes on from there.
        """
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # Another replica may write the same file; whoever comes second finds nothing left to do.
            with os.fdopen(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640), "r+b") as opened:
                fcntl.flock(opened, fcntl.LOCK_EX)
                self._read_last(opened.fileno())
                while lines := self._missing():
                    self._append(opened.fileno(), lines)
        except OSError as error:
            raise Unavailable(
                "JOURNAL_CHECKPOINT_UNAVAILABLE",
                f"The seals of journal {self._stream} cannot be written to {self.file}: {error.strerror}. They stay in the "
                "database alone until this is put right; see YINQI_JOURNAL_CHECKPOINT_DIRS.",
                f"日志封条无法写入 {self.file}。",
            ) from error
        return self._last.position if self._last else 0

    def _missing(self) -> bytes:
        """Return the next lines to append, having checked that they go on from the last one."""
        found = following(self._last, self._read_from, self._stream, self.file)
        self._last = found[-1] if found else self._last
        return b"".join(seal.as_line() for seal in found)

    def _append(self, descriptor: int, lines: bytes) -> None:
        if self._size and os.pread(descriptor, 1, self._size - 1) != b"\n":
            lines = b"\n" + lines  # A crash cut the last line; its seal comes again.
        written = 0
        while written < len(lines):
            written += os.write(descriptor, lines[written:])
        os.fsync(descriptor)
        self._size = os.fstat(descriptor).st_size

    def _read_last(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size == self._size:
            return
        self._last = None
        tail = _TAIL_BYTES
        while self._last is None:
            start = max(0, size - tail)
            lines = os.pread(descriptor, size - start, start).split(b"\n")
            # The first may be cut by where we began, the last has no end yet.
            self._last = next(filter(None, map(_readable, reversed(lines[0 if start == 0 else 1 : -1]))), None)
            if start == 0:
                break
            tail *= 4
        self._size = size


def following(
    last: Seal | None, read_from: Callable[[int], Sequence[Seal]], stream: str, place: Path | str
) -> Sequence[Seal]:
    """Return the database's next seals after the last one of a copy, having checked that they go on from it.

    Args:
        place: where the copy is, for people.
    Raises:
        JournalTampered: `last` is not in the database, or what comes next does not follow from it.
    """
    found = read_from(last.position if last else 1)
    if last is not None:
        if not found or (found[0].position, found[0].hash) != (last.position, last.hash):
            raise _tampered(stream, place, last.position)
        found = found[1:]
    for seal in found:
        if last is not None and not seal.follows(last.head):
            raise _tampered(stream, place, seal.first_position)
        last = seal
    return found


def _tampered(stream: str, place: Path | str, position: int) -> JournalTampered:
    return JournalTampered(
        "JOURNAL_TAMPERED",
        f"Journal {stream} in the database is not the one whose seals are in {place}: row {position} was "
        "changed, or the rows from there on are gone. Run `yinqi audit export` and `yinqi audit verify` to see what. If "
        "an older backup was restored on purpose, move that copy to a safe place and start again; the rows that it names "
        "and the database lacks are lost.",
        f"日志 {stream} 与数据库之外的封条（{place}）不符：第 {position} 行起被改动或丢失。"
        "请用 yinqi audit export 和 yinqi audit verify 查明；若是有意恢复旧备份，请先将该副本移至安全处再启动。",
        metadata={"stream": stream, "position": str(position)},
    )


def _readable(line: bytes) -> Seal | None:
    try:
        return seal_of(json.loads(line))
    except (ValueError, SealMalformed):
        return None
