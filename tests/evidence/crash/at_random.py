"""Evidence 1: kill -9 at random times, five paths; nothing acknowledged is lost, nothing happens twice."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.evidence import commit
from tests.evidence.crash.audit import Verdict, judge
from tests.evidence.crash.bank import BankBeside
from tests.evidence.crash.child import Child, Fact
from tests.evidence.crash.paths import PATHS, Finish, Path_, Say

from yinqi.runtime.migrations import migrate
from yinqi.sandbox_bank.book import Book

Make = Callable[[Path, Say], Path_]
ROUNDS, ROUNDS_SHORT = 10_000, 1_000
_ROUNDS_A_FOLDER = 20
_ROUNDS_A_PIECE = 100
_SHARES = (0.38, 0.1, 0.1, 0.1, 0.32)
_SHARES_SHORT = (0.78, 0.02, 0.02, 0.02, 0.16)
"""Of each path, in their order: those that go through two stores and a bank cost three times as much."""


@dataclass(slots=True)
class Line:
    """One line of the table."""

    path: str
    rounds: int = 0
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)


def kills(short: bool) -> None:
    """Kill 10,000 times (short: 1,000), print the table; AssertionError if a promise was broken."""
    run(ROUNDS_SHORT if short else ROUNDS, seed=1, shares=_SHARES_SHORT if short else _SHARES)


def run(rounds: int, *, seed: int, shares: Sequence[float] = _SHARES) -> None:
    """Kill so often, over the five paths, at times drawn from the seed."""
    pieces = [
        (path, min(_ROUNDS_A_PIECE, its - done), random.Random(f"{seed}/{path}/{done}"))
        for path, its in zip(PATHS, (round(rounds * share) for share in shares), strict=True)
        for done in range(0, its, _ROUNDS_A_PIECE)
    ]
    tell("SIGKILL at random times", "kills", two_at_a_time(_kill_on, pieces), seed)


def two_at_a_time(strike: Callable[..., Line], pieces: Sequence[tuple[Any, ...]]) -> list[Line]:
    """Strike piece by piece in two processes, for half of the time is waiting; return one line per path, in order."""
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        found = [line.result() for line in [pool.submit(strike, *piece) for piece in pieces]]
    lines: dict[str, Line] = {}
    for line in found:
        whole = lines.setdefault(line.path, Line(line.path))
        whole.rounds, whole.seconds = whole.rounds + line.rounds, whole.seconds + line.seconds
        whole.verdict.add(line.verdict)
    return list(lines.values())


def tell(what: str, unit: str, lines: list[Line], seed: int) -> None:
    """Print the table of evidence and judge it."""
    print(f"{what}; seed {seed}, commit {commit()}")
    print(f"{'path':<12}{unit:>8}{'acknowledged':>14}{'lost':>6}{'twice':>7}{'half':>6}{'s':>8}")
    for line in [*lines, _sum(lines)]:
        found = line.verdict
        print(
            f"{line.path:<12}{line.rounds:>8,}{found.acknowledged:>14,}{len(found.lost):>6}{len(found.twice):>7}"
            f"{len(found.broken):>6}{line.seconds:>8.1f}"
        )
    faults = [f"{line.path}: {fault}" for line in lines for fault in line.verdict.faults]
    for fault in faults[:20]:
        print(f"  {fault}")
    assert not faults, f"{what}: {len(faults)} promises broken; the first: {faults[0]}"
    assert all(line.verdict.acknowledged for line in lines), "a path acknowledged nothing: nothing was shown"


def _sum(lines: list[Line]) -> Line:
    total = Line("all", sum(line.rounds for line in lines), sum(line.seconds for line in lines))
    for line in lines:
        total.verdict.add(line.verdict)
    return total


def _kill_on(path: str, rounds: int, chance: random.Random) -> Line:
    line, began = Line(path), time.monotonic()
    while line.rounds < rounds and not line.verdict.faults:
        with folder_of(path) as folder:
            life = Lives(path, folder)
            for number in range(line.rounds, min(line.rounds + _ROUNDS_A_FOLDER, rounds)):
                if not life.end_one(f"R{number}-", partial(_kill_somewhere, life, chance)):
                    break
                line.rounds += 1
            line.verdict.add(life.end())
    line.seconds = time.monotonic() - began
    return line


def _kill_somewhere(life: Lives, chance: random.Random, child: Child) -> None:
    """Kill within about one lap of the path; one in ten at its start, while it recovers what the one before left."""
    if life.lap_s is None:  # The first one shows how long a lap takes on this machine, now.
        child.await_word("ready")
        began = time.monotonic()
        child.await_word("ready", times=2)
        life.lap_s = time.monotonic() - began
    else:
        is_early = chance.random() < 0.1
        child.await_word("alive" if is_early else "ready")
        time.sleep(chance.uniform(0.0, life.lap_s * (0.3 if is_early else 1.3)))
    child.kill()


class Lives:
    """One process after another on the same stores; what any of them answered must stand to the end."""

    def __init__(self, path: str, folder: Path, make: Make | None = None) -> None:
        self.path = path
        self._make = make or PATHS[path]
        self.folder = folder
        self.facts: list[Fact] = []
        self.lap_s: float | None = None
        self.codes: list[int] = []
        self._found = Verdict()

    def end_one(
        self, name: str, strike: Callable[[Child], None], *, once: bool = False, checkpoints: bool = False
    ) -> bool:
        """Let a process begin, strike it, compare; return whether all that was promised holds."""
        child = Child(self._make, self.folder, name, once=once, checkpoints=checkpoints)
        strike(child)
        self.codes.append(child.wait())
        self.facts += child.facts
        self._found = judge(self.folder, self.facts)
        if self._found.faults:
            self._found.broken.append(f"found after {name}, which ended with {self.codes[-1]}")
        return not self._found.faults

    def end(self) -> Verdict:
        """Let a last process drive what the killed ones left to its end, and judge it all."""
        if self._found.faults or self.path in ("accept", "reconcile"):
            return self._found
        child = Child(Finish, self.folder, "F", once=True)
        child.release()
        code = child.wait()
        found = judge(self.folder, [*self.facts, *child.facts], at_end=True)
        if code:
            found.broken.append(f"the last process ended with {code}")
        return found


@contextmanager
def folder_of(path: str) -> Iterator[Path]:
    """Yield a folder with fresh stores, and a bank where the path has one."""
    with tempfile.TemporaryDirectory(prefix="yinqi-crash-") as name:
        folder = Path(name)
        services = ("reconciliation",) if path == "reconcile" else ("payment", "gateway")
        for service in services:
            shutil.copy(_template(service), folder / f"{service}.db")
        if path == "accept":
            Book(folder / "bank.db").close()  # for the judge; nobody pays
        bank = BankBeside(folder) if path in ("send", "reply", "query") else None
        try:
            yield folder
        finally:
            if bank is not None:
                bank.stop()


_TEMPLATES: dict[str, Path] = {}


def _template(service: str) -> Path:
    """Return an empty store of the service, migrated once."""
    if service not in _TEMPLATES:
        path = Path(tempfile.mkdtemp(prefix="yinqi-template-")) / f"{service}.db"
        migrate(f"sqlite:///{path}", service)
        _TEMPLATES[service] = path
    return _TEMPLATES[service]
