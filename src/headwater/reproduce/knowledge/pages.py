"""The report: one page with what was found in words, pictures and tables, and the tables as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from headwater.reproduce.knowledge.drawings import draw
from headwater.reproduce.knowledge.found import Found
from headwater.reproduce.knowledge.tables import sheets
from headwater.reproduce.knowledge.verdicts import verdicts
from headwater.reproduce.page import write_pages

LEAD = (
    "Experiments of “KEEP: An Industrial Pre-Training Framework for Online Recommendation via Knowledge Extraction and "
    "Plugging” (Zhang et al., CIKM 2022), ours beside what was published. Knowledge of users and items is learned from "
    "all that a shop or a site shows (the super-domain) and added to the model of one part of it (a sub-domain). GAUC: "
    "how well a user's clicks are told from what was not clicked, users weighing by impressions. Published figures are "
    "of Taobao's own data: compare gains, not heights. <em>not run</em> is what no machine has run yet."
)


def write_report(found: Sequence[Found], folder: Path, say: Callable[[str], None]) -> Path:
    """Write the page of everything that was found into `folder`, and return it; see `write_pages`."""
    return write_pages("Knowledge, reproduced", LEAD, found, folder, say, words=verdicts, sheets=sheets, draw=draw)
