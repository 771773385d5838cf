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


def print_evaluation(console: Console, table: Table) -> None:
    """A line for each channel: quality and breadth under full ranking, what it costs; then the sampled protocol."""
    ks = table.recipe.evaluate.ks
    data = table.dataset
    quality = {f"HR@{k}": f"hr@{k}" for k in ks} | {f"NDCG@{ks[0]}": f"ndcg@{ks[0]}"}
    sizes = f"{len(data.users):,} users, {len(data.items):,} items, {len(data):,} interactions"
    console.print(f"[bold]{data.name}[/bold]: {sizes}")
    breadth = {"categ.": f"category_coverage@{ks[0]}"}
    rich = _plain_table(*quality, *breadth, "fit s", "p50", "p99")
    for row in table.rows:
        figures = [f"{row.full.metrics[name]:.4f}" for name in (quality | breadth).values()]
        costs = f"{row.fit_seconds:.1f}", f"{row.retrieving.p50_ms:.2f}", f"{row.retrieving.p99_ms:.2f}"
        rich.add_row(row.channel, *figures, *costs)
    console.print(table.rows[0].full.protocol)
    console.print(rich)
    sampled = [row for row in table.rows if row.sampled]
    if sampled:
        rich = _plain_table(*quality)
        for row in sampled:
            rich.add_row(row.channel, *[f"{row.sampled.metrics[name]:.4f}" for name in quality.values() if row.sampled])
        console.print(table.rows[0].sampled.protocol if table.rows[0].sampled else "")
        console.print(rich)
    for note in table.notes():
        console.print(f"[dim]{note}[/dim]")


def _plain_table(*headings: str) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("channel", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


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
