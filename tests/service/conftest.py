"""A home with a promoted release of the marketplace, built once, copied for each test that changes it."""

import shutil
from pathlib import Path

import pytest

from headwater.data import Dataset
from headwater.experiment import train
from headwater.home import Home
from headwater.ranking.affinity import AffinityConfig
from headwater.recipe import MergeRecipe, Recipe
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        dataset="marketplace",
        channels=(PopularConfig(), ItemCFConfig(neighbours=30)),
        ranker=AffinityConfig(),
        merge=MergeRecipe(pool=60, weights={"itemcf": 4, "nearline": 4, "popular": 2}),
    )


@pytest.fixture(scope="session")
def trained_home(marketplace: Dataset, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("home"))
    train(recipe, marketplace, home, validate=False)
    return home


@pytest.fixture
def home(trained_home: Home, tmp_path: Path) -> Home:
    shutil.copytree(trained_home.root, tmp_path / "home")
    return Home(tmp_path / "home")
