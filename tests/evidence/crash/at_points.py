"""Evidence 2 and 9: killed at every write, a disk that fails every sync, a disk that is full at every write.

strace stops the process at its n-th write to one store, for n from 1 until the path has no further one. Each time the
stores are compared twice: as the process left them, and as a power cut leaves them, without what was not synced.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.evidence.crash.at_random import Line, Lives, Make, folder_of, tell, two_at_a_time
from tests.evidence.crash.audit import judge
from tests.evidence.crash.child import DISK_FULL, Child

from yinqi.runtime.fail_stop import EXIT_CODE as FAIL_STOP

STORES = {
    "accept": ("payment",),
    "send": ("payment", "gateway"),
    "reply": ("payment", "gateway"),
    "query": ("payment", "gateway"),
    "reconcile": ("reconciliation",),
}
CHECKPOINTED = "accept"
"""The path on which every commit is followed by a checkpoint, so that its writes are struck too; they are the same on all."""
_SYNCS, _WRITES = "fdatasync,fsync", "pwrite64,write,ftruncate"
_ATTACH_S = 120.0
_POINTS_MAX = 2_000
_LIVES_A_FOLDER = 20
_KILLED = -9


@dataclass(frozen=True, slots=True)
class Blow:
    """What strikes at the n-th call: strace's words for it, and how a process may end then."""

    what: str
    calls: str
    injected: str
    ends: frozenset[int]


KILL = Blow("SIGKILL at every write point", f"{_SYNCS},{_WRITES}", "signal=KILL", frozenset({_KILLED}))
# A process that was ending anyway ends with 0: SQLite keeps a failed sync of its last checkpoint to itself, and all it was to
# move is in the log, synced.
BROKEN = Blow("EIO at every sync", _SYNCS, "error=EIO", frozenset({0, FAIL_STOP}))
# A worker that is told the disk is full tries again later; a caller is told so.
FULL = Blow("ENOSPC at every write", "pwrite64", "error=ENOSPC", frozenset({0, DISK_FULL}))


def is_missing() -> str:
    """Return why this cannot be shown here, "" if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed (Debian package strace)"
    seen = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if seen.returncode == 0 else "strace may not trace here"


def points(short: bool) -> None:
    """Kill at every write point of the five paths; AssertionError if a promise was broken."""
    _strike_all(KILL, step=1)


def disks(short: bool) -> None:
    """Fail every sync, and fill the disk at every write (short: at every eighth)."""
    _strike_all(BROKEN, step=1)
    _strike_all(FULL, step=8 if short else 1)


def _strike_all(blow: Blow, *, step: int) -> None:
    if missing := is_missing():
        print(f"left out: {missing}")
        return
    pieces = [(blow, path, store, step) for path, stores in STORES.items() for store in stores]
    tell(blow.what, "points", two_at_a_time(strike, pieces), seed=0)


def strike(blow: Blow, path: str, store: str, step: int = 1, make: Make | None = None) -> Line:
    """Strike a path (`make`: another one in its place) at a store's n-th call, n = 1, 1 + step, … until there is none."""
    line, began = Line(path), time.monotonic()
    number = 1
    while number and number < _POINTS_MAX and not line.verdict.faults:
        with folder_of(path) as folder:
            number = _strike_in(Lives(path, folder, make), blow, store, number, step, line)
    line.seconds = time.monotonic() - began
    return line


