"""What the verb prints of jobs, and tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from headwater.reproduce.jobs import Documents, Ended, Job
from headwater.reproduce.sheet import Sheet

WIDTH_OF_NAMES = 28
"""Of a table's first column, before it is folded."""


def print_jobs(console: Console, jobs: Sequence[Job], documents: Documents) -> None:
    """Each job and what is done of it."""
    table = RichTable("job", "state", "seconds", "commit", "machine")
    for job in jobs:
        document = documents.read(job)
        if document is None:
            state = "outdated: of other settings" if documents.is_outdated(job) else "not run"
            table.add_row(escape(job.id), state, "", "", "")
        else:
            row = document["row"]
            table.add_row(escape(job.id), "done", f"{document['seconds']:.0f}", row["commit"], escape(row["machine"]))
    console.print(table)


def print_ended(console: Console, ended: Ended) -> None:
    """One finished job, in a line."""
    if ended.document is None:
        line = f"{ended.job.id}: not run: {ended.reason}"
    else:
        row = ended.document["row"]
        figures = [f"{head} HR@10 {side['metrics']['hr@10']:.4f}" for head, side in _sides(ended.document)]
        line = f"{ended.job.id}: {', '.join(figures)}; {ended.document['seconds']:.0f} s, commit {row['commit']}"
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def print_sheet(console: Console, sheet: Sheet) -> None:
    """A table with its notes."""
    table = RichTable(title=escape(sheet.title), title_justify="left")
    for at, heading in enumerate(sheet.headings):
        longest = max((len(line[at].text) for line in sheet.lines), default=0)
        if at:
            table.add_column(escape(heading), justify="right", overflow="fold")
        else:
            table.add_column(escape(heading), overflow="fold", min_width=min(longest, WIDTH_OF_NAMES))
    for line in sheet.lines:
        table.add_row(*(escape(cell.text) for cell in line))
    console.print(table)
    for note in sheet.notes:
        console.print(note, style="dim", markup=False, highlight=False, soft_wrap=True)


def _sides(document: dict) -> list[tuple[str, dict]]:
    row, items = document["row"], document["item_to_item"]
    found = [("full", row["full"]), ("99 negatives", row["sampled"])]
    if items is not None:
        found.append(("item to item, 99 negatives", items["sampled"]))
    return [(head, side) for head, side in found if side]
