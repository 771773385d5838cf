"""A machine for training, made here: `headwater` in a process that lacks packages."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

LACKING = ("polars", "lmdb", "faiss", "gensim", "litestar", "granian", "matplotlib", "httpx")

PROGRAM = """
import sys
lacking = set(sys.argv.pop(1).split(","))
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in lacking:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Lacking())
from headwater.cli import main
main()
"""


def headwater_without(also: Collection[str], words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in `folder` where neither `LACKING` nor `also` is installed."""
    lacking = ",".join([*LACKING, *also])
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, lacking, *words], cwd=folder, capture_output=True, text=True, check=False
    )
