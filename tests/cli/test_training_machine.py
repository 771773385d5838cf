"""A machine that trains has torch, pyarrow, typer and rich, but neither stores, nor frames, nor compiled kernels."""

import json
import subprocess
import sys
from pathlib import Path

from headwater.data import Dataset
from headwater.data.packed import pack
from training_machine import headwater_without

RECIPE = """
dataset = "marketplace"
[[channels]]
kind = "popular"
[[channels]]
kind = "itemcf"
[[channels]]
kind = "sasrec"
length = 10
dimension = 8
layers = 1
heads = 1
training = { epochs = 2, validate_every = 1, device = "cpu" }
"""


def test_the_shared_table_runs_from_a_packed_file_with_what_that_machine_has(
    tmp_path: Path, marketplace: Dataset
) -> None:
    pack(marketplace, tmp_path / "marketplace.npz")
    (tmp_path / "small.toml").write_text(RECIPE, encoding="utf-8")
    words = ["evaluate", "--all", "--recipes", "small.toml", "--packed", "marketplace.npz", "--results", "results"]
    done = headwater_without(["msgspec", "numba"], words, tmp_path)
    assert "Traceback" not in done.stderr
    assert "itemcf was not run: No module named 'numba'" in " ".join(done.stdout.split())
    assert done.returncode == 1, "one channel could not be run here"
    plain = json.loads((tmp_path / "results" / "table-small-test.json").read_text(encoding="utf-8"))
    assert [row["channel"] for row in plain["rows"]] == ["popular", "sasrec"]
    assert plain["rows"][1]["training"]["epochs"] >= 1


REPRODUCED = """
dataset = "marketplace"
min_user_interactions = 12
[[channels]]
kind = "popular"
[[channels]]
kind = "itemcf"
[[channels]]
kind = "bst"
dimension = 8
training = { epochs = 2, validate_every = 1, device = "cpu", threads = 1 }
"""


def test_a_papers_jobs_run_there_too_and_are_not_run_again_elsewhere(tmp_path: Path, marketplace: Dataset) -> None:
    pack(marketplace, tmp_path / "packed" / "marketplace.npz")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small.toml").write_text(REPRODUCED, encoding="utf-8")
    words = ["reproduce", "paths", "--recipes", "recipes", "--packed", "packed", "--results", "results", "--seeds", "1"]
    done = headwater_without(["msgspec", "numba"], words, tmp_path)
    assert "Traceback" not in done.stderr
    assert "small/itemcf: not run: No module named 'numba'" in done.stdout
    assert done.returncode == 1, "one job could not be run here"
    plain = json.loads((tmp_path / "results" / "small--bst--0.json").read_text(encoding="utf-8"))
    assert plain["dataset"]["users"] < 200
    assert plain["item_to_item"]["sampled"]["n_queries"] == plain["dataset"]["users"]
    assert (tmp_path / ".headwater" / "reports" / "reproduce-paths" / "index.html").is_file()

    again = subprocess.run(
        [sys.executable, "-m", "headwater", *words, "--only", "*/bst/*"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert "training" not in again.stdout, "what is done is not done again"
