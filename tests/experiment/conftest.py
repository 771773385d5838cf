"""Recipes over the made-up marketplace, small enough to train in a second."""

import pytest
from small_recipes import recipe_of

from headwater.nn.training import TrainingConfig
from headwater.recipe import Recipe
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.retrieval.sequence.sasrec import SASRecConfig


@pytest.fixture
def recipe() -> Recipe:
    return recipe_of(PopularConfig(), ItemCFConfig(neighbours=40))


@pytest.fixture
def learned() -> SASRecConfig:
    """Stops early or at four epochs."""
    return SASRecConfig(
        length=10,
        dimension=8,
        layers=1,
        heads=1,
        training=TrainingConfig(epochs=4, validate_every=1, patience=1, device="cpu"),
    )
