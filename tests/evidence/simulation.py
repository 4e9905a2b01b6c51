"""Evidence 27, deterministic simulation: N stories, how fast, at which commit, how many broke a promise.

`python -m tests.evidence.simulation [--seeds N] [--first SEED] [--workers N]`; 100,000 stories by default.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.evidence import commit

from yinqi.simulation.search import search
from yinqi.simulation.story import STEPS_DEFAULT
from yinqi.simulation.telling import command_of

SEEDS, SEEDS_SHORT = 100_000, 2_000


def simulation(short: bool) -> None:
    """Run the stories, print the figures; AssertionError if a promise was broken."""
    run(SEEDS_SHORT if short else SEEDS, first=1, workers=os.cpu_count() or 1)


def run(seeds: int, *, first: int, workers: int) -> None:
    """Run `seeds` stories from `first` on in `workers` processes; print and judge."""
    start = time.monotonic()
    found = search(first, seeds, STEPS_DEFAULT, workers=workers, on_progress=_progress(start))
    minutes = (time.monotonic() - start) / 60
    print(
        f"stories {found.seeds:,} (seeds {first} to {first + seeds - 1}), payments {found.payments:,}, "
        f"{found.seeds / minutes:,.0f} stories a minute in {workers} processes, commit {commit()}, "
        f"violations {len(found.failed)}",
        flush=True,
    )
    per_thousand = (f"{what} {1000 * count / found.seeds:,.0f}" for what, count in sorted(found.tally.items()))
    print("  per 1,000 stories: " + "; ".join(per_thousand), flush=True)
    for outcome in found.failed[:20]:
        print(f"  {command_of(outcome.story, is_whole=True)}: {outcome.violation}", flush=True)
    assert not found.failed, f"{len(found.failed)} stories broke a promise"


def _progress(start: float):
    """Print a line about once a minute."""
    last = [start]

    def tell(seeds: int, failed: int) -> None:
        if time.monotonic() - last[0] >= 60:
            last[0] = time.monotonic()
            print(f"  {seeds:,} stories, {failed} broken, {last[0] - start:.0f} s", flush=True)

    return tell


def main(arguments: list[str]) -> int:
    """Run from the command line; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.evidence.simulation")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args(arguments)
    try:
        run(chosen.seeds, first=chosen.first, workers=chosen.workers)
    except AssertionError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
