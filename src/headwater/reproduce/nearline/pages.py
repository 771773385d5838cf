"""The report: one page with what was found in words, pictures and tables, and the tables as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

from headwater.reproduce.nearline.drawings import draw
from headwater.reproduce.nearline.found import Found
from headwater.reproduce.nearline.tables import sheets
from headwater.reproduce.nearline.verdicts import verdicts
from headwater.reproduce.page import page, pictures

INDEX, TABLES = "index.html", "tables.md"

LEAD = (
    "Tables of the multi-scenario nearline paper (Taobao), ours beside what was published. Theirs come from live "
    "traffic; ours from a made-up marketplace with known truth, whose parameters were frozen before any channel was "
    "compared. So heights are not comparable, and what is asked is whether the shape comes out: which channel is ahead "
    "of which, and what takes away from it. A cell's tooltip names the arm behind it; <em>not run</em> is what nobody "
    "has played yet."
)


def write_report(found: Sequence[Found], folder: Path, say: Callable[[str], None]) -> Path:
    """Write the page of everything that was found into `folder`, and return it.

    Without matplotlib the pictures are left out, which the page and `say` tell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for one in found:
        parts.append(f"<h2 id='{escape(one.recipe)}'>{escape(one.recipe)}</h2>")
        parts.append(verdicts(one).html().replace("<table>", "<table class='words'>", 1))
        parts.append(pictures(partial(draw, one, folder), one.recipe, say))
        parts += [sheet.html() for sheet in sheets(one)]
    links = "".join(f"<a href='#{escape(one.recipe)}'>{escape(one.recipe)}</a>" for one in found)
    title = "Nearline, reproduced"
    body = f"<h1>{title}</h1><p class='lead'>{LEAD}</p><nav>{links}</nav>{''.join(parts)}"
    (folder / INDEX).write_text(page(title, body), encoding="utf-8")
    markdown = [sheet.markdown() for one in found for sheet in (verdicts(one), *sheets(one))]
    (folder / TABLES).write_text("\n".join(markdown), encoding="utf-8")
    return folder / INDEX
