"""What the verbs print: evaluation tables, histories and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.segment import Segments
from rich.status import Status
from rich.table import Table as RichTable

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.experiment import ChannelByGap, Row, Table
    from headwater.experiment.recall import IndexRecall
    from headwater.experiment.table import Line
    from headwater.metrics import IncrementalRecall
    from headwater.release.similar import Similar
    from headwater.service.messages import Answer, AnsweredItem, Why

NOT_RUN = "not run"
"""What a cell without a figure says."""

REFITTED = "full ranking, each channel fitted again on training and validation part together"
"""Heads the block of such figures."""

TRIGGERS_SHOWN = 2
"""Reasons of one channel for one item that a line has room for."""


def telling(console: Console, status: Status) -> Callable[[str], None]:
    """Shows what an experiment does now: beside a spinner, or as a line above the bar that a training draws."""
    from headwater.experiment.measure import TRAINING

    def tell(text: str) -> None:
        if text.startswith(TRAINING):
            status.stop()
            console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)
        else:
            status.update(escape(text))
            status.start()

    return tell


def evaluation_cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headings and one line a channel: quality and breadth under full ranking, and what they cost.

    Several seeds show as mean ± standard deviation; a channel that was not run says so in every cell. Channels
    that know the request time are marked and stand last.
    """
    first = table.recipe.evaluate.ks[0]
    named = quality_metrics(table) | {"cover.": f"coverage@{first}", "categ.": f"category_coverage@{first}"}
    headings = ["channel", *named, "fit s", "p50", "p99"]
    lines = [
        [
            _marked(line),
            *(over_seeds([row.full.metrics[metric] for row in line.rows]) for metric in named.values()),
            over_seeds([row.fit_seconds for row in line.rows], "{:.1f}", is_spread_shown=False),
            over_seeds([row.retrieving.p50_ms for row in line.rows], "{:.2f}", is_spread_shown=False),
            over_seeds([row.retrieving.p99_ms for row in line.rows], "{:.2f}", is_spread_shown=False),
        ]
        for line in _ordered(table)
    ]
    return headings, lines


def over_seeds(values: Sequence[float], form: str = "{:.4f}", *, is_spread_shown: bool = True) -> str:
    """Mean of the runs' figures ± their standard deviation (n - 1); `not run` where there is none."""
    if not values:
        return NOT_RUN
    said = form.format(fmean(values))
    return f"{said} ± {form.format(stdev(values))}" if len(values) > 1 and is_spread_shown else said


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
    print_figures(console, table.rows[0].full.protocol if table.rows else "", headings, lines)
    if any(row.sampled for row in table.rows):
        metrics = quality_metrics(table)
        protocol = next(row.sampled.protocol for row in table.rows if row.sampled)
        lines = []
        for line in _ordered(table):
            found = [row.sampled.metrics for row in line.rows if row.sampled]
            figures = (over_seeds([of_run[metric] for of_run in found]) for metric in metrics.values())
            lines.append([_marked(line), *figures])
        print_figures(console, protocol, ["channel", *metrics], lines)
    if any(row.refitted for row in table.rows):
        metrics = quality_metrics(table)
        lines = []
        for line in _ordered(table):
            found = [row.refitted.full.metrics for row in line.rows if row.refitted]
            figures = (over_seeds([of_run[metric] for of_run in found]) for metric in metrics.values())
            lines.append([_marked(line), *figures])
        print_figures(console, REFITTED, ["channel", *metrics], lines)
    for note in table.notes():
        console.print(f"[dim]{escape(note)}[/dim]")


def print_table(console: Console, table: Table, path: Path, *, is_incremental: bool, is_by_gap: bool) -> None:
    """The evaluation, what was asked for beside it, and where the same stands as JSON."""
    from headwater.experiment import by_gap, incremental

    print_evaluation(console, table)
    if is_incremental:
        found = incremental(table)
        print_incremental(console, found)
        looked_at = {part.channel for part in found[0].contributions} if found else set()
        others = [line.channel for line in table.lines() if line.rows and line.channel not in looked_at]
        if found and others:
            console.print(
                f"[dim]not in it, since the ranks of its targets are not here: {escape(', '.join(others))}[/dim]"
            )
    if is_by_gap:
        print_by_gap(console, by_gap(table))
    console.print(f"[dim]the same as JSON: {path}[/dim]", soft_wrap=True)