def _strike_in(lives: Lives, blow: Blow, store: str, first: int, step: int, line: Line) -> int:
    """Strike process after process on these stores; return the next number, 0 when the path has no such call.

    How many pages a commit writes differs a little from life to life, so two must have been spared one after the other.
    """
    number, spared = first, 0
    for number in range(first, first + _LIVES_A_FOLDER * step, step):
        with _Watch(lives.folder, store, blow, number) as watch:
            holds = lives.end_one(
                f"{store[0]}{number}-", watch.attach, once=True, checkpoints=line.path == CHECKPOINTED
            )
        if not watch.has_struck and lives.codes[-1] != _KILLED:
            spared += 1
            if lives.codes[-1]:
                line.verdict.broken.append(f"untouched, a process ended with {lives.codes[-1]}")
            if spared == 2 or line.verdict.faults:
                line.verdict.add(lives.end())
                return 0
            continue
        line.rounds, spared = line.rounds + 1, 0
        if lives.codes[-1] not in blow.ends:
            line.verdict.broken.append(f"{store}, call {number}: the process ended with {lives.codes[-1]}")
        after_power_cut = watch.judge_power_cut(lives)
        line.verdict.broken += [f"{store}, call {number}, power cut: {fault}" for fault in after_power_cut]
        if not holds or line.verdict.faults:
            break
    line.verdict.add(lives.end())
    return number + step


class _Watch:
    """strace on one store of one process."""

    def __init__(self, folder: Path, store: str, blow: Blow, number: int) -> None:
        self._folder = folder
        self._store = folder / f"{store}.db"
        self._wal = folder / f"{store}.db-wal"
        self._blow = blow
        self._number = number
        self._log = folder / "strace.log"
        self._strace: subprocess.Popen[bytes] | None = None
        self._synced = 0

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._strace is not None:
            self._strace.wait(_ATTACH_S)

    def attach(self, child: Child) -> None:
        """Attach once the process is about to walk, then let it go."""
        child.await_word("ready")
        self._synced = self._wal.stat().st_size if self._wal.exists() else 0
        what = f"inject={self._blow.calls}:{self._blow.injected}:when={self._number}"
        command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(self._log), "-e", "signal=none"]
        command += ["-e", f"trace={_SYNCS},{_WRITES}", "-e", what, "-P", str(self._store), "-P", str(self._wal)]
        self._strace = subprocess.Popen(
            [*command, "-p", str(child.process_id)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end_at = time.monotonic() + _ATTACH_S
        while not all(_is_traced(task) for task in Path(f"/proc/{child.process_id}/task").iterdir()):
            if time.monotonic() > end_at or self._strace.poll() is not None:
                child.kill()
                raise AssertionError("strace could not attach")
            time.sleep(0.002)
        child.release()

    @property
    def has_struck(self) -> bool:
        """Whether there was an n-th call that was made to fail."""
        return "(INJECTED)" in self._log.read_text("utf-8", "replace")

    def judge_power_cut(self, lives: Lives) -> list[str]:
        """Return what is wrong once the part of the store's log that was not synced is gone."""
        with tempfile.TemporaryDirectory(prefix="yinqi-cut-") as name:
            copy = Path(name)
            for file in self._folder.glob("*.db*"):
                if not file.name.endswith("-shm"):
                    shutil.copy(file, copy / file.name)
            wal = copy / self._wal.name
            if wal.exists():
                synced = synced_length(
                    self._log.read_text("utf-8", "replace").splitlines(), self._wal.name, self._synced
                )
                with wal.open("r+b") as file:
                    file.truncate(min(synced, wal.stat().st_size))
            return judge(copy, lives.facts).faults


def _is_traced(task: Path) -> bool:
    try:
        return "TracerPid:\t0\n" not in (task / "status").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):  # a thread that has ended
        return True


_WRITTEN = re.compile(r"pwrite64\(\d+<(?P<file>[^>]+)>, .*, (?P<length>\d+), (?P<at>\d+)\) += (?P<done>\d+)")
_SYNCED = re.compile(r"(?:fdatasync|fsync)\(\d+<(?P<file>[^>]+)>\) += 0")


def synced_length(log: Sequence[str], wal: str, before: int) -> int:
    """Return how many bytes of a WAL a sync has confirmed, by strace's account of what was written and synced."""
    written = synced = before
    for line in log:
        if (match := _WRITTEN.search(line)) and match["file"].endswith(wal):
            written = max(written, int(match["at"]) + int(match["done"]))
        elif (match := _SYNCED.search(line)) and match["file"].endswith(wal):
            synced = written
    return synced
