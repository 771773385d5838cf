"""A report's page: one HTML file that holds everything it shows, pictures included, so that it can be sent as it is."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from headwater.reproduce.sheet import Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Named(Protocol):
    """What was found with one recipe."""

    @property
    def recipe(self) -> str: ...


F = TypeVar("F", bound=Named)

STYLE = """
:root { --ink: #1c2430; --dim: #5b6676; --line: #dbe1e8; --soft: #f4f7fa; --ours: #0b6e99; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); margin: 0 auto; max-width: 1180px; padding: 24px 20px; }
h1 { font-size: 25px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 40px 0 8px; }
h3 { font-size: 16px; margin: 24px 0 8px; }
p.lead, p.note, figcaption { color: var(--dim); } p.note { font-size: 12.5px; margin: 2px 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; background: var(--soft); } th:first-child, td:first-child { text-align: left; }
td.not-run { color: #9aa4b1; } table.words td, table.words th { text-align: left; white-space: normal; }
figure { margin: 18px 0; } figure img { max-width: 100%; } nav a { margin-right: 14px; }
.case { margin: 30px 0 10px; } .case h3 { margin-bottom: 2px; } .pair { display: flex; gap: 28px; flex-wrap: wrap; }
.pair > div { flex: 1 1 440px; min-width: 0; } .pair h4 { margin: 8px 0 4px; font-size: 14px; }
.pair table { width: 100%; } .pair td { white-space: normal; }
.pair td.number { text-align: right; white-space: nowrap; }
.pair td:nth-child(2) { text-align: left; } .shared { color: var(--ours); font-weight: 600; }
.yes, .no, .unsure { font-weight: 600; padding: 1px 7px; border-radius: 9px; white-space: nowrap; }
.yes { background: #d9efe0; color: #1c6b3a; } .no { background: #f7dcd6; color: #9a3520; }
.unsure { background: #e8ecf1; color: #566070; }
.kind { color: var(--dim); font-size: 12.5px; } .bar { height: 5px; background: var(--ours); border-radius: 2px; }
"""


def page(title: str, body: str) -> str:
    """A whole HTML document."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def pictures(draw: Callable[[], Sequence[tuple[Path, str]]], name: str, say: Callable[[str], None]) -> str:
    """What `draw` makes, (PNG, caption) each, as figures; where matplotlib is missing a note, and a word to `say`."""
    try:
        made = draw()
    except ImportError as error:
        say(f"no pictures of {name}: {error}; make the report where matplotlib is: --no-run")
        return f"<p class='note'>No pictures: {escape(str(error))} where this page was made.</p>"
    return "".join(
        f"<figure><img alt='{escape(caption, quote=True)}' src='data:image/png;base64,"
        f"{base64.b64encode(path.read_bytes()).decode()}'><figcaption>{escape(caption)}</figcaption></figure>"
        for path, caption in made
    )


def drawn(
    making: Mapping[str, tuple[Callable[[F], Figure | None], str]], found: F, folder: Path
) -> list[tuple[Path, str]]:
    """Save the pictures that there are figures for, as (file, what it shows); `making` says of each name how it is made
    and what it shows."""
    made = []
    for name, (make, caption) in making.items():
        figure = make(found)
        if figure is not None:
            path = folder / f"{found.recipe}-{name}.png"
            figure.savefig(path, dpi=140, bbox_inches="tight", metadata={"Software": None})
            made.append((path, caption))
    return made


INDEX, TABLES = "index.html", "tables.md"
"""What `write_pages` writes."""

VERDICT = re.compile(r"(?<=<td>)(yes|not sure|no)\b|\b(yes|not sure|no)(?=:)")
"""A word that answers a question: at the beginning of a cell, or before a colon."""


def write_pages(
    title: str,
    lead: str,
    found: Sequence[F],
    folder: Path,
    say: Callable[[str], None],
    *,
    words: Callable[[F], Sheet],
    sheets: Callable[[F], Sequence[Sheet]],
    draw: Callable[[F, Path], Sequence[tuple[Path, str]]],
) -> Path:
    """Write one page with what was found in words, pictures and tables into `folder`, the tables as Markdown beside it,
    and return the page. Without matplotlib the pictures are left out, which the page and `say` tell.

    Parameters
    ----------
    title, lead : str
        The lead is HTML.
    found : sequence
        A section each.
    words, sheets, draw : callable
        What a section says of one, first in words, its tables, and its pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts, markdown = [], []
    for one in found:
        said, tables = words(one), sheets(one)
        parts.append(f"<h2 id='{escape(one.recipe)}'>{escape(one.recipe)}</h2>")
        parts.append(_in_words(said))
        parts.append(pictures(partial(draw, one, folder), one.recipe, say))
        parts += [sheet.html() for sheet in tables]
        markdown += [sheet.markdown() for sheet in (said, *tables)]
    links = "".join(f"<a href='#{escape(one.recipe)}'>{escape(one.recipe)}</a>" for one in found)
    body = f"<h1>{title}</h1><p class='lead'>{lead}</p><nav>{links}</nav>{''.join(parts)}"
    (folder / INDEX).write_text(page(title, body), encoding="utf-8")
    (folder / TABLES).write_text("\n".join(markdown), encoding="utf-8")
    return folder / INDEX


def _in_words(sheet: Sheet) -> str:
    """A table of sentences, in which answers catch the eye."""
    kinds = {"yes": "yes", "no": "no", "not sure": "unsure"}
    marked = VERDICT.sub(lambda found: f"<span class='{kinds[found[0]]}'>{found[0]}</span>", sheet.html())
    return marked.replace("<table>", "<table class='words'>", 1)
