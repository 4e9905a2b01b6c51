"""`yinqi simulate`: the whole house under faults, from a seed."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from yinqi.cli.connection import console

_STEPS = 24


def simulate(
    seed: Annotated[int, typer.Option(min=0, help="The story, or the first of several 种子")] = 1,
    steps: Annotated[int, typer.Option(min=1, max=500, help="Operators' acts and faults in a story 步数")] = _STEPS,
    seeds: Annotated[int, typer.Option(min=1, help="How many stories 故事数量")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes for many stories 进程数")] = 2,
    only: Annotated[str, typer.Option(help="Numbers of the steps to keep, from a shortened story 仅保留的步骤")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Tell failing stories only 仅显示失败")] = False,
) -> None:
    """Run all services and a bank in one process, on a virtual clock, with faults from a seed 确定性仿真.

    The same seed is the same story. A failing one is shortened and told, with the command that replays it; exit code 1.
    """
    # Imported late: only this command needs every service in its own process.
    from yinqi.simulation.search import search
    from yinqi.simulation.shrink import shrink
    from yinqi.simulation.story import story_of
    from yinqi.simulation.telling import tell, tell_tally
    from yinqi.simulation.world import Outcome, run_story

    def tell_failure(outcome: Outcome) -> None:
        with console.status("shortening the story 正在精简…"):
            shortest, runs = shrink(outcome)
        tell(console, run_story(shortest.story, is_told=True), is_whole=False, runs=runs)

    if seeds == 1:
        story = story_of(seed, steps)
        if only:
            story = story.only(_numbers(only))
        outcome = run_story(story, is_told=not quiet)
        if outcome.violation is not None and not only:
            tell_failure(outcome)
        elif not quiet or outcome.violation is not None:
            tell(console, outcome, is_whole=not only)
        raise typer.Exit(outcome.violation is not None)
    began = asyncio.new_event_loop()
    start_s = began.time()
    with Progress(
        TextColumn("{task.completed}/{task.total} stories 个故事"),
        BarColumn(),
        TextColumn("{task.fields[broken]} broken 违反"),
        TimeElapsedColumn(),
        TextColumn("→"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task("", total=seeds, broken=0)
        found = search(
            seed,
            seeds,
            steps,
            workers=min(workers, seeds),
            on_progress=lambda run, failed: progress.update(bar, completed=run, broken=failed),
        )
    minutes = (began.time() - start_s) / 60
    began.close()
    console.print(
        f"{found.seeds} stories, {found.payments} payments, {len(found.failed)} broken; "
        f"{found.seeds / minutes:.0f} stories a minute"
    )
    if not quiet:
        tell_tally(console, found.tally, found.seeds)
    if found.failed:
        console.print("broken seeds: " + ", ".join(str(outcome.story.seed) for outcome in found.failed[:50]))
        tell_failure(found.failed[0])
        raise typer.Exit(1)


def _numbers(text: str) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise typer.BadParameter("--only takes step numbers separated by commas, like 2,5,9") from None
