"""Stories without a broken promise, and each the same whenever and wherever it is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from yinqi.simulation.search import search
from yinqi.simulation.shrink import shrink
from yinqi.simulation.story import STEPS_DEFAULT, story_of
from yinqi.simulation.telling import command_of
from yinqi.simulation.world import run_story

SHARES, SHARE = 20, 100  # 2,000 stories, in pieces that several test workers can take
HAPPENS_OFTEN = {
    "disk", "network: break answer", "network: delay", "network: duplicate", "network: forge", "network: lose answer",
    "network: lose request", "process: died", "step: blind", "step: close bank", "step: cut", "step: skew",
    "payment: not sent", "payment: unknown", "payment: returned", "payment: rejected after it was accepted",
    "payment: sent again under a permit", "payment: held by a stop", "step: pull", "step: lift",
}  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("first", range(1, SHARES * SHARE, SHARE))
def test_two_thousand_stories_break_no_promise(first: int) -> None:
    found = search(first, SHARE, STEPS_DEFAULT, workers=1)
    assert [command_of(outcome.story, is_whole=True) for outcome in found.failed] == []
    assert found.seeds == SHARE
    assert found.payments > 4 * SHARE
    missing = HAPPENS_OFTEN - {"disk" if what.startswith("disk: ") else what for what in found.tally}
    assert not missing, f"the stories are too quiet: none of {sorted(missing)}"


def test_the_same_seed_is_the_same_story_in_another_process() -> None:
    code = "from yinqi.simulation.search import outcomes_of\nprint([o.digest for o in outcomes_of(7, 3, 24)])"
    digests = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "services")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "4711")
    ]
    assert digests[0] == digests[1]
    assert digests[0].strip() == str([run_story(story_of(seed, 24)).digest for seed in range(7, 10)])


def test_telling_a_story_does_not_change_it() -> None:
    story = story_of(5)
    silent, told = run_story(story), run_story(story, is_told=True)
    assert silent.digest == told.digest
    assert told.lines


def test_a_story_holds_what_it_promises() -> None:
    stories = [story_of(seed) for seed in range(1, 201)]
    assert {step.verb for story in stories for step in story.steps} == {
        "pay", "repeat", "alter", "cancel", "crash", "commit", "message", "cut", "close_bank", "blind", "skew", "night",
        "pull", "lift",
    }  # fmt: skip
    assert all(len({order.minor_units for order in story.orders}) == len(story.orders) for story in stories)
    assert sum(len(story.orders) for story in stories) > 4 * len(stories)
    assert {6, 10, 24} <= {len(story.steps) for story in stories}


def test_a_story_without_failure_cannot_be_shortened() -> None:
    outcome = run_story(story_of(1).only({1, 2}))
    assert outcome.violation is None
    with pytest.raises(ValueError, match="did not fail"):
        shrink(outcome)
