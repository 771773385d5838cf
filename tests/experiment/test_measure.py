"""From a recipe to a table."""

import json
from pathlib import Path

import pytest

from headwater.data import Dataset
from headwater.experiment import config_hash, evaluate_recipe
from headwater.recipe import EvaluateRecipe, Recipe
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig


@pytest.fixture
def recipe() -> Recipe:
    channels = (PopularConfig(), ItemCFConfig(neighbours=40))
    return Recipe(dataset="marketplace", channels=channels, evaluate=EvaluateRecipe(ks=(5, 10)))


def test_co_occurrence_beats_popularity_where_users_have_tastes(marketplace: Dataset, recipe: Recipe) -> None:
    popular, itemcf = evaluate_recipe(recipe, marketplace).rows
    assert itemcf.full.metrics["hr@10"] > 2 * popular.full.metrics["hr@10"] > 0
    assert itemcf.sampled is not None
    assert popular.sampled is not None
    assert itemcf.sampled.metrics["ndcg@10"] > popular.sampled.metrics["ndcg@10"]


def test_the_table_as_json_carries_what_it_takes_to_repeat_it(
    marketplace: Dataset, recipe: Recipe, tmp_path: Path
) -> None:
    table = evaluate_recipe(recipe, marketplace, part="validation")
    table.save(tmp_path / "results" / "table.json")
    plain = json.loads((tmp_path / "results" / "table.json").read_text(encoding="utf-8"))
    assert plain["part"] == "validation"
    assert plain["dataset"]["checksum"] == marketplace.checksum()
    for row, chosen in zip(plain["rows"], recipe.channels, strict=True):
        assert row["config"] == config_hash(recipe, chosen)
        assert {"seed", "commit", "machine", "fit_seconds", "retrieving"} <= row.keys()
        assert row["full"]["protocol"] == "full ranking over unseen items"
        assert row["full"]["time_tie_rule"]
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["table.json"]
