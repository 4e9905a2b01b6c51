"""An order is slow to arrive, its sender dies, the clocks jump forward: nobody takes the safe window for over."""

from __future__ import annotations

import pytest

from yinqi.gateway.since_sent import SinceSent
from yinqi.simulation import story
from yinqi.simulation.checks import Violation
from yinqi.simulation.world import run_story


def test_a_clock_that_jumps_forward_makes_no_permit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "_JUMPS_CHANCE", 1.0)

    def violations() -> list[Violation]:
        jumps = (story._jumps(seed, [], 0, 60.0) for seed in range(1, 9))
        told = [story.Story(1, 24, tuple(sorted(steps, key=lambda step: step.at_s))) for steps in jumps]
        return [found for one in told if (found := run_story(one).violation)]

    assert violations() == []
    # Planted: the safe window is counted on the wall clock.
    monkeypatch.setattr(SinceSent, "asked_at", lambda _self, _attempts, at, *_windows: at)
    assert violations()
