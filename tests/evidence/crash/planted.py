"""Bugs that were planted in the store, to see that the judge of a crash finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.evidence.crash.at_points import KILL, is_missing, strike
from tests.evidence.crash.paths import Accept, Say

from yinqi.runtime import database, database_engine, pending_events


def _without_sync(folder: Path, say: Say) -> Accept:
    """Commits are not synced: a power cut takes what was acknowledged."""
    pragmas = database_engine._pragmas

    def weaker(connection: Any, *settings: str) -> None:
        pragmas(connection, *(one.replace("synchronous=FULL", "synchronous=OFF") for one in settings))

    database_engine._pragmas = weaker
    return Accept(folder, say)


def _journal_in_a_second_commit(folder: Path, say: Say) -> Accept:
    """The key is committed, then the journal entry: a crash between the two leaves a payment without its story."""
    flush = pending_events.Pending.flush

    def later(pending: Any, connection: Any) -> None:
        driver = database_engine.driver_of(connection)
        driver.execute("COMMIT")
        driver.execute("BEGIN IMMEDIATE")
        flush(pending, connection)

    pending_events.Pending.flush = later  # type: ignore[method-assign]
    return Accept(folder, say)


def _answered_before_the_commit(folder: Path, say: Say) -> Accept:
    """Callers hear of their payment when it is written, not when it is committed."""
    run_one = database.Database._run_one

    def hasty(self: Any, connection: Any, job: Any, *arguments: Any, **named: Any) -> bool:
        is_kept = run_one(self, connection, job, *arguments, **named)
        job.loop.call_soon_threadsafe(job.settle)
        return is_kept

    database.Database._run_one = hasty  # type: ignore[method-assign]
    return Accept(folder, say)


PLANTED: tuple[Callable[[Path, Say], Accept], ...] = (
    _without_sync,
    _journal_in_a_second_commit,
    _answered_before_the_commit,
)


def planted(short: bool) -> None:
    """Kill at every write point of a house with a bug, until it is found; AssertionError if it is not."""
    if missing := is_missing():
        print(f"left out: {missing}")
        return
    for bug in PLANTED:
        name = bug.__name__.strip("_").replace("_", " ")
        line = strike(KILL, "accept", "payment", make=bug)
        assert line.verdict.faults, f"{name}: not found in {line.rounds} kills"
        print(f"{name}: found after {line.rounds} kills, {line.seconds:.1f} s: {line.verdict.faults[0]}", flush=True)
