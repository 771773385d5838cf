"""What the verb prints of jobs, and tables in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from headwater.reproduce.jobs import Documents, Ended, Work
from headwater.reproduce.sheet import NOT_PUBLISHED, Sheet
from headwater.show import NOT_RUN, print_figures


def print_jobs(console: Console, jobs: Sequence[Work], documents: Documents) -> None:
    """Each job and what is done of it."""
    lines = []
    for job in jobs:
        document = documents.read(job)
        if document is None:
            state = "outdated: of other settings" if documents.is_outdated(job) else NOT_RUN
            lines.append([job.id, state, "", "", ""])
        else:
            row = document["row"]
            lines.append([job.id, "done", f"{document['seconds']:.0f}", row["commit"], row["machine"]])
    print_figures(console, f"{len(jobs)} jobs", ["job", "state", "seconds", "commit", "machine"], lines)


def said_of_ranking(document: dict) -> str:
    """The figures of one channel, in a line."""
    metric = next(name for name in document["row"]["full"]["metrics"] if name.startswith("hr@"))
    return ", ".join(f"{head} {metric.upper()} {side['metrics'][metric]:.4f}" for head, side in _sides(document))


def print_ended(console: Console, ended: Ended, said: Callable[[dict], str] = said_of_ranking) -> None:
    """One finished job, in a line, with what is `said` of its document."""
    if ended.document is None:
        line = f"{ended.job.id}: not run: {ended.reason}"
    else:
        document = ended.document
        line = f"{ended.job.id}: {said(document)}; {document['seconds']:.0f} s, commit {document['row']['commit']}"
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def print_sheet(console: Console, sheet: Sheet) -> None:
    """A table with its notes."""
    print_figures(console, sheet.title, sheet.headings, [[cell.text for cell in line] for line in sheet.lines])
    for note in sheet.notes:
        console.print(note, style="dim", markup=False, highlight=False, soft_wrap=True)


def print_words(console: Console, sheet: Sheet) -> None:
    """A table of sentences, a line for each cell that says something."""
    console.print(sheet.title)
    for claim, *verdicts in sheet.lines:
        console.print(f"  {claim.text}", markup=False, highlight=False, soft_wrap=True)
        for heading, verdict in zip(sheet.headings[1:], verdicts, strict=True):
            if verdict.text != NOT_PUBLISHED:
                console.print(f"    {heading}: {verdict.text}", markup=False, highlight=False, soft_wrap=True)


def _sides(document: dict) -> list[tuple[str, dict]]:
    row, items = document["row"], document.get("item_to_item")
    found = [("full", row["full"]), ("99 negatives", row["sampled"])]
    if items is not None:
        found.append(("item to item, 99 negatives", items["sampled"]))
    return [(head, side) for head, side in found if side]
