"""The report: one page with what was found in words, pictures and tables, and the tables as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from headwater.reproduce.divide.drawings import draw
from headwater.reproduce.divide.found import Found
from headwater.reproduce.divide.tables import sheets
from headwater.reproduce.divide.verdicts import verdicts
from headwater.reproduce.page import write_pages

LEAD = (
    "Offline experiments of “Divide and Conquer: Towards Better Embedding-based Retrieval” (Zhang et al., WWW 2023), "
    "ours beside what was published. Items are cut into clusters; one encoder, told which cluster it is asked about, "
    "learns to tell a user's next item from the others of its cluster; a model of the intent says how likely each is. "
    "R@k: the share of users whose next item is among k recommended ones, of all items that they have not seen. "
    "A cell's tooltip names the runs behind it; <em>not run</em> is what no machine has run yet."
)


def write_report(found: Sequence[Found], folder: Path, say: Callable[[str], None]) -> Path:
    """Write the page of everything that was found into `folder`, and return it; see `write_pages`."""
    return write_pages("Divide, reproduced", LEAD, found, folder, say, words=verdicts, sheets=sheets, draw=draw)
