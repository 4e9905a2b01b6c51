"""The simulation earns its keep: every planted bug is found, and soon."""

from __future__ import annotations

import pytest

from tests.simulation.planted import PLANTED
from yinqi.simulation.search import outcomes_of
from yinqi.simulation.story import STEPS_DEFAULT

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
