"""Makes a failing story shorter: leaves out steps while what is left still breaks the same promise."""

from __future__ import annotations

from collections.abc import Callable

from yinqi.simulation.story import Story
from yinqi.simulation.world import Outcome, run_story

RUNS_MAX = 300


def shrink(
    failed: Outcome, run: Callable[[Story], Outcome] = run_story, runs_max: int = RUNS_MAX
) -> tuple[Outcome, int]:
    """Return the shortest failing story that was found (halves first, then single steps), and how many were run.

    Raises:
        ValueError: the story did not fail.
    """
    if failed.violation is None:
        raise ValueError("the story did not fail")
    best, runs = failed, 0
    size = max(1, len(best.story.steps) // 2)
    while size and runs < runs_max:
        start, was_left_out = 0, False
        while start < len(best.story.steps) and runs < runs_max:
            steps = best.story.steps
            kept = {step.number for step in (*steps[:start], *steps[start + size :])}
            outcome = run(best.story.only(kept))
            runs += 1
            if _breaks_the_same(outcome, failed):
                best, was_left_out = outcome, True  # what came after it now begins at `start`
            else:
                start += size
        if not was_left_out or size > 1:
            size //= 2
    return best, runs


def _breaks_the_same(outcome: Outcome, failed: Outcome) -> bool:
    return (
        outcome.violation is not None
        and failed.violation is not None
        and outcome.violation.invariant == failed.violation.invariant
    )