def print_row(console: Console, dataset: str, row: Row) -> None:
    """One finished run of a table, in a line."""
    run = row.channel if row.seed is None else f"{row.channel}, seed {row.seed}"
    quality = ", ".join(
        f"{name} {value:.4f}" for name, value in row.full.metrics.items() if name.startswith(("hr@", "ndcg@10"))
    )
    line = f"{dataset}: {run}: {quality}; fitted in {row.fit_seconds:.1f} s"
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def print_incremental(console: Console, found: Sequence[IncrementalRecall]) -> None:
    """What each channel adds to the others, a table for each cut-off, in the greedy order."""
    for at in found:
        parts = {part.channel: part for part in at.contributions}
        headings = ["channel", "recall", "all without it", "lost", "only it, hits", "union so far", "gain"]
        lines = [
            [
                step.channel,
                f"{parts[step.channel].recall:.4f}",
                f"{parts[step.channel].without:.4f}",
                f"{at.recall - parts[step.channel].without:.4f}",
                f"{parts[step.channel].n_unique:,}",
                f"{step.recall:.4f}",
                f"{step.gain:.4f}",
            ]
            for step in at.greedy
        ]
        title = (
            f"recall of all channels together, {at.k} candidates of each: {at.recall:.4f}; best first, then most added"
        )
        print_figures(console, title, headings, lines)


def print_by_gap(console: Console, found: Sequence[ChannelByGap]) -> None:
    """HR of each channel by the time since the last event, and where a gain by knowing the request time lies."""
    if not found:
        console.print("no hit rate by gap: the data set has no clock, or no run has its targets' ranks")
        return
    buckets = found[0].buckets
    n_queries = sum(bucket.n_queries for bucket in buckets)
    headings = ["channel", *(f"{bucket.gap} ({bucket.n_queries / n_queries:.1%})" for bucket in buckets), "all"]
    lines = []
    for channel in found:
        figures = [f"{bucket.hit_rate:.4f}" for bucket in channel.buckets]
        lines.append([channel.channel, *figures, f"{channel.hit_rate:.4f}"])
        if channel.gain:
            lines.append(
                [f"  share of its gain over {channel.beside}", *(f"{share:.1%}" for share in channel.gain), ""]
            )
    title = f"HR@{found[0].k} by the time since the last event (share of the queries)"
    print_figures(console, title, headings, lines)


def print_index_recall(console: Console, title: str, found: Sequence[IndexRecall]) -> None:
    """Recall against scoring every item at each cut-off, with quality and cost, a line for each way to search."""
    ks = list(found[0].recall)
    headings = ["search", *(f"recall@{k}" for k in ks), "HR@10", "NDCG@10", "index s", "p50", "p99"]
    lines = [
        [
            "every item" if one.neighbours is None else f"k {one.neighbours}, m {one.followed}",
            *(f"{one.recall[k]:.3f}" for k in ks),
            *(f"{value:.4f}" for value in one.metrics.values()),
            "" if one.neighbours is None else f"{one.index_seconds:.1f}",
            f"{one.retrieving.p50_ms:.2f}",
            f"{one.retrieving.p99_ms:.2f}",
        ]
        for one in found
    ]
    print_figures(console, title, headings, lines)
    console.print(
        f"[dim]recall@K: share of the first K of scoring every item; HR and NDCG: full ranking; p50, p99: ms of one "
        f"request for {found[0].retrieving.k}[/dim]",
        soft_wrap=True,
    )


def _ordered(table: Table) -> list[Line]:
    return sorted(table.lines(), key=lambda line: line.knows_request_time)


def _marked(line: Line) -> str:
    return line.channel + " *" * line.knows_request_time


