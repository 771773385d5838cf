"""The figures of docs/data.md; tests/test_docs.py runs its examples."""

import re
from pathlib import Path

from headwater.data.catalogue import PUBLISHED

DOCS = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_table_of_published_sets_says_what_the_code_demands() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", DOCS, re.MULTILINE)
    written = {name: tuple(int(count.replace(",", "")) for count in counts) for name, *counts in rows}
    assert written == {name: (found.users, found.items, found.interactions) for name, found in PUBLISHED.items()}
