"""The report: one page with what was found in words, pictures and tables, and the tables as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from headwater.reproduce.nearline.drawings import draw
from headwater.reproduce.nearline.found import Found
from headwater.reproduce.nearline.tables import sheets
from headwater.reproduce.nearline.verdicts import verdicts
from headwater.reproduce.page import write_pages

LEAD = (
    "Tables of the multi-scenario nearline paper (Taobao), and what Paths and Divide say of live traffic, ours beside "
    "what was published. Theirs come from live traffic; ours from a made-up marketplace with known truth, whose "
    "parameters were frozen before any channel was compared. So heights are not comparable, and what is asked is "
    "whether the shape comes out: which channel is ahead of which, and what takes away from it. A cell's tooltip names "
    "the arm behind it; <em>not run</em> is what nobody has played yet."
)


def write_report(found: Sequence[Found], folder: Path, say: Callable[[str], None]) -> Path:
    """Write the page of everything that was found into `folder`, and return it; see `write_pages`."""
    return write_pages("Nearline, reproduced", LEAD, found, folder, say, words=verdicts, sheets=sheets, draw=draw)