def print_similar(console: Console, found: Similar) -> None:
    """The neighbours of an item, best first."""
    console.print(f"{found.title}: nearest by {found.channel}, release {found.release}", markup=False, highlight=False)
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", style="dim", no_wrap=True)
    has_ids = any(str(item.id) != item.title for item in found.items)
    for heading in (*(["id"] if has_ids else []), "title", "category"):
        table.add_column(heading)
    table.add_column("similarity", justify="right")
    for place, item in enumerate(found.items, 1):
        named = [*([str(item.id)] if has_ids else []), item.title, item.category]
        table.add_row(str(place), *map(escape, named), f"{item.similarity:.4g}")
    console.print(table if found.items else "nothing is known to be near it")


def print_figures(console: Console, title: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table as wide as it needs: a narrow terminal folds lines, but no figure is cut or left out."""
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if at else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console.print(title)
    wide = console.options.update(max_width=1_000)
    console.print(Segments(console.render(table, wide)), crop=False, soft_wrap=True)


def print_history(console: Console, recent: Sequence[tuple[str, str]], known: int) -> None:
    """(title, category) of a user's last interactions, newest first, of `known` in all."""
    table = RichTable("title", "category", box=box.SIMPLE_HEAD, pad_edge=False)
    for title, category in recent:
        table.add_row(escape(title), escape(category))
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
        named = f"{escape(item.title)} [dim]{escape(item.category)}[/dim]"
        table.add_row(str(place), named, escape(say_reasons(item)))
    console.print(table)


def say_reasons(item: AnsweredItem) -> str:
    """The reasons of one item, a line for each channel: the strongest triggers with their shares, or what it says."""
    lines = []
    for channel in item.channels:
        of_channel = [why for why in item.why if why.channel == channel][:TRIGGERS_SHOWN]
        said = [_said(why) for why in of_channel]
        lines.append(f"{channel}: {', '.join(said)}")
    return "\n".join(lines)


def _said(why: Why) -> str:
    is_part = why.title is not None or (why.kind == "direct" and why.share < 1)
    return f"{why.title or why.text} {why.share:.0%}" if is_part else why.text


def print_trial(console: Console, line: dict[str, Any]) -> None:
    """One finished trial of a search, in a line."""
    name = f"{line['settings']['kind']} on {line['data_file']}"
    if "failed" in line:
        console.print(f"{name}: [red]failed[/red]: {escape(line['failed'])}", soft_wrap=True)
        return
    figures = line["validation"]["metrics"]
    said = ", ".join(f"{metric} {figures[metric]:.4f}" for metric in _trial_metrics(line))
    console.print(f"{name}: {said}, {line['seconds']:.0f} s", soft_wrap=True)


def print_trials(console: Console, lines: Sequence[dict[str, Any]]) -> None:
    """The best trial of each kind on each data set: channels by validation NDCG@10, ranking models by GAUC."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        if "failed" in line:
            continue
        key, chosen_by = (line["data_file"], line["settings"]["kind"]), _trial_metrics(line)[1]
        other = best.get(key)
        if other is None or line["validation"]["metrics"][chosen_by] > other["validation"]["metrics"][chosen_by]:
            best[key] = line
    for metrics in dict.fromkeys(_trial_metrics(line) for line in best.values()):
        headings = (metric.upper() for metric in metrics)
        table = RichTable("data", "kind", *headings, "settings", box=box.SIMPLE_HEAD, pad_edge=False)
        for (data, kind), line in sorted(best.items()):
            if _trial_metrics(line) == metrics:
                figures = line["validation"]["metrics"]
                settings = {name: value for name, value in line["settings"].items() if name != "kind"}
                table.add_row(data, kind, *(f"{figures[metric]:.4f}" for metric in metrics), json.dumps(settings))
        console.print(table)


def _trial_metrics(line: dict[str, Any]) -> tuple[str, str, str]:
    """What is said of a trial; the second is what it is chosen by."""
    is_ranking = "gauc" in line["validation"]["metrics"]
    return ("auc", "gauc", "logloss") if is_ranking else ("hr@10", "ndcg@10", "hr@50")
