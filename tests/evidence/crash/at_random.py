"""Evidence 1: kill -9 at random times, five paths; nothing acknowledged is lost, nothing happens twice."""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.evidence import commit
from tests.evidence.crash.audit import Verdict, judge
from tests.evidence.crash.bank import BankBeside
from tests.evidence.crash.child import Child, Fact
from tests.evidence.crash.paths import PATHS, Finish
from yinqi.runtime.migrations import migrate

ROUNDS, ROUNDS_SHORT = 10_000, 1_000
_ROUNDS_A_FOLDER = 20
_LATEST_S = 0.06
"""A kill strikes between the birth of the process and so long after it began to walk."""


@dataclass(slots=True)
class Line:
    """One line of the table."""

    path: str
    rounds: int = 0
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)


def kills(short: bool) -> None:
    """Kill 10,000 times (short: 1,000), a fifth on each path; print the table; AssertionError if a promise was broken."""
    run(ROUNDS_SHORT if short else ROUNDS, seed=1)


def run(rounds: int, *, seed: int) -> None:
    """Kill so often, evenly over the paths, at times drawn from the seed."""
    lines = [_kill_on(path, rounds // len(PATHS), random.Random(f"{seed}/{path}")) for path in PATHS]
    tell("SIGKILL at random times", "kills", lines, seed)


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
            its = min(_ROUNDS_A_FOLDER, rounds - line.rounds)
            line.verdict.add(_kill_in(path, folder, its, line.rounds, chance))
            line.rounds += its
    line.seconds = time.monotonic() - began
    return line


def _kill_in(path: str, folder: Path, rounds: int, first: int, chance: random.Random) -> Verdict:
    """Kill process after process on the same stores; what any of them answered must stand to the end."""
    facts: list[Fact] = []
    for number in range(rounds):
        child = Child(PATHS[path], folder, f"R{first + number}-", once=False)
        # One in ten dies at its start, while it recovers what the one before left.
        is_early = chance.random() < 0.1
        child.await_word("alive" if is_early else "ready")
        if not is_early:
            _release_after(chance.uniform(0, _LATEST_S))
        else:
            _release_after(chance.uniform(0, 0.02))
        child.kill()
        child.wait()
        facts += child.facts
        found = judge(folder, facts)
        if found.faults:
            found.broken.append(f"in round {first + number}")
            return found
    return finish(path, folder, facts)


def _release_after(seconds: float) -> None:
    time.sleep(seconds)


def finish(path: str, folder: Path, facts: list[Fact]) -> Verdict:
    """Let a last process drive what the killed ones left to its end, and judge it all."""
    if path in ("accept", "reconcile"):
        return judge(folder, facts)
    child = Child(Finish, folder, "F", once=True)
    child.release()
    code = child.wait()
    found = judge(folder, [*facts, *child.facts], at_end=True)
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
        bank = None if path == "reconcile" else BankBeside(folder)
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
