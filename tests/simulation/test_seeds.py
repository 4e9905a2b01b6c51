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

SEEDS = 40  # a story takes half a second; more with `yinqi simulate --seeds` and `python -m tests.evidence simulation`
ROOT = Path(__file__).resolve().parents[2]


def test_forty_stories_break_no_promise() -> None:
    found = search(1, SEEDS, STEPS_DEFAULT, workers=1)
    assert [command_of(outcome.story, is_whole=True) for outcome in found.failed] == []
    assert found.seeds == SEEDS
    assert found.payments > 5 * SEEDS


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
    }  # fmt: skip
    assert all(len({order.minor_units for order in story.orders}) == len(story.orders) for story in stories)
    assert sum(len(story.orders) for story in stories) > 8 * len(stories)


def test_a_story_without_failure_cannot_be_shortened() -> None:
    outcome = run_story(story_of(1).only({1, 2}))
    assert outcome.violation is None
    with pytest.raises(ValueError, match="did not fail"):
        shrink(outcome)
