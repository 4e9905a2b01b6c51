"""The simulation earns its keep: every planted bug is found, and soon."""

from __future__ import annotations

import pytest
from tests.simulation.planted import PLANTED

from yinqi.simulation.search import outcomes_of
from yinqi.simulation.shrink import shrink
from yinqi.simulation.story import STEPS_DEFAULT, story_of
from yinqi.simulation.telling import command_of
from yinqi.simulation.world import run_story

SEEDS_MAX = 500


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found_within_500_seeds(
    bug: str, monkeypatch: pytest.MonkeyPatch, record_property: pytest.RecordProperty
) -> None:
    PLANTED[bug](monkeypatch)
    for outcome in outcomes_of(1, SEEDS_MAX, STEPS_DEFAULT):
        if outcome.violation is not None:
            record_property("seeds", outcome.story.seed)
            print(f"{bug}: found after {outcome.story.seed} seeds: {outcome.violation.invariant}")
            return
    pytest.fail(f"{bug} was not found in {SEEDS_MAX} seeds")


def test_a_failing_story_is_shortened_and_replays_from_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED["a_timeout_is_a_rejection"](monkeypatch)
    failed = next(o for o in outcomes_of(1, SEEDS_MAX, STEPS_DEFAULT) if o.violation is not None)
    shortest, _ = shrink(failed, runs_max=60)
    assert shortest.violation is not None
    assert failed.violation is not None
    assert shortest.violation.invariant == failed.violation.invariant
    assert len(shortest.story.steps) <= 4  # an order, and what loses its answer
    command = command_of(shortest.story, is_whole=False).split()
    only = {int(number) for number in command[command.index("--only") + 1].split(",")}
    again = run_story(story_of(failed.story.seed).only(only), is_told=True)
    assert (again.violation, again.digest) == (shortest.violation, shortest.digest)
