"""What the verbs print: evaluation tables, histories and answers."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable

from headwater.experiment import Table
from headwater.service.messages import Answer, AnsweredItem


def print_evaluation(console: Console, table: Table) -> None:
    """One line a channel: quality under each protocol, coverage, fit seconds and retrieval latency."""
    ks = table.recipe.evaluate.ks
    columns = [f"HR@{k}" for k in ks] + [f"NDCG@{ks[0]}"]
    title = f"{table.dataset.name}, {table.part}: {len(table.dataset.users):,} users, {len(table.dataset.items):,} items"
    rich = RichTable(title=title, title_justify="left")
    rich.add_column("channel")
    for column in [*columns, "categories", "99 neg. HR@10", "99 neg. NDCG@10", "fit s", "p50 ms", "p99 ms"]:
        rich.add_column(column, justify="right")
    for row in table.rows:
        full, sampled = row.full.metrics, row.sampled.metrics if row.sampled else {}
        figures = [full[column] for column in columns] + [full[f"category_coverage@{ks[0]}"]]
        rich.add_row(
            row.channel,
            *[f"{figure:.4f}" for figure in figures],
            *[f"{sampled[name]:.4f}" if name in sampled else "not run" for name in ("HR@10", "NDCG@10")],
            f"{row.fit_seconds:.1f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
        )
    console.print(rich)


def print_history(console: Console, recent: Sequence[tuple[str, str]], known: int) -> None:
    """(title, category) of a user's last interactions, newest first, of `known` in all."""
    table = RichTable(title=f"history: last {len(recent)} of {known} interactions, newest first", title_justify="left")
    table.add_column("title")
    table.add_column("category")
    for title, category in recent:
        table.add_row(title, category)
    console.print(table)


def print_answer(console: Console, answer: Answer, *, title: str = "") -> None:
    """The items of an answer in their order, with the channels that found each and why."""
    heading = title or f"{answer.scenario}: {len(answer.items)} of {answer.ranked} ranked candidates"
    table = RichTable(title=heading, title_justify="left")
    table.add_column("", justify="right", style="dim")
    table.add_column("title")
    table.add_column("category")
    table.add_column("channels")
    table.add_column("why")
    for place, item in enumerate(answer.items, 1):
        table.add_row(str(place), item.title, item.category, ", ".join(item.channels), say_reasons(item))
    console.print(table)


def say_reasons(item: AnsweredItem) -> str:
    """The reasons of one item in one line, triggers with their shares."""
    said = []
    for why in item.why:
        said.append(f"{why.text} ({why.share:.0%})" if why.title else why.text)
    return "; ".join(said)
