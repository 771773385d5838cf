"""Rows on disk: nothing measured twice, nothing lost, nothing outdated shown."""

import json
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_recipes import recipe_of

from headwater.data import Dataset
from headwater.errors import ArtefactError
from headwater.experiment import Results, Row, evaluate_recipe
from headwater.experiment.provenance import config_hash
from headwater.recipe import Recipe, load_recipe
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.show import over_seeds

ROOT = Path(__file__).parents[2]


@pytest.fixture
def rows(marketplace: Dataset, recipe: Recipe) -> list[Row]:
    return evaluate_recipe(recipe, marketplace).rows


def results(folder: Path, recipe: Recipe, dataset: Dataset, part: str = "test") -> Results:
    return Results(folder, "small", recipe, dataset, part)


def test_rows_come_back_with_their_ranks_in_the_order_of_the_recipe(
    tmp_path: Path, marketplace: Dataset, recipe: Recipe, rows: list[Row]
) -> None:
    kept = results(tmp_path, recipe, marketplace)
    assert kept.rows() == []
    for row in reversed(rows):
        kept.add(row)
    again = results(tmp_path, recipe, marketplace).rows()
    assert [row.to_json() for row in again] == [row.to_json() for row in rows]
    for read, written in zip(again, rows, strict=True):
        np.testing.assert_array_equal(read.target_ranks, written.target_ranks)


def test_without_the_ranks_the_figures_stand(
    tmp_path: Path, marketplace: Dataset, recipe: Recipe, rows: list[Row]
) -> None:
    kept = results(tmp_path, recipe, marketplace)
    kept.add(rows[0])
    (ranks,) = (tmp_path / "ranks").iterdir()
    ranks.write_bytes(ranks.read_bytes()[:100])
    (row,) = kept.rows()
    assert row.target_ranks is None
    assert row.to_json() == rows[0].to_json()


def test_a_row_of_other_settings_data_or_part_does_not_count(
    tmp_path: Path, marketplace: Dataset, recipe: Recipe, rows: list[Row]
) -> None:
    kept = results(tmp_path, recipe, marketplace)
    for row in rows:
        kept.add(row)
    changed = recipe_of(PopularConfig(), ItemCFConfig(neighbours=41))
    assert [row.channel for row in results(tmp_path, changed, marketplace).rows()] == ["popular"]
    fewer = marketplace.with_frequent_items(20)
    assert results(tmp_path, recipe, fewer).rows() == []
    assert results(tmp_path, recipe, marketplace, "validation").rows() == []
    assert len(kept.rows()) == 2


def test_a_new_row_takes_the_place_of_the_same_run_and_of_outdated_ones(
    tmp_path: Path, marketplace: Dataset, recipe: Recipe, rows: list[Row]
) -> None:
    kept = results(tmp_path, recipe, marketplace)
    popular, itemcf = rows
    for row in (popular, itemcf, replace(itemcf, seed=1), replace(itemcf, seed=2, config="outdated")):
        kept.add(row)
    kept.add(replace(itemcf, seed=1, fit_seconds=99.0))
    plain = json.loads(kept.path.read_text(encoding="utf-8"))
    assert [(row["channel"], row["seed"]) for row in plain["rows"]] == [("popular", None), ("itemcf", 1)]
    assert plain["rows"][1]["fit_seconds"] == 99.0


def test_what_is_derived_stands_beside_the_rows_and_survives_the_next_one(
    tmp_path: Path, marketplace: Dataset, recipe: Recipe, rows: list[Row]
) -> None:
    kept = results(tmp_path, recipe, marketplace)
    kept.add(rows[0])
    kept.attach({"incremental": [1]})
    kept.add(rows[1])
    plain = json.loads(kept.path.read_text(encoding="utf-8"))
    assert plain["incremental"] == [1]
    assert len(plain["rows"]) == 2


def test_rows_of_another_version_are_measured_again_and_a_broken_document_is_refused(
    tmp_path: Path, marketplace: Dataset, recipe: Recipe, rows: list[Row]
) -> None:
    kept = results(tmp_path, recipe, marketplace)
    for row in rows:
        kept.add(row)
    plain = json.loads(kept.path.read_text(encoding="utf-8"))
    del plain["rows"][0]["full"]["n_tied"]
    kept.path.write_text(json.dumps(plain), encoding="utf-8")
    assert [row.channel for row in kept.rows()] == ["itemcf"]
    for text in ("{", "[]"):
        kept.path.write_text(text, encoding="utf-8")
        with pytest.raises(ArtefactError, match="move it away"):
            kept.rows()
        with pytest.raises(ArtefactError, match="move it away"):
            kept.add(rows[0])
        assert kept.path.read_text(encoding="utf-8") == text, "what cannot be read is not written over"


def add_seeds(folder: Path, recipe: Recipe, dataset: Dataset, row: Row, seeds: range) -> None:
    kept = results(folder, recipe, dataset)
    for seed in seeds:
        kept.add(replace(row, seed=seed))


def test_of_two_processes_neither_loses_the_others_rows(
    tmp_path: Path, marketplace: Dataset, recipe: Recipe, rows: list[Row]
) -> None:
    context = multiprocessing.get_context("fork")
    row = replace(rows[1], full=replace(rows[1].full, target_ranks=None))
    workers = [
        context.Process(target=add_seeds, args=(tmp_path, recipe, marketplace, row, range(start, start + 20)))
        for start in (0, 20)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [row.seed for row in results(tmp_path, recipe, marketplace).rows()] == list(range(40))


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "table").glob("*.toml")), ids=lambda path: path.stem)
def test_every_row_of_a_committed_table_is_one_of_its_recipe(path: Path) -> None:
    recipe = load_recipe(path)
    document = json.loads((ROOT / "docs" / "results" / f"table-{path.stem}-test.json").read_text(encoding="utf-8"))
    assert document["split"] == recipe.split.model_dump(mode="json", exclude_none=True)
    measured = {(row["channel"], row["config"]) for row in document["rows"]}
    assert measured == {(chosen.name, config_hash(recipe, chosen)) for chosen in recipe.channels}


@pytest.mark.parametrize("name", ["ml-1m", "ml-100k", "amazon-beauty", "amazon-sports"])
def test_the_page_shows_the_figures_of_the_committed_tables(name: str) -> None:
    document = json.loads((ROOT / "docs" / "results" / f"table-{name}-test.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    by_channel: dict[str, list[dict[str, float]]] = {}
    for row in document["rows"]:
        by_channel.setdefault(row["channel"], []).append(row["full"]["metrics"])
    for channel, runs in by_channel.items():
        figures = [over_seeds([run[metric] for run in runs]) for metric in ("hr@10", "hr@20", "hr@50", "ndcg@10")]
        cells = " | ".join(figures).replace("0.", ".")
        assert re.search(rf"^\| {channel}( \\\*)? \| {re.escape(cells)} \|", page, re.M), f"{channel}: {cells}"
