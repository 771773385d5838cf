"""From a recipe to a promoted release."""

from pathlib import Path

import pytest

from headwater import release as releases
from headwater.data import Dataset, key_of
from headwater.experiment import import_profiles, train
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
