"""Runs many seeds, on all processors if wanted, and gives back those that fail."""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from yinqi.simulation.story import story_of
from yinqi.simulation.world import Outcome, run_story

_SHARE = 25  # seeds that a worker process takes at a time
_COLLECT_EVERY = 25


@dataclass(slots=True)
class Found:
    """What came of many seeds; `failed` are the outcomes with a violation, by seed, `tally` all that happened."""

    seeds: int = 0
    payments: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)


def run_seeds(first: int, count: int, steps_max: int) -> Found:
    """Run `count` seeds in this process."""
    found = Found()
    for outcome in outcomes_of(first, count, steps_max):
        found.seeds += 1
        found.payments += outcome.payments
        found.tally.update(outcome.tally)
        if outcome.violation is not None:
            found.failed.append(outcome)
    return found


def outcomes_of(first: int, count: int, steps_max: int) -> Iterator[Outcome]:
    """Yield the outcome of each seed, in order."""
    # Many stories' garbage is collected at once; what outlived a collection is not looked at again at the next.
    gc.disable()
    _collect()
    try:
        for seed in range(first, first + count):
            yield run_story(story_of(seed, steps_max))
            if (seed - first) % _COLLECT_EVERY == _COLLECT_EVERY - 1:
                _collect()
    finally:
        gc.enable()
        gc.unfreeze()


def _collect() -> None:
    gc.collect()
    gc.freeze()


def search(
    first: int, count: int, steps_max: int, *, workers: int, on_progress: Callable[[int, int], None] = lambda *_: None
) -> Found:
    """Run `count` seeds in worker processes.

    Args:
        on_progress: told how many seeds were run and how many of them failed.
    """
    if workers <= 1:
        found = run_seeds(first, count, steps_max)
        on_progress(found.seeds, len(found.failed))
        return found
    whole = Found()
    # Not forked: the parent may have threads.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        shares = [
            pool.submit(run_seeds, start, min(_SHARE, first + count - start), steps_max)
            for start in range(first, first + count, _SHARE)
        ]
        for share in as_completed(shares):
            part = share.result()
            whole.seeds += part.seeds
            whole.payments += part.payments
            whole.tally.update(part.tally)
            whole.failed += part.failed
            on_progress(whole.seeds, len(whole.failed))
    whole.failed.sort(key=lambda outcome: outcome.story.seed)
    return whole
