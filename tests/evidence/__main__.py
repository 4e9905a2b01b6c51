"""Print the evidence of one part, or of all: `python -m tests.evidence [--short] [PART ...]`.

A part is a function in `PARTS` that prints its figures and raises AssertionError or CalledProcessError where they do not hold.
To add one, write a module beside this one and name its function in `PARTS`. `--short` is the form that the tests run.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.evidence import commit, crypto, journal, simulation

PARTS: dict[str, Callable[[bool], None]] = {
    "timing": crypto.timing,
    "memory": crypto.memory,
    "parsers": crypto.parsers,
    "journal": journal.journal,
    "simulation": simulation.simulation,
}


def main(arguments: list[str]) -> int:
    """Run the parts asked for; 0 when all hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.evidence")
    parser.add_argument("part", nargs="*", metavar="PART", help=f"one or more of {', '.join(PARTS)}; all by default")
    parser.add_argument("--short", action="store_true", help="the form that the tests run")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.part) - set(PARTS))
    if unknown:
        parser.error(f"no part {unknown[0]}; there are {', '.join(PARTS)}")
    print(f"commit {commit()}, {_processor()}, {platform.platform()}", flush=True)
    failed = [name for name in chosen.part or PARTS if not _holds(name, chosen.short)]
    print(f"failed: {', '.join(failed)}" if failed else "all held")
    return 1 if failed else 0


def _holds(name: str, short: bool) -> bool:
    print(f"\n== {name}", flush=True)
    try:
        PARTS[name](short)
    except (AssertionError, subprocess.CalledProcessError) as error:
        print(f"{name} did not hold: {error}", flush=True)
        return False
    return True


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if sys.platform == "linux" else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
