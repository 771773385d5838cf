"""What the verbs print: evaluation tables, histories and answers."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from headwater.experiment import Table
from headwater.service.messages import Answer, AnsweredItem

TRIGGERS_SHOWN = 2
"""Reasons of one channel for one item that a line has room for."""


def evaluation_cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headings and one line a channel: quality and breadth under full ranking, and what they cost."""
    first = table.recipe.evaluate.ks[0]
    named = quality_metrics(table) | {"categ.": f"category_coverage@{first}"}
    lines = [
        [
            row.channel,
            *(f"{row.full.metrics[metric]:.4f}" for metric in named.values()),
            f"{row.fit_seconds:.1f}",
            f"{row.retrieving.p50_ms:.2f}",
            f"{row.retrieving.p99_ms:.2f}",
        ]
        for row in table.rows
    ]
    return ["channel", *named, "fit s", "p50", "p99"], lines


def quality_metrics(table: Table) -> dict[str, str]:
    """Heading -> metric: the hit rate at every cut-off, and NDCG at the first."""
    ks = table.recipe.evaluate.ks
    return {f"HR@{k}": f"hr@{k}" for k in ks} | {f"NDCG@{ks[0]}": f"ndcg@{ks[0]}"}


def print_evaluation(console: Console, table: Table) -> None:
    """The table under full ranking, then under the sampled protocol where the recipe asks for it, then the notes."""
    data = table.dataset
    sizes = f"{len(data.users):,} users, {len(data.items):,} items, {len(data):,} interactions"
    console.print(f"[bold]{data.name}[/bold]: {sizes}")
    headings, lines = evaluation_cells(table)
    _print_figures(console, table.rows[0].full.protocol, headings, lines)
    sampled = [(row.channel, row.sampled) for row in table.rows if row.sampled]
    if sampled:
        metrics = quality_metrics(table)
        lines = [[name, *(f"{found.metrics[metric]:.4f}" for metric in metrics.values())] for name, found in sampled]
        _print_figures(console, sampled[0][1].protocol, ["channel", *metrics], lines)
    for note in table.notes():
        console.print(f"[dim]{note}[/dim]")


def _print_figures(console: Console, title: str, headings: list[str], lines: list[list[str]]) -> None:
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if at else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console.print(title)
    console.print(table)


def print_history(console: Console, recent: Sequence[tuple[str, str]], known: int) -> None:
    """(title, category) of a user's last interactions, newest first, of `known` in all."""
    table = RichTable("title", "category", box=box.SIMPLE_HEAD, pad_edge=False)
    for title, category in recent:
        table.add_row(title, category)
    console.print(f"the last {len(recent)} of {known} interactions, newest first")
    console.print(table)


def print_answer(console: Console, answer: Answer, *, title: str = "") -> None:
    """The items of an answer in their order, with the channels that found each and why."""
    console.print(title or f"{answer.scenario}: {len(answer.items)} of {answer.ranked} ranked candidates")
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", style="dim", no_wrap=True)
    table.add_column("title", ratio=2)
    table.add_column("why", ratio=3)
    for place, item in enumerate(answer.items, 1):
        table.add_row(str(place), f"{item.title} [dim]{item.category}[/dim]", say_reasons(item))
    console.print(table)


def say_reasons(item: AnsweredItem) -> str:
    """The reasons of one item, a line for each channel: the strongest triggers with their shares, or what it says."""
    lines = []
    for channel in item.channels:
        of_channel = [why for why in item.why if why.channel == channel][:TRIGGERS_SHOWN]
        said = [why.text if why.title is None else f"{why.title} {why.share:.0%}" for why in of_channel]
        lines.append(f"{channel}: {', '.join(said)}")
    return "\n".join(lines)
