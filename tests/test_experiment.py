"""From a recipe to a table and to a release."""

import json
from pathlib import Path

import pytest

from headwater import release as releases
from headwater.data import Dataset, key_of
from headwater.experiment import config_hash, evaluate_recipe, import_profiles, train
from headwater.home import Home
from headwater.profile.history import Profile
from headwater.recipe import EvaluateRecipe, Recipe
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.store.lmdb import LmdbStore


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
    for row in plain["rows"]:
        assert row["config"] == config_hash(recipe)
        assert {"seed", "commit", "fit_seconds", "retrieving"} <= row.keys()
        assert row["full"]["protocol"] == "full ranking over unseen items"
        assert row["full"]["time_tie_rule"]
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["table.json"]


def test_the_config_hash_changes_with_a_setting_and_with_nothing_else(recipe: Recipe) -> None:
    same = Recipe.model_validate(recipe.model_dump() | {"channels": recipe.channels})
    other = recipe.model_copy(update={"channels": (PopularConfig(), ItemCFConfig(neighbours=41))})
    assert config_hash(same) == config_hash(recipe) != config_hash(other)


def test_training_promotes_a_release_and_knows_the_users(marketplace: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    home = Home(tmp_path)
    said: list[str] = []
    release = train(recipe, marketplace, home, say=said.append)
    assert releases.current(home.releases) == release
    manifest = releases.read_manifest(home.releases / release)
    assert manifest.metrics["itemcf"]["hr@10"] > 0
    assert manifest.merge.weights == {"popular": 1.0, "itemcf": 1.0, "nearline": 1.0}
    assert any("fitting itemcf" in line for line in said)
    store = LmdbStore(home.store)
    try:
        histories = Profile(store).history([key_of(user) for user in marketplace.users.ids.tolist()])
        assert sum(len(history) for history in histories) == len(marketplace)
        once = [history.items.tolist() for history in histories]
    finally:
        store.close()
    import_profiles(marketplace, home)
    store = LmdbStore(home.store)
    try:
        again = Profile(store).history([key_of(user) for user in marketplace.users.ids.tolist()])
        assert [history.items.tolist() for history in again] == once
    finally:
        store.close()
