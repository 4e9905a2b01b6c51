"""Makes a failing story shorter: leaves out steps and payments while it still breaks the same promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from yinqi.simulation.story import Story
from yinqi.simulation.world import Outcome, run_story

_RUNS_MAX = 400


@dataclass(slots=True)
class Shrunk:
    """The shortest failing story that was found, and how many stories were run for it."""

    outcome: Outcome
    runs: int = 0


def shrink(failed: Outcome, run: Callable[[Story], Outcome] = run_story) -> Shrunk:
    """Return a story with as few steps as can be that breaks the same promise (delta debugging, then one by one)."""
    if failed.violation is None:
        raise ValueError("the story did not fail")
    shrunk = Shrunk(failed)
    numbers = [step.number for step in failed.story.steps]
    size = max(1, len(numbers) // 2)
    while size and shrunk.runs < _RUNS_MAX:
        left_out = False
        for start in range(0, len(numbers), size):
            kept = numbers[:start] + numbers[start + size :]
            if kept and _fails_again(shrunk, failed.story.only(kept), run):
                numbers, left_out = kept, True
                break
        if not left_out:
            size //= 2
    return shrunk


def _fails_again(shrunk: Shrunk, story: Story, run: Callable[[Story], Outcome]) -> bool:
    shrunk.runs += 1
    outcome = run(story)
    wanted = shrunk.outcome.violation
    if outcome.violation is None or wanted is None or outcome.violation.invariant != wanted.invariant:
        return False
    shrunk.outcome = outcome
    return True


def told_again(outcome: Outcome) -> Outcome:
    """Return the same story with its lines."""
    return run_story(outcome.story, is_told=True)


def kept_numbers(story: Story) -> Sequence[int]:
    """Return the numbers by which `--only` names the story's steps."""
    return [step.number for step in story.steps]


__all__ = ["Shrunk", "kept_numbers", "replace", "shrink", "told_again"]
