"""The examples of docs/data.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.data.catalogue import PUBLISHED

DOCS = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL))
def test_every_python_example_runs(block: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_table_of_published_sets_says_what_the_code_demands() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", DOCS, re.MULTILINE)
    written = {name: tuple(int(count.replace(",", "")) for count in counts) for name, *counts in rows}
    assert written == {name: (found.users, found.items, found.interactions) for name, found in PUBLISHED.items()}
