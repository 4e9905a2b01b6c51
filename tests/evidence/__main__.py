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
from functools import partial
from pathlib import Path

from tests.evidence import (
    approvals,
    bank_codes,
    canaries,
    commit,
    crypto,
    faults,
    forgery,
    journal,
    malformed,
    memory_safety,
    openssl,
    overload,
    simulation,
)
from tests.evidence.crash import at_points, at_random, planted, postgres, services

PARTS: dict[str, Callable[[bool], None]] = {
    "timing": crypto.timing,
    "memory": crypto.memory,
    "parsers": crypto.parsers,
    "sanitizer": memory_safety.sanitizer,
    "fuzz": memory_safety.fuzz,
    "openssl": openssl.openssl,
    "bank_codes": bank_codes.bank_codes,
    "journal": journal.journal,
    "simulation": simulation.simulation,
    "overload": overload.overload,
    "kills": at_random.kills,
    "points": at_points.points,
    "disks": at_points.disks,
    "planted": planted.planted,
    "postgres": postgres.kills,
    "failover": postgres.failovers,
    "processes": services.processes,
    "cuts": services.cuts,
    "clocks": services.clocks,
    "faults": faults.faults,
    "malformed": malformed.malformed,
    "approvals": approvals.approvals,
    "forgery": forgery.forgery,
    "canaries": canaries.canaries,
}


def main(arguments: list[str]) -> int:
    """Run the parts asked for; 0 when all hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.evidence")
    parser.add_argument("part", nargs="*", metavar="PART", help=f"one or more of {', '.join(PARTS)}; all by default")
    parser.add_argument("--short", action="store_true", help="the form that the tests run")
    parser.add_argument("--payments", type=int, help="of the part `faults`")
    parser.add_argument("--messages", type=int, help="at each door, of the part `malformed`")
    parser.add_argument("--canaries", type=int, help="of the part `canaries`")
    parser.add_argument("--seed", type=int, default=faults.SEED, help="of these two parts")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.part) - set(PARTS))
    if unknown:
        parser.error(f"no part {unknown[0]}; there are {', '.join(PARTS)}")
    print(f"commit {commit()}, {_processor()}, {platform.platform()}", flush=True)
    parts = PARTS | {
        "faults": partial(faults.faults, payments=chosen.payments, seed=chosen.seed),
        "canaries": partial(canaries.canaries, count=chosen.canaries),
        "malformed": partial(malformed.malformed, messages=chosen.messages, seed=chosen.seed),
    }
    failed = [name for name in chosen.part or PARTS if not _holds(name, parts[name], chosen.short)]
    print(f"failed: {', '.join(failed)}" if failed else "all held")
    return 1 if failed else 0


def _holds(name: str, part: Callable[[bool], None], short: bool) -> bool:
    print(f"\n== {name}", flush=True)
    try:
        part(short)
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
