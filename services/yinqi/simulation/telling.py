"""Tells a failing story to people: who did what when, what went wrong, what broke, and how to see it again."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from yinqi.simulation.story import Story
from yinqi.simulation.world import Outcome

_COLOURS = {"operator": "cyan", "network": "yellow", "bank line": "yellow", "disk": "red", "bank": "magenta",
            "clock": "red", "night": "blue", "world": "green", "payment": "white"}  # fmt: skip


def command_of(story: Story, *, is_whole: bool) -> str:
    """Return the command that replays the story exactly."""
    only = "" if is_whole else " --only " + ",".join(str(step.number) for step in story.steps)
    return f"yinqi simulate --seed {story.seed} --steps {story.steps_max}{only}"


def tell_tally(console: Console, tally: Mapping[str, int], stories: int) -> None:
    """Print how often what happened in a thousand stories: whoever reads "none broken" sees what they went through."""
    table = Table(title="per 1,000 stories 每千个故事", title_justify="left", box=None, pad_edge=False)
    for what, count in sorted(tally.items()):
        table.add_row(what, f"{1000 * count / stories:,.0f}")
    console.print(table)


def tell(console: Console, outcome: Outcome, *, is_whole: bool, runs: int = 0) -> None:
    """Print the story and its end."""
    console.print(_table(outcome))
    console.print(_end(outcome, is_whole=is_whole, runs=runs))


def _table(outcome: Outcome) -> Table:
    title = f"seed {outcome.story.seed}: {len(outcome.story.steps)} steps, {outcome.payments} payments"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("time 时间", justify="right", no_wrap=True)
    table.add_column("who 谁", no_wrap=True)
    table.add_column("what 发生了什么", overflow="fold")
    for line in outcome.lines:
        colour = _COLOURS.get(line.actor, "red" if "dies" in line.text else "green")
        table.add_row(f"{line.at_s:.2f} s", Text(line.actor, style=colour), Text(line.text))
    return table


def _end(outcome: Outcome, *, is_whole: bool, runs: int) -> RenderableType:
    replay = Text(command_of(outcome.story, is_whole=is_whole), style="bold")
    digest = Text(f"digest {outcome.digest[:16]}", style="dim")
    if outcome.violation is None:
        return Panel.fit(Group(Text("every promise was kept 所有承诺均成立", style="green"), digest, replay))
    broke = Text(f"{outcome.violation.invariant}: {outcome.violation.text}", style="bold red")
    shorter = Text(f"shortened in {runs} runs" if runs else "", style="dim")
    return Panel.fit(
        Group(broke, shorter, Text("see it again 重放:"), replay, digest), title="broken 违反", style="red"
    )
