"""The verbs of knowledge, from packed impressions to an answer."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.data.packed import pack_impressions
from knowledge_built import made_up_built
from made_up import impressions


def run(*words: object) -> str:
    done = CliRunner().invoke(app, ["knowledge", *map(str, words)], env={"COLUMNS": "160"})
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.output


def test_from_impressions_to_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    pack_impressions(impressions(2), Path("clicks.npz"))
    assert "40 users, 40 items" in run("build", "clicks.npz", "knowledge", "--attribute", "category")
    assert run("publish", "knowledge") == "published version 1\n"
    said = run("get", "--user", 7, "--item", "item 3")
    assert said.startswith("version 1\n")
    assert [line.split()[0] for line in said.splitlines()[1:7]] == [
        "user", "item", "product", "click", "conversion", "cart",
    ]  # fmt: skip
    assert "unknown" not in said
    assert "unknown user: the default" in run("get", "--user", 7_000, "--item", "item 3")
    assert "unknown user: the default" in run("get", "--user", 7, "--item", "item 3", "--strings")


def test_versions_are_listed_pinned_and_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for mark in (1.0, 2.0):
        made_up_built(tmp_path / f"built-{mark}", mark)
        run("publish", f"built-{mark}")
    run("pin", 1, "din-ads")
    rows = [line for line in run("list").splitlines() if "din-ads" in line or line.lstrip().startswith("*")]
    assert [row.split()[0] for row in rows] == ["1", "*"]
    assert run("rollback") == "serving version 1\n"
    assert "no longer pinned by din-ads" in run("pin", 1, "din-ads", "--off")
    assert "version 2" in run("get", "--user", 1, "--item", 1, "--category", "c1", "--version", 2)
