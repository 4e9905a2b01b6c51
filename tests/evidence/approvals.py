"""Evidence 17, maker-checker: 100,000 steps of the state machine, 0 payments without their quorum."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "property" / "orders"))

from approving import run

STEPS = 50
EXAMPLES, EXAMPLES_SHORT = 2_000, 40


def approvals(short: bool) -> None:
    """Run the machine and print what it asked for; AssertionError if a line went or was held wrongly."""
    examples = EXAMPLES_SHORT if short else EXAMPLES
    counts = run(examples, STEPS)
    print(
        f"stories {examples:,} of {STEPS} steps, {examples * STEPS:,} steps; lines asked for {counts['asked']:,}, "
        f"sent {counts['passed']:,}, refused {counts['refused']:,}, sent without quorum 0, held with quorum 0"
    )
