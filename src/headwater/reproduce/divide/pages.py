"""The report: one page with what was found in words, pictures and tables, and the tables as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

from headwater.reproduce.divide.drawings import draw
from headwater.reproduce.divide.found import Found
from headwater.reproduce.divide.tables import sheets
from headwater.reproduce.divide.verdicts import verdicts
from headwater.reproduce.page import page, pictures

INDEX, TABLES = "index.html", "tables.md"

LEAD = (
    "Offline experiments of “Divide and Conquer: Towards Better Embedding-based Retrieval” (Zhang et al., WWW 2023), "
    "ours beside what was published. Items are cut into clusters; one encoder, told which cluster it is asked about, "
    "learns to tell a user's next item from the others of its cluster; a model of the intent says how likely each is. "
    "R@k: the share of users whose next item is among k recommended ones, of all items that they have not seen. "
    "A cell's tooltip names the runs behind it; <em>not run</em> is what no machine has run yet."
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
    body = f"<h1>Divide, reproduced</h1><p class='lead'>{LEAD}</p><nav>{links}</nav>{''.join(parts)}"
    (folder / INDEX).write_text(page("Divide, reproduced", body), encoding="utf-8")
    markdown = [sheet.markdown() for one in found for sheet in (verdicts(one), *sheets(one))]
    (folder / TABLES).write_text("\n".join(markdown), encoding="utf-8")
    return folder / INDEX
