"""A table of figures as people read it: one thing, as Markdown, as HTML and in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import fmean
from typing import NamedTuple

from headwater.show import NOT_RUN, over_seeds

NOT_PUBLISHED = "-"


class Cell(NamedTuple):
    """What a cell says, and where it comes from (seed, commit, config), for whoever points at it."""

    text: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table with what must stand below it.

    Attributes
    ----------
    title : str
    headings : sequence of str
    lines : sequence of sequences of Cell
        As long as the headings.
    notes : sequence of str
        Protocol, tie rules, seeds, machines.
    """

    title: str
    headings: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())

    def markdown(self) -> str:
        """As a Markdown table under its title."""
        rows = ["| " + " | ".join(_cell(cell.text) for cell in line) + " |" for line in self.lines]
        rule = "|" + "---|" * len(self.headings)
        parts = [f"**{self.title}**", "", "| " + " | ".join(map(_cell, self.headings)) + " |", rule, *rows, ""]
        return "\n".join([*parts, *(f"{note}  " for note in self.notes)]).rstrip() + "\n"

    def html(self) -> str:
        """As a `<table>` in a `<section>`; a cell's source is its tooltip."""
        head = "".join(f"<th>{escape(heading)}</th>" for heading in self.headings)
        body = "\n".join("<tr>" + "".join(map(_html_cell, line)) + "</tr>" for line in self.lines)
        notes = "".join(f"<p class='note'>{escape(note)}</p>" for note in self.notes)
        return (
            f"<section><h3>{escape(self.title)}</h3><div class='wide'><table><thead><tr>{head}</tr></thead>"
            f"<tbody>\n{body}\n</tbody></table></div>{notes}</section>"
        )


def compared(published: float | None, ours: Sequence[float], source: str = "") -> list[Cell]:
    """Published, ours (± over seeds), and ours over published."""
    ratio = f"{fmean(ours) / published:.2f}" if published and ours else NOT_PUBLISHED if ours else ""
    said = NOT_PUBLISHED if published is None else f"{published:.4f}"
    return [Cell(said), Cell(over_seeds(ours), source), Cell(ratio)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _html_cell(cell: Cell) -> str:
    kind = " class='not-run'" if cell.text == NOT_RUN else ""
    title = f" title='{escape(cell.source, quote=True)}'" if cell.source else ""
    return f"<td{kind}{title}>{escape(cell.text)}</td>"
