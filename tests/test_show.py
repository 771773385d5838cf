"""What the verbs print of a table."""

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from headwater.data import Dataset
from headwater.experiment import Table, by_gap, evaluate_recipe, incremental
from headwater.recipe import EvaluateRecipe, Recipe
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.mf import MFConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.retrieval.sequence.sasrec import SASRecConfig
from headwater.show import (
    evaluation_cells,
    over_seeds,
    print_by_gap,
    print_evaluation,
    print_incremental,
    print_table,
    telling,
)


@pytest.fixture(scope="module")
def table(marketplace: Dataset) -> Table:
    """Of three channels, the last under two seeds, and one that asks for the request time and was not run."""
    asking = SASRecConfig(name="asking")
    asking = asking.model_copy(update={"inputs": asking.inputs.model_copy(update={"request_time": True})})
    run = Recipe(
        dataset="marketplace",
        channels=(PopularConfig(), ItemCFConfig(), MFConfig(factors=4, epochs=2)),
        evaluate=EvaluateRecipe(ks=(5, 10)),
    )
    table = evaluate_recipe(run, marketplace, seeds=2)
    whole = run.model_copy(update={"channels": (asking, *run.channels)})
    return replace(table, recipe=whole, failures={"asking": "torch [cuda] is missing"})


def printed(show, *what: object, width: int = 60) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(console, *what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_cell_says_the_mean_its_spread_or_that_it_was_not_run() -> None:
    assert over_seeds([]) == "not run"
    assert over_seeds([0.25]) == "0.2500"
    assert over_seeds([0.2, 0.4]) == "0.3000 ± 0.1414"  # n - 1: sqrt(2 * 0.1 ** 2)
    assert over_seeds([1.0, 2.0], "{:.1f}", is_spread_shown=False) == "1.5"


def test_a_channel_without_a_run_says_so_in_every_cell_and_one_that_asks_stands_last(table: Table) -> None:
    headings, lines = evaluation_cells(table)
    assert [line[0] for line in lines] == ["popular", "itemcf", "mf", "asking *"]
    assert lines[3][1:] == ["not run"] * (len(headings) - 1)
    assert "±" in lines[2][1]
    assert "±" not in lines[0][1]


def test_no_figure_is_cut_in_a_narrow_terminal(table: Table) -> None:
    text = printed(print_evaluation, table)
    for heading in ("HR@10", "NDCG@5", "cover.", "fit s", "p99"):
        assert heading in text
    assert "…" not in text


def test_the_notes_say_what_was_not_run_and_what_the_marks_mean(table: Table) -> None:
    text = " ".join(printed(print_evaluation, table).split())
    assert "asking was not run: torch [cuda] is missing" in text
    assert "standard deviation over seeds" in text
    assert "99 sampled negatives" in text


def test_a_table_without_any_run_prints(table: Table) -> None:
    text = printed(print_evaluation, replace(table, rows=[]))
    assert text.count("not run") >= 4


def test_a_channel_whose_ranks_are_not_here_is_named(table: Table, tmp_path: Path) -> None:
    rows = [
        replace(row, full=replace(row.full, target_ranks=None)) if row.channel == "mf" else row for row in table.rows
    ]
    shown = partial(print_table, is_incremental=True, is_by_gap=False)
    text = printed(shown, replace(table, rows=rows), tmp_path / "table.json", width=200)
    assert "the ranks of its targets are not here: mf" in text
    assert "the ranks of its targets" not in printed(shown, table, tmp_path / "table.json", width=200)


def test_a_spinner_stops_for_the_bar_of_a_training_and_starts_again() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with console.status("") as status:
        tell = telling(console, status)
        tell("training sasrec on 10 interactions")
        before = console.file.getvalue()  # type: ignore[attr-defined]
        assert "training sasrec on 10 interactions" in before
        tell("evaluating [all] of sasrec")
    # The spinner draws at its own pace, and once more when it ends.
    assert "evaluating [all] of sasrec" in console.file.getvalue().removeprefix(before)  # type: ignore[attr-defined]


def test_incremental_recall_prints_a_table_for_each_cut_off(table: Table) -> None:
    found = incremental(table)
    text = printed(print_incremental, found)
    for at in found:
        assert f"{at.k} candidates of each: {at.recall:.4f}" in " ".join(text.split())
    lines = [line.split() for line in text.splitlines() if line.startswith(" itemcf")]
    part = next(part for part in found[0].contributions if part.channel == "itemcf")
    assert lines[0][1:5] == [
        f"{part.recall:.4f}",
        f"{part.without:.4f}",
        f"{found[0].recall - part.without:.4f}",
        f"{part.n_unique}",
    ]


def test_hit_rates_by_gap_print_a_column_a_bucket_or_why_there_are_none(table: Table) -> None:
    assert "under 1 hour (100.0%)" in printed(print_by_gap, by_gap(table))
    assert "no clock" in printed(print_by_gap, [])
