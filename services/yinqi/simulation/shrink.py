"""Makes a failing story shorter: leaves out steps while what is left still breaks the same promise."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import combinations

from yinqi.simulation.story import Story
from yinqi.simulation.world import Outcome, run_story

RUNS_MAX = 300


def shrink(
    failed: Outcome, run: Callable[[Story], Outcome] = run_story, runs_max: int = RUNS_MAX
) -> tuple[Outcome, int]:
    """Return the shortest failing story that was found (halves first, then single steps, then pairs), and how many were run.

    Raises:
        ValueError: the story did not fail.
    """
    if failed.violation is None:
        raise ValueError("the story did not fail")
    best, runs = failed, 0

    def leave_out(numbers: Collection[int]) -> bool:
        nonlocal best, runs
        outcome = run(best.story.only({step.number for step in best.story.steps} - set(numbers)))
        runs += 1
        if is_shorter := _breaks_the_same(outcome, failed):
            best = outcome
        return is_shorter

    size = max(1, len(best.story.steps) // 2)
    while size and runs < runs_max:
        start, was_left_out = 0, False
        while start < len(best.story.steps) and runs < runs_max:
            if leave_out([step.number for step in best.story.steps[start : start + size]]):
                was_left_out = True  # what came after it now begins at `start`
            else:
                start += size
        if not was_left_out or size > 1:
            size //= 2
    # A fault left out strikes another message; an order and the fault that met it may go together only.
    for pair in combinations([step.number for step in best.story.steps], 2):
        if runs < runs_max and set(pair) <= {step.number for step in best.story.steps}:
            leave_out(pair)
    return best, runs


def _breaks_the_same(outcome: Outcome, failed: Outcome) -> bool:
    return (
        outcome.violation is not None
        and failed.violation is not None
        and outcome.violation.invariant == failed.violation.invariant
    )
